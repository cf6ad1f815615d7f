// Which peers get a series of their own: the busiest; the rest are added up as "other", so that the number of series stays bounded.
// Invariant: what a series shows never goes down while its peer keeps its slot. A peer with a series shows its own counters, which live
// in the statistics file; "other" grows by what the peers without one did since the last look.

export const OTHER = 'other';

export interface PeerRow {
  readonly name: string;
  readonly slot: number;
}

export interface BusiestPeers {
  /** `read` gives a peer's counters, always the same number of them; the first is what "busy" is measured by. */
  split(peers: readonly PeerRow[], read: (slot: number) => readonly number[]): PeerSeries;
}

export interface PeerSeries {
  readonly named: readonly (readonly [name: string, counters: readonly number[]])[];
  /** Undefined while every peer has a series of its own and always had. */
  readonly other: readonly number[] | undefined;
}

interface Row extends PeerRow {
  readonly counters: readonly number[];
}

export function createBusiestPeers(most: number): BusiestPeers {
  let before = new Map<string, Row>();
  let other: number[] | undefined;
  return {
    split(peers, read) {
      const rows: Row[] = [];
      const now = new Map<string, Row>();
      for (const { name, slot } of peers) {
        const row = { name, slot, counters: read(slot) };
        rows.push(row);
        now.set(name, row);
      }
      rows.sort((a, b) => (b.counters[0] ?? 0) - (a.counters[0] ?? 0)); // equal ones as they came
      for (let rank = most; rank < rows.length; rank++) {
        const { name, slot, counters } = rows[rank]!; // !: below the length
        const last = before.get(name);
        other ??= counters.map(() => 0);
        // Without an earlier look there is nothing to compare with: what was before is not counted.
        if (last === undefined || last.slot !== slot) continue;
        for (let at = 0; at < counters.length; at++) {
          other[at]! += Math.max(0, counters[at]! - (last.counters[at] ?? 0)); // !: below both lengths
        }
      }
      before = now;
      return {
        named: rows.slice(0, most).map(({ name, counters }) => [name, counters]),
        other: other === undefined ? undefined : [...other],
      };
    },
  };
}
