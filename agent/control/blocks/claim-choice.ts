// Which block to ask for next: what the view, the quarantine and lost races leave over. Remembers two things that
// the view does not know yet: blocks that another node was faster with, and a request that was never answered.
import { type BlockIndex, type Cidr, blockCount } from '../../../proto/address.ts';
import { decodeBlockName } from '../../ipam/block-name.ts';
import { blocksTouching, chooseBlock } from '../../ipam/block-placement.ts';
import type { BlockView } from './own-blocks.ts';

export interface ClaimChoiceOptions {
  readonly range: Cidr;
  readonly blockPrefixLength: number;
  /** How long a freed block stays unclaimed. */
  readonly quarantineMs: number;
  readonly random: () => number;
}

/** A lost race is remembered until the view shows the winner, or so long. */
const CONTESTED_MS = 60_000;
const EXHAUSTED_RETRY_MS = 60_000;

export class ClaimChoice {
  readonly #options: ClaimChoiceOptions;
  /** Lost lately → when. */
  readonly #contested = new Map<BlockIndex, number>();
  #unanswered: BlockIndex | undefined;

  constructor(options: ClaimChoiceOptions) {
    this.#options = options;
  }

  /** `own`: blocks of this node, in the order of claim. Undefined: none is left. */
  choose(view: BlockView, own: readonly BlockIndex[], nowMs: number): BlockIndex | undefined {
    const { range, blockPrefixLength, random } = this.#options;
    const { claimed, barred } = this.#taken(view, own, nowMs);
    // A create that was not answered may have worked.
    const again = this.#unanswered;
    if (again !== undefined && !claimed.has(again) && !barred.has(again)) return again;
    return chooseBlock({ count: blockCount(range, blockPrefixLength), own, claimed, barred, random });
  }

  /** How many blocks there are to choose from. */
  left(view: BlockView, own: readonly BlockIndex[], nowMs: number): number {
    const { range, blockPrefixLength } = this.#options;
    const { claimed, barred } = this.#taken(view, own, nowMs);
    return blockCount(range, blockPrefixLength) - new Set([...claimed, ...barred]).size;
  }

  #taken(
    view: BlockView,
    own: readonly BlockIndex[],
    nowMs: number,
  ): { readonly claimed: Set<BlockIndex>; readonly barred: Set<BlockIndex> } {
    const { quarantineMs } = this.#options;
    const claimed = new Set(own);
    for (const name of view.blocks.keys()) for (const index of this.#touching(name)) claimed.add(index);
    const barred = new Set<BlockIndex>();
    for (const [name, freedAtMs] of view.freedBlocks) {
      if (nowMs - freedAtMs < quarantineMs) for (const index of this.#touching(name)) barred.add(index);
    }
    for (const [index, lostAtMs] of this.#contested) {
      if (claimed.has(index) || nowMs - lostAtMs > CONTESTED_MS) this.#contested.delete(index);
      else barred.add(index);
    }
    return { claimed, barred };
  }

  won(): void {
    this.#unanswered = undefined;
  }

  lost(index: BlockIndex, nowMs: number): void {
    this.#unanswered = undefined;
    this.#contested.set(index, nowMs);
  }

  notAnswered(index: BlockIndex): void {
    this.#unanswered = index;
  }

  /** When none was left: after so many milliseconds there may be one, whatever the view says. */
  retryAfterMs(view: BlockView, nowMs: number): number {
    const ends = [
      ...[...view.freedBlocks.values()].map((freedAtMs) => freedAtMs + this.#options.quarantineMs),
      ...[...this.#contested.values()].map((lostAtMs) => lostAtMs + CONTESTED_MS + 1),
    ];
    return Math.min(EXHAUSTED_RETRY_MS, ...ends.map((end) => end - nowMs).filter((wait) => wait > 0));
  }

  /** Also what has another size than ours. */
  #touching(name: string): readonly BlockIndex[] {
    const { range, blockPrefixLength } = this.#options;
    const block = decodeBlockName(name);
    return block.ok ? blocksTouching(range, blockPrefixLength, block.value) : [];
  }
}
