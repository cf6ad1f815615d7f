// The node's pod addresses: records (who has what), queue (what is next) and log (what survives) in one.
// Invariants: an address belongs to one attachment at most, in memory and in the log; nothing is given out before it is durable;
// allocations of another boot are void at once; a log that is damaged or missing is rebuilt from the kernel before anything is given out.
import { type Cidr, type Ipv4, cidrContains, formatIpv4 } from '../../proto/address.ts';
import { invariant } from '../../proto/invariant.ts';
import { OperationError } from '../operation-error.ts';
import { AddressQueue, type FreeAddress } from './address-queue.ts';
import { type Allocation, AllocationRecords, type Attachment, type Freed } from './allocation-records.ts';
import { CommitQueue, type CommitQueueOptions, type LogStorage } from './commit-queue.ts';
import type { LogContent } from './log-record.ts';

export type { Allocation, Attachment, Freed } from './allocation-records.ts';

export interface AllocationRequest extends Attachment {
  readonly netnsInode: number;
  readonly hostInterface: string;
  readonly podName?: string;
  readonly network?: string;
  /** This one and no other. */
  readonly address?: Ipv4;
}

/** An attachment as the kernel tells it (alias of the host's veth). */
export interface KernelAttachment extends Attachment {
  readonly address: Ipv4;
  readonly hostInterface: string;
}

export interface AddressPool {
  /** Durable (fdatasync) when it resolves. Throws OperationError: ALREADY_ALLOCATED, POOL_EXHAUSTED, NO_BLOCK (none claimed yet), LOG_UNWRITABLE; for an address that was asked for ADDRESS_NOT_HERE, ADDRESS_IN_USE. */
  allocate(request: AllocationRequest): Promise<Allocation>;
  /** Idempotent; the freed address goes to the back of the queue. Never fails: where the log cannot be written it is free all the same. */
  release(attachment: Attachment): Promise<Allocation | undefined>;
  find(attachment: Attachment): Allocation | undefined;
  list(): readonly Allocation[];
  /**
   * What addresses are given out of, in the order of claim; base+1 of each is the bridge's (address-queue.ts). `held`: all that this node has;
   * of those it stays known when addresses were freed.
   */
  setBlocks(blocks: readonly Cidr[], held?: readonly Cidr[]): void;
  usage(): PoolUsage;
  /** Ends writing once what is under way is done; `closed` tells when. */
  close(): void;
}

export interface PoolUsage {
  readonly blocks: number;
  readonly total: number;
  readonly used: number;
  readonly free: number;
}

/** The pool over the log, with what control and the status pages need besides. */
export interface LoggedAddressPool extends AddressPool {
  /** Why the log cannot be believed; set until `rebuild`. Nothing is allocated while it is set. */
  readonly rebuildReason: string | undefined;
  /** How many allocations of an earlier boot were void. */
  readonly voided: number;
  /** Takes over what the kernel has; surviving records that do not contradict it stay. */
  rebuild(from: readonly KernelAttachment[]): Promise<void>;
  /** Allocations in the block, whether or not it is among ours. */
  usedIn(block: Cidr): number;
  /** Addresses of the node's blocks that were used and are not, the longest freed first. */
  freed(): readonly Freed[];
  /** Allocations that wait to become durable. */
  pendingAllocations(): number;
  /** How long the address that is given out next has been free; undefined: none is, or it was never used. */
  reuseAgeMs(): number | undefined;
  /** Why the log could not be written the last time. */
  logFailure(): OperationError | undefined;
  /** Resolves when another process may open the log. */
  closed(): Promise<void>;
}

export interface AddressPoolOptions {
  /** What was opened (address-log.ts). */
  readonly log: { content: LogContent | undefined; problem: string | undefined; storage: LogStorage };
  /** /proc/sys/kernel/random/boot_id. */
  readonly bootId: string;
  readonly range: Cidr;
  /** Monotonic milliseconds. */
  readonly clock: () => number;
  /** Milliseconds since the epoch, to tell people since when; nothing is decided by it. */
  readonly wallClock?: () => number;
  readonly schedule: CommitQueueOptions['schedule'];
  /** How long a freed address waits while others are free; 30 s unless told. */
  readonly restMs?: number;
  /** What is free changed: the node may want another block, or have one too many. */
  readonly changed?: () => void;
}

const REST_MS = 30_000;

export const createAddressPool = (options: AddressPoolOptions): LoggedAddressPool => new Pool(options);

class Pool implements LoggedAddressPool {
  readonly #clock: () => number;
  readonly #now: () => { readonly atMs?: number };
  readonly #bootId: string;
  readonly #changed: () => void;
  readonly #queue: AddressQueue;
  readonly #log: CommitQueue;
  #records: AllocationRecords;
  #rebuildReason: string | undefined;
  readonly voided: number;
  #pending = 0;
  #closed: Promise<void> | undefined;

  constructor(options: AddressPoolOptions) {
    const { log, bootId, range, clock, wallClock, schedule, restMs, changed } = options;
    const replayed = replay(log, bootId);
    this.#clock = clock;
    this.#now = () => (wallClock === undefined ? {} : { atMs: Math.max(0, Math.floor(wallClock())) });
    this.#bootId = bootId;
    this.#changed = changed ?? (() => undefined);
    this.#records = replayed.records;
    this.#rebuildReason = replayed.rebuildReason;
    this.voided = replayed.voided;
    this.#queue = new AddressQueue({ range, restMs: restMs ?? REST_MS });
    this.#log = new CommitQueue({
      storage: log.storage,
      snapshot: () => this.#records.snapshot(),
      mustRewrite: replayed.mustRewrite,
      schedule,
    });
  }

  get rebuildReason(): string | undefined {
    return this.#rebuildReason;
  }

  async allocate(request: AllocationRequest): Promise<Allocation> {
    const taken = this.#takeFor(request);
    const { containerId, interfaceName, netnsInode, hostInterface, podName, network } = request;
    const allocation: Allocation = {
      containerId,
      interfaceName,
      netnsInode,
      hostInterface,
      address: taken.address,
      sequence: this.#records.sequence + 1,
      ...(podName === undefined ? {} : { podName }),
      ...(network === undefined ? {} : { network }),
      ...this.#now(),
    };
    const entry = { kind: 'allocate', ...allocation } as const;
    const refusal = this.#records.apply(entry);
    invariant(
      refusal === undefined,
      () => `${formatIpv4(taken.address)} was free and is refused: ${refusal}`,
    );
    this.#pending += 1;
    this.#changed();
    const undo = (): void => {
      if (this.#records.retract(allocation)) this.#queue.putBack(taken);
    };
    try {
      await this.#log.commit(entry, undo);
    } finally {
      this.#pending -= 1;
    }
    return allocation;
  }

  async release(attachment: Attachment): Promise<Allocation | undefined> {
    const allocation = this.#records.find(attachment);
    if (allocation === undefined) return undefined;
    const { address, sequence } = allocation;
    const entry = {
      kind: 'release',
      sequence: this.#records.sequence + 1,
      allocation: sequence,
      address,
      ...this.#now(),
    } as const;
    this.#records.apply(entry);
    this.#queue.give(address, this.#clock());
    this.#changed();
    // Before a rebuild the log stays as it is: to write what is left of it would make it look whole.
    if (this.#rebuildReason === undefined) await this.#log.keep(entry);
    return allocation;
  }

  find(attachment: Attachment): Allocation | undefined {
    return this.#records.find(attachment);
  }

  list(): readonly Allocation[] {
    return this.#records.list();
  }

  setBlocks(blocks: readonly Cidr[], held: readonly Cidr[] = blocks): void {
    const before = this.#queue.blocks;
    this.#queue.setBlocks(blocks, (address) => this.#records.at(address) !== undefined);
    const isIn = (list: readonly Cidr[], address: Ipv4): boolean =>
      list.some((block) => cidrContains(block, address));
    // What the log says was freed may have been freed a moment ago.
    const nowMs = this.#clock();
    for (const { address } of this.#records.freed()) {
      if (isIn(blocks, address) && !isIn(before, address)) this.#queue.rest(address, nowMs);
    }
    if (held.length > 0) this.#records.forgetFreed((address) => !isIn(held, address));
  }

  usage(): PoolUsage {
    return {
      blocks: this.#queue.blocks.length,
      total: this.#queue.total,
      used: this.#records.size,
      free: this.#queue.free,
    };
  }

  usedIn(block: Cidr): number {
    return this.#records.list().filter(({ address }) => cidrContains(block, address)).length;
  }

  freed(): readonly Freed[] {
    return this.#records.freed();
  }

  pendingAllocations(): number {
    return this.#pending;
  }

  reuseAgeMs(): number | undefined {
    const nowMs = this.#clock();
    const next = this.#queue.peek(nowMs);
    return next === undefined || !Number.isFinite(next.freedAtMs) ? undefined : nowMs - next.freedAtMs;
  }

  logFailure(): OperationError | undefined {
    return this.#log.failure;
  }

  async rebuild(from: readonly KernelAttachment[]): Promise<void> {
    const survivors = this.#records.list();
    const rebuilt = new AllocationRecords();
    rebuilt.apply({ kind: 'void', bootId: this.#bootId, sequence: this.#records.sequence });
    for (const found of from) {
      const known = survivors.find(
        ({ containerId, interfaceName, address }) =>
          containerId === found.containerId &&
          interfaceName === found.interfaceName &&
          address === found.address,
      );
      const { containerId, interfaceName, address, hostInterface } = found;
      const sequence = rebuilt.sequence + 1;
      const allocation = known ?? {
        containerId,
        interfaceName,
        address,
        hostInterface,
        netnsInode: 0,
        sequence,
      };
      rebuilt.apply({ kind: 'allocate', ...allocation }); // a second veth with the same address or key: the first one stays
    }
    for (const survivor of survivors) rebuilt.apply({ kind: 'allocate', ...survivor });
    this.#records = rebuilt;
    this.#rebuildReason = undefined;
    const { blocks } = this.#queue;
    this.#queue.setBlocks([], () => false);
    this.setBlocks(blocks);
    this.#changed();
    await this.#log.rewrite();
  }

  close(): void {
    this.#closed ??= this.#log.close();
  }

  closed(): Promise<void> {
    this.close();
    return this.#closed ?? Promise.resolve();
  }

  #takeFor(request: AllocationRequest): FreeAddress {
    const of = `${request.containerId}/${request.interfaceName}`;
    if (this.#rebuildReason !== undefined) {
      throw new OperationError(
        `Cannot allocate an address: the allocation log is to be rebuilt from the kernel first (${this.#rebuildReason}); try again`,
        { code: 'LOG_UNWRITABLE' },
      );
    }
    const existing = this.#records.find(request);
    if (existing !== undefined) {
      throw new OperationError(
        `Cannot allocate an address: "${of}" has ${formatIpv4(existing.address)} already; delete it first`,
        { code: 'ALREADY_ALLOCATED' },
      );
    }
    const { blocks, total, used } = this.usage();
    if (blocks === 0) {
      throw new OperationError(
        'Cannot allocate an address: this node holds no address block yet; try again',
        {
          code: 'NO_BLOCK',
        },
      );
    }
    if (request.address !== undefined) return this.#takeThis(request.address);
    const taken = this.#queue.take(this.#clock());
    if (taken === undefined) {
      throw new OperationError(
        `Cannot allocate an address: all ${total} of this node's ${blocks} blocks are in use (${used} pods) and no further block was claimed; see /status/ipam`,
        { code: 'POOL_EXHAUSTED', context: { blocks, total, used } },
      );
    }
    return taken;
  }

  #takeThis(address: Ipv4): FreeAddress {
    if (!this.#queue.has(address)) {
      throw new OperationError(
        `Cannot allocate address ${formatIpv4(address)}: it is no pod address of this node's blocks; ask for one of those that /status/ipam shows, or for none`,
        { code: 'ADDRESS_NOT_HERE', context: { address: formatIpv4(address) } },
      );
    }
    const taken = this.#queue.takeThis(address);
    if (taken === undefined) {
      throw new OperationError(
        `Cannot allocate address ${formatIpv4(address)}: another pod of this node has it; ask for another, or for none`,
        { code: 'ADDRESS_IN_USE', context: { address: formatIpv4(address) } },
      );
    }
    return taken;
  }
}

interface Replayed {
  readonly records: AllocationRecords;
  readonly rebuildReason: string | undefined;
  readonly voided: number;
  readonly mustRewrite: boolean;
}

function replay({ content, problem }: AddressPoolOptions['log'], bootId: string): Replayed {
  const records = new AllocationRecords();
  let reason = content === undefined ? `the log: ${problem ?? 'it does not exist'}` : undefined;
  for (const entry of content?.entries ?? []) {
    const refusal = records.apply(entry);
    if (refusal === undefined) continue;
    reason = `the log contradicts itself: ${refusal} at sequence ${entry.sequence}`;
    break;
  }
  const { damage } = content ?? {};
  if (damage !== undefined) reason ??= `line ${damage.line} of the log is damaged: ${damage.reason}`;
  if (records.bootId === bootId) {
    return { records, rebuildReason: reason, voided: 0, mustRewrite: reason !== undefined };
  }
  // Another boot: no pod of then is left, whatever the log's state. Without any boot nothing is known.
  if (records.bootId === undefined) reason ??= 'the log is empty';
  else reason = undefined;
  const voided = records.size;
  records.apply({ kind: 'void', bootId, sequence: records.sequence });
  return { records, rebuildReason: reason, voided, mustRewrite: true };
}
