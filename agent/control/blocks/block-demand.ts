// How many blocks this node should hold: one spare ahead of need, fewer where the last ones of the range are wanted by nodes that have none,
// and not more than its share. Pure.
import type { LoggedAddressPool } from '../../ipam/address-pool.ts';
import type { Trouble } from '../trouble.ts';
import type { BlockView, NodeIdentity, OwnBlock } from './own-blocks.ts';

export interface BlockDemandOptions {
  readonly node: NodeIdentity;
  readonly blockPrefixLength: number;
  /** How long an empty block, other than the first, is kept. */
  readonly quietMs: number;
  /** Blocks that one node may hold; 64 unless told. */
  readonly maxBlocks?: number;
  readonly view: () => Pick<BlockView, 'nodesWithoutBlock'>;
  readonly pool: Pick<LoggedAddressPool, 'usage'>;
  /** In the order of claim. */
  readonly held: () => readonly OwnBlock[];
  /** Blocks of the range that could be claimed. Looks at all of the cluster's. */
  readonly left: (nowMs: number) => number;
}

const MAX_BLOCKS = 64;

export class BlockDemand {
  readonly #options: BlockDemandOptions;
  /** Addresses in one block. */
  readonly #oneBlock: number;

  constructor(options: BlockDemandOptions) {
    this.#options = options;
    this.#oneBlock = 2 ** (32 - options.blockPrefixLength);
  }

  isClaimWanted(nowMs: number): boolean {
    const { pool, view, held } = this.#options;
    const { free } = pool.usage();
    if (free >= this.#oneBlock || held().length >= this.#maxBlocks) return false;
    if (free === 0) return true;
    const left = this.#options.left(nowMs);
    return left === 0 || left > view().nodesWithoutBlock;
  }

  /** The latest block to give back: empty long enough and not needed as the spare, or empty and wanted elsewhere. */
  emptied(nowMs: number): OwnBlock | undefined {
    const { pool, quietMs, view, held } = this.#options;
    const empty = held()
      .slice(1)
      .filter(({ emptySinceMs, seen, confirmed }) => seen && confirmed && emptySinceMs !== undefined);
    const freeWithout = pool.usage().free - this.#oneBlock;
    const isWantedElsewhere = view().nodesWithoutBlock > 0 && this.#options.left(nowMs) === 0;
    if (freeWithout > 0 && isWantedElsewhere) return empty.at(-1);
    if (freeWithout < this.#oneBlock) return undefined;
    return empty.findLast(({ emptySinceMs = nowMs }) => nowMs - emptySinceMs >= quietMs);
  }

  /** Set when the node may not hold more. */
  limit(): Trouble | undefined {
    const { node, held } = this.#options;
    if (held().length < this.#maxBlocks) return undefined;
    const message = `All addresses of node "${node.name}" are in use, and it holds ${held().length} blocks, which is the most for one node: move pods to other nodes`;
    return { code: 'BLOCK_LIMIT', message };
  }

  get #maxBlocks(): number {
    return this.#options.maxBlocks ?? MAX_BLOCKS;
  }
}
