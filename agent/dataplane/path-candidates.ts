// The sizes that one round of a search for a path's MTU (path-mtu.ts) asks about at once, and what became of each. Invariant: sizes are
// distinct; an answered size answers for all smaller ones, a refused one for all larger ones.

/** Sizes of one round. */
export const CANDIDATES = 16;

/** Outer packets of links and tunnels that are met in practice: Ethernet, PPPoE, IPIP, GRE, clouds, WireGuard, IPv6's least, and jumbo frames. */
const OUTER_PLATEAUS: readonly number[] = [
  9216, 9001, 9000, 8500, 4352, 2002, 1500, 1492, 1480, 1476, 1460, 1450, 1440, 1430, 1420, 1410, 1400, 1390,
  1380, 1350, 1340, 1300, 1280, 1006,
];
/** Outer IPv4, UDP, VXLAN and Ethernet headers. Where they are larger the plateaus miss, and the search takes a round more. */
const OUTER_BYTES = 50;
const PLATEAUS: readonly number[] = OUTER_PLATEAUS.map((outer) => outer - OUTER_BYTES);

export class Candidates {
  count = 0;
  readonly sizes: Uint16Array;
  #largestAnswered = 0;
  #smallestRefused: number = Number.POSITIVE_INFINITY;

  constructor(capacity: number) {
    this.sizes = new Uint16Array(capacity);
  }

  clear(): void {
    this.count = 0;
    this.#largestAnswered = 0;
    this.#smallestRefused = Number.POSITIVE_INFINITY;
  }

  /** Also where there is no room: then in the place of the size before. */
  add(size: number): void {
    if (this.sizes.subarray(0, this.count).includes(size)) return;
    if (this.count === this.sizes.length) this.count -= 1;
    this.sizes[this.count++] = size;
  }

  /** The usual ones above `low` and up to `high`, which is one of them; two places stay free. */
  addPlateaus(low: number, high: number): void {
    this.add(high);
    for (const size of PLATEAUS) {
      if (size > low && size < high && this.count < this.sizes.length - 2) this.add(size);
    }
  }

  /** Sizes above `low` and below `high` that divide what is between them: the next one above `low`, the rest evenly; one place stays free. */
  addBetween(low: number, high: number): void {
    const most = this.sizes.length - 1;
    const step = Math.max(1, (high - low) / most);
    this.add(low + 1);
    for (let index = 1; index < most; index++) {
      const size = low + 1 + Math.round(index * step);
      if (size < high) this.add(size);
    }
  }

  /** Whether the size is to be asked about (again). */
  isOpen(index: number): boolean {
    const size = this.sizes[index]!; // !: the caller's range
    return size > this.#largestAnswered && size < this.#smallestRefused;
  }

  answered(size: number): void {
    if (this.#has(size)) this.#largestAnswered = Math.max(this.#largestAnswered, size);
  }

  /** Larger than the node's own interface takes. */
  refused(size: number): void {
    this.#smallestRefused = Math.min(this.#smallestRefused, size);
  }

  get isRefused(): boolean {
    return this.#smallestRefused !== Number.POSITIVE_INFINITY;
  }

  get largestAnswered(): number {
    return this.#largestAnswered;
  }

  /** Nothing is left to wait for. */
  get isSettled(): boolean {
    for (let index = 0; index < this.count; index++) if (this.isOpen(index)) return false;
    return true;
  }

  /** Infinite when there is none. */
  smallestFailedAbove(low: number): number {
    let smallest = Number.POSITIVE_INFINITY;
    for (let index = 0; index < this.count; index++) {
      const size = this.sizes[index]!; // !: below count
      if (size > low) smallest = Math.min(smallest, size);
    }
    return smallest;
  }

  #has(size: number): boolean {
    return this.sizes.subarray(0, this.count).includes(size);
  }
}
