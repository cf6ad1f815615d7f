// Slots of peers in the forwarding table and its statistics: a peer keeps its slot while it exists, also over a restart of control;
// slots that nobody had come first, then those that were freed longest ago.
import { PEER_SLOTS } from '../../../proto/dataplane-stats.ts';

export class PeerSlots {
  readonly #capacity: number;
  readonly #slots = new Map<string, number>();
  /** Oldest first. */
  readonly #freed: number[] = [];
  #unused: number;

  /** `initial`: from a snapshot; entries that cannot be are left out. */
  constructor(initial: Readonly<Record<string, number>> = {}, capacity: number = PEER_SLOTS) {
    this.#capacity = capacity;
    const taken = new Set<number>();
    for (const [name, slot] of Object.entries(initial)) {
      if (!Number.isInteger(slot) || slot < 0 || slot >= capacity || taken.has(slot)) continue;
      taken.add(slot);
      this.#slots.set(name, slot);
    }
    this.#unused = Math.max(-1, ...taken) + 1;
    for (let slot = 0; slot < this.#unused; slot++) if (!taken.has(slot)) this.#freed.push(slot);
  }

  /** Frees the slots of all others, gives one to each name that has none. Names that found none are missing in the answer. */
  assign(names: Iterable<string>): ReadonlyMap<string, number> {
    const wanted = new Set(names);
    for (const [name, slot] of this.#slots) {
      if (wanted.has(name)) continue;
      this.#slots.delete(name);
      this.#freed.push(slot);
    }
    for (const name of wanted) {
      if (this.#slots.has(name)) continue;
      const slot = this.#unused < this.#capacity ? this.#unused++ : this.#freed.shift();
      if (slot !== undefined) this.#slots.set(name, slot);
    }
    return new Map(this.#slots);
  }
}
