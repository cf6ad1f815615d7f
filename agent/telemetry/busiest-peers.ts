// Which peers get a series of their own: the busiest; the rest are added up as "other", so that the number of series stays bounded.
// Invariant: what a series shows never goes down while its peer keeps its slot. A peer with a series shows its own counters, which live
// in the statistics file; "other" grows by what the peers without one did since the last look. The counters of both looks lie in two fixed
// arrays: as objects they outlive the young generation, and of thousands of peers they were most of a scrape in garbage collection.

export const OTHER = 'other';

export interface PeerRow {
  readonly name: string;
  readonly slot: number;
}

/** Where a peer's counters are to be written: from `at` on. */
export interface Cells {
  values: Float64Array;
  at: number;
}

export interface BusiestPeers {
  /** `read` writes a peer's counters; the first is what "busy" is measured by. */
  split(peers: readonly PeerRow[], read: (slot: number, cells: Cells) => void): PeerSeries;
}

export interface PeerSeries {
  readonly named: readonly (readonly [name: string, counters: readonly number[]])[];
  /** Undefined while every peer has a series of its own and always had. */
  readonly other: readonly number[] | undefined;
}

/** `most`: series of their own; `width`: counters of a peer. */
export function createBusiestPeers(most: number, width: number): BusiestPeers {
  let before = new Look();
  let now = new Look();
  const cells: Cells = { values: now.counters, at: 0 };
  let other: number[] | undefined;

  const addToOther = ({ name, slot }: PeerRow): void => {
    other ??= Array.from({ length: width }, () => 0);
    // Without an earlier look there is nothing to compare with: what was before is not counted.
    if (before.names[slot] !== name) return;
    for (let at = 0; at < width; at++) {
      const cell = slot * width + at;
      other[at]! += Math.max(0, now.counters[cell]! - before.counters[cell]!); // !: within the width of both looks
    }
  };

  return {
    split(peers, read) {
      [before, now] = [now, before];
      now.clear(peers, width);
      cells.values = now.counters;
      for (const { name, slot } of peers) {
        now.names[slot] = name;
        cells.at = slot * width;
        read(slot, cells);
      }
      const busy = (index: number): number => now.counters[peers[index]!.slot * width]!; // !: an index of peers
      const ranked = Uint32Array.from(peers, (_peer, index) => index).sort(
        (a, b) => busy(b) - busy(a) || a - b,
      );
      for (let rank = most; rank < ranked.length; rank++) addToOther(peers[ranked[rank]!]!); // !: below the length
      const named = Array.from(ranked.subarray(0, most), (index) => {
        const { name, slot } = peers[index]!; // !: likewise
        return [name, Array.from(now.counters.subarray(slot * width, (slot + 1) * width))] as const;
      });
      return { named, other: other === undefined ? undefined : [...other] };
    },
  };
}

/** Of each slot whose it was, and its counters. */
class Look {
  names: (string | undefined)[] = [];
  counters: Float64Array = new Float64Array(0);

  clear(peers: readonly PeerRow[], width: number): void {
    let slots = 0;
    for (const { slot } of peers) slots = Math.max(slots, slot + 1);
    if (this.counters.length < slots * width) this.counters = new Float64Array(slots * width);
    this.names.length = slots;
    this.names.fill(undefined);
  }
}
