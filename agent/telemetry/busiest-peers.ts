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

export function createBusiestPeers(most: number): BusiestPeers {
  let before = new Map<string, { readonly slot: number; readonly counters: readonly number[] }>();
  let other: number[] | undefined;
  return {
    split(peers, read) {
      const rows = peers.map(({ name, slot }) => ({ name, slot, counters: read(slot) }));
      const ranked = rows.toSorted(
        (a, b) => (b.counters[0] ?? 0) - (a.counters[0] ?? 0) || (a.name < b.name ? -1 : 1),
      );
      for (const { name, slot, counters } of ranked.slice(most)) {
        const last = before.get(name);
        other ??= counters.map(() => 0);
        // Without an earlier look there is nothing to compare with: what was before is not counted.
        if (last === undefined || last.slot !== slot) continue;
        for (const [at, value] of counters.entries()) {
          const grown = value - (last.counters[at] ?? 0);
          other[at] = (other[at] ?? 0) + Math.max(0, grown);
        }
      }
      before = new Map(rows.map(({ name, slot, counters }) => [name, { slot, counters }]));
      return {
        named: ranked.slice(0, most).map(({ name, counters }) => [name, counters]),
        other: other === undefined ? undefined : [...other],
      };
    },
  };
}
