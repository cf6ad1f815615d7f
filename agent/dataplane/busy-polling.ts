// How long the loop looks for packets before it sleeps: a process that was asleep is woken tens of microseconds late, most of a round trip, so
// after packets in quick succession it pays to look a little longer. Grows when a sleep was so short that looking would have caught what
// ended it, shrinks when nothing came, as KVM's halt polling does (virt/kvm/kvm_main.c): without such traffic it never looks.
// It gives up for a while where looking finds too little: whoever sends waits for this very processor, and is run sooner by a process that
// sleeps (54 to 5.5 us on a free core, 39 to 146 us on a shared one; docs/data-path.md), or packets come at a pace of their own.

/** Never longer than this, in milliseconds. */
export const LONGEST_LOOK_MS = 0.05;
const FIRST_LOOK_MS = 0.01;
/** It gives up after so many looks in vain; one that found something makes up for some of them. */
const MOST_IN_VAIN = 8;
const FOUND_WORTH = 4;
/** Sleeps until it is tried again. */
export const REST_SLEEPS = 2000;

export class BusyPolling {
  /** For how long to look before the next sleep, in milliseconds; 0 = not at all. */
  lookMs = 0;
  readonly #longestMs: number;
  #inVain = 0;
  #rest = 0;

  /** `longestMs` = 0 never looks. */
  constructor(longestMs: number = LONGEST_LOOK_MS) {
    this.#longestMs = longestMs;
  }

  /** Whether it looks at nothing for now, and how long sleeps are does not matter. */
  get isResting(): boolean {
    return this.#rest > 0;
  }

  /** Looking found something. */
  found(): void {
    this.#inVain = Math.max(0, this.#inVain - FOUND_WORTH);
  }

  /** Looking, if at all, found nothing, and a sleep of `sleptMs` followed; `byPackets`: packets ended it. */
  slept(sleptMs: number, byPackets: boolean): void {
    if (this.#rest > 0) {
      this.#rest--;
    } else if (this.lookMs > 0 && ++this.#inVain === MOST_IN_VAIN) {
      this.lookMs = 0;
      this.#inVain = 0;
      this.#rest = REST_SLEEPS;
    } else if (!byPackets || sleptMs > this.#longestMs) {
      this.lookMs = this.lookMs <= FIRST_LOOK_MS ? 0 : this.lookMs / 2;
    } else {
      this.lookMs = Math.min(this.#longestMs, Math.max(FIRST_LOOK_MS, this.lookMs * 2));
    }
  }
}
