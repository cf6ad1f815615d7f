// The free addresses of the node's blocks. Each block has its own first-in-first-out queue, freed addresses go to its back, and one rests
// for a while before it is used again as long as another is free. Blocks are drawn on in the order of claim, so that later ones empty
// and can be given back. Time is a parameter.
// Which addresses are used: the range is routed as a whole and a pod has its address as /32, so a block has no network or broadcast
// address of its own and base+0 and the last are ordinary; only the first and the last address of the *range* are left out. base+1 of
// every block is kept for the bridge, not of the first alone: a node that loses its first block can move the bridge to the next one.
import { type Cidr, type Ipv4, cidrContains, cidrSize, formatIpv4, ipv4 } from '../../proto/address.ts';
import { invariant } from '../../proto/invariant.ts';

/** The bridge's address in a block. */
export const bridgeAddress = (block: Cidr): Ipv4 => ipv4(block.base + 1);

export const isPodAddress = (range: Cidr, block: Cidr, address: Ipv4): boolean =>
  cidrContains(block, address) &&
  cidrContains(range, address) &&
  address !== range.base &&
  address !== range.base + cidrSize(range) - 1 &&
  address !== bridgeAddress(block);

/** Pod addresses of the block, in order. */
export function podAddresses(range: Cidr, block: Cidr): Ipv4[] {
  const all = Array.from({ length: cidrSize(block) }, (_, offset) => ipv4(block.base + offset));
  return all.filter((address) => isPodAddress(range, block, address));
}

export interface FreeAddress {
  readonly address: Ipv4;
  /** -Infinity: never used. */
  readonly freedAtMs: number;
}

interface BlockQueue {
  readonly block: Cidr;
  /** Pod addresses, free or not. */
  readonly total: number;
  free: FreeAddress[];
}

const NEVER_USED = Number.NEGATIVE_INFINITY;

export class AddressQueue {
  readonly #range: Cidr;
  readonly #restMs: number;
  #queues: BlockQueue[] = [];

  /** `restMs`: how long a freed address waits while others are free. */
  constructor({ range, restMs }: { range: Cidr; restMs: number }) {
    this.#range = range;
    this.#restMs = restMs;
  }

  get blocks(): readonly Cidr[] {
    return this.#queues.map(({ block }) => block);
  }

  /** Pod addresses of all blocks, free or not. */
  get total(): number {
    return this.#queues.reduce((sum, { total }) => sum + total, 0);
  }

  get free(): number {
    return this.#queues.reduce((sum, { free }) => sum + free.length, 0);
  }

  /** The blocks in the order of claim. A new one is free but for what `isUsed` says; one that is gone takes its free addresses with it. */
  setBlocks(blocks: readonly Cidr[], isUsed: (address: Ipv4) => boolean): void {
    const open = (block: Cidr): BlockQueue => {
      const addresses = podAddresses(this.#range, block);
      const free = addresses.filter((address) => !isUsed(address));
      return {
        block,
        total: addresses.length,
        free: free.map((address) => ({ address, freedAtMs: NEVER_USED })),
      };
    };
    this.#queues = blocks.map(
      (block) => this.#queues.find((queue) => sameBlock(queue.block, block)) ?? open(block),
    );
  }

  /** The next address to use; undefined when none is free. */
  take(nowMs: number): FreeAddress | undefined {
    return this.#next(nowMs)?.free.shift();
  }

  /** What take() would give. */
  peek(nowMs: number): FreeAddress | undefined {
    return this.#next(nowMs)?.free[0];
  }

  #next(nowMs: number): BlockQueue | undefined {
    let chosen: BlockQueue | undefined;
    for (const queue of this.#queues) {
      const head = queue.free[0];
      if (head === undefined) continue;
      if (nowMs - head.freedAtMs >= this.#restMs) {
        chosen = queue;
        break;
      }
      const best = chosen?.free[0];
      if (best === undefined || head.freedAtMs < best.freedAtMs) chosen = queue;
    }
    return chosen;
  }

  /** This very address, also while it rests; undefined when it is not free, or not of our blocks. */
  takeThis(address: Ipv4): FreeAddress | undefined {
    const queue = this.#queueOf(address);
    const at = queue?.free.findIndex((free) => free.address === address) ?? -1;
    return at < 0 ? undefined : queue?.free.splice(at, 1)[0];
  }

  /** Whether the address is one that pods of this node can have. */
  has(address: Ipv4): boolean {
    return this.#queueOf(address) !== undefined;
  }

  /** A used address is free again: to the back. Ignored when its block is not among ours any more. */
  give(address: Ipv4, nowMs: number): void {
    this.#queueWithout(address)?.free.push({ address, freedAtMs: nowMs });
  }

  /** What was taken and was not used after all: before all that were freed no earlier. */
  putBack(taken: FreeAddress): void {
    const free = this.#queueWithout(taken.address)?.free;
    const at = free?.findIndex(({ freedAtMs }) => freedAtMs >= taken.freedAtMs) ?? 0;
    free?.splice(at < 0 ? free.length : at, 0, taken);
  }

  /** Moves a free address to the back as if it were freed now; for what a log says was used lately. */
  rest(address: Ipv4, nowMs: number): void {
    const queue = this.#queueOf(address);
    const at = queue?.free.findIndex((free) => free.address === address) ?? -1;
    if (queue === undefined || at < 0) return;
    queue.free.splice(at, 1);
    queue.free.push({ address, freedAtMs: nowMs });
  }

  #queueWithout(address: Ipv4): BlockQueue | undefined {
    const queue = this.#queueOf(address);
    const isFree = queue?.free.some((free) => free.address === address) ?? false;
    invariant(!isFree, () => `address ${formatIpv4(address)} was freed twice`);
    return queue;
  }

  #queueOf(address: Ipv4): BlockQueue | undefined {
    return this.#queues.find(({ block }) => isPodAddress(this.#range, block, address));
  }
}

const sameBlock = (a: Cidr, b: Cidr): boolean => a.base === b.base && a.prefixLength === b.prefixLength;
