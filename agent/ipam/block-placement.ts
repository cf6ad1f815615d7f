// Which block a node claims. The first one halves the largest gap between claimed blocks, so that nodes spread over the range and each
// has room to grow; a further one lies next to the node's own, else as near as possible. Pure; randomness is a parameter.
// Invariant: never a block that anyone holds, that is in quarantine or that is reserved.
import {
  type BlockIndex,
  type Cidr,
  blockCount,
  blockIndex,
  cidrSize,
  cidrsOverlap,
} from '../../proto/address.ts';

export interface Placement {
  /** Blocks in the range. */
  readonly count: number;
  /** Held by this node. */
  readonly own: readonly BlockIndex[];
  /** Held by anyone, this node included. */
  readonly claimed: ReadonlySet<BlockIndex>;
  /** Not to be claimed although nobody holds them: in quarantine, reserved, or just lost to another node. */
  readonly barred: ReadonlySet<BlockIndex>;
  /** 0 ≤ x < 1. */
  readonly random: () => number;
}

/** Two nodes that join at once see the same gaps: each takes one of those nearly as large as the largest, and not its exact middle. */
const GAP_SHARE = 0.75;
const JITTER_SHARE = 0.25;

/** The block to claim next; undefined when none is left. After a conflict: bar the lost one and choose again. */
export const chooseBlock = (placement: Placement): BlockIndex | undefined =>
  placement.own.length === 0 ? firstBlock(placement) : nextBlock(placement);

function firstBlock({ count, claimed, barred, random }: Placement): BlockIndex | undefined {
  const gaps = gapsBetween(claimed, count);
  const isFree = (index: number): boolean =>
    !claimed.has(blockIndex(index)) && !barred.has(blockIndex(index));
  for (;;) {
    const largest = gaps.reduce((most, gap) => Math.max(most, gap.length), 0);
    if (largest === 0) return undefined;
    const candidates = gaps.filter((gap) => gap.length >= largest * GAP_SHARE);
    const gap = candidates[Math.floor(random() * candidates.length)]!; // !: the largest gap itself is a candidate
    const jitter = (random() - 0.5) * JITTER_SHARE * gap.length;
    const aim = gap.start + Math.floor(gap.length / 2 + jitter);
    const found = nearest(aim, {
      from: gap.start,
      to: gap.start + gap.length,
      isFree,
      upFirst: random() < 0.5,
    });
    if (found !== undefined) return blockIndex(found);
    gaps.splice(gaps.indexOf(gap), 1); // nothing but barred blocks in it
  }
}

function nextBlock({ count, own, claimed, barred, random }: Placement): BlockIndex | undefined {
  const isFree = (index: number): boolean =>
    !claimed.has(blockIndex(index)) && !barred.has(blockIndex(index));
  // Upwards of the latest first: consecutive blocks are one run of addresses.
  for (const index of own.toReversed())
    if (index + 1 < count && isFree(index + 1)) return blockIndex(index + 1);
  for (const index of own) if (index > 0 && isFree(index - 1)) return blockIndex(index - 1);
  let best: { index: number; distance: number } | undefined;
  for (const index of own) {
    const found = nearest(index, { from: 0, to: count, isFree, upFirst: random() < 0.5 });
    if (found === undefined) return undefined;
    const distance = Math.abs(found - index);
    if (best === undefined || distance < best.distance) best = { index: found, distance };
  }
  return best === undefined ? undefined : blockIndex(best.index);
}

interface Gap {
  readonly start: number;
  readonly length: number;
}

function gapsBetween(claimed: ReadonlySet<BlockIndex>, count: number): Gap[] {
  const gaps: Gap[] = [];
  let start = 0;
  for (const index of [...claimed].sort((a, b) => a - b)) {
    if (index >= count) break;
    if (index > start) gaps.push({ start, length: index - start });
    start = index + 1;
  }
  if (count > start) gaps.push({ start, length: count - start });
  return gaps;
}

interface Search {
  readonly from: number;
  /** Exclusive. */
  readonly to: number;
  readonly isFree: (index: number) => boolean;
  /** Which side wins at equal distance. */
  readonly upFirst: boolean;
}

function nearest(aim: number, { from, to, isFree, upFirst }: Search): number | undefined {
  for (let distance = 0; aim - distance >= from || aim + distance < to; distance++) {
    const [one, other] = upFirst ? [aim + distance, aim - distance] : [aim - distance, aim + distance];
    if (one >= from && one < to && isFree(one)) return one;
    if (other >= from && other < to && isFree(other)) return other;
  }
  return undefined;
}

/** Indexes of the range's blocks that a prefix touches, whatever its own length; empty outside of the range. */
export function blocksTouching(range: Cidr, blockPrefixLength: number, prefix: Cidr): readonly BlockIndex[] {
  if (!cidrsOverlap(range, prefix)) return [];
  const size = 2 ** (32 - blockPrefixLength);
  const first = Math.max(0, Math.floor((prefix.base - range.base) / size));
  const end = Math.min(
    blockCount(range, blockPrefixLength),
    Math.ceil((prefix.base + cidrSize(prefix) - range.base) / size),
  );
  return Array.from({ length: end - first }, (_, at) => blockIndex(first + at));
}
