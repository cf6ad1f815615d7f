// How long the loop looks for packets before it sleeps: sleeping and waking up costs tens of microseconds, most of a round trip, so after
// traffic that came in quick succession it pays to look a little longer. Grows when a sleep was so short that looking would have caught
// what ended it, shrinks when nothing came, as KVM's halt polling does (virt/kvm/kvm_main.c): a node without such traffic never looks.

/** Never longer than this, in milliseconds. */
export const LONGEST_LOOK_MS = 0.05;
const FIRST_LOOK_MS = 0.01;

export class BusyPolling {
  /** For how long to look before the next sleep, in milliseconds; 0 = not at all. */
  lookMs = 0;
  readonly #longestMs: number;

  /** `longestMs` = 0 never looks. */
  constructor(longestMs: number = LONGEST_LOOK_MS) {
    this.#longestMs = longestMs;
  }

  /** Looking was in vain and a sleep of `sleptMs` followed; `byPackets`: packets ended it. */
  slept(sleptMs: number, byPackets: boolean): void {
    if (byPackets && sleptMs <= this.#longestMs) {
      this.lookMs = Math.min(this.#longestMs, Math.max(FIRST_LOOK_MS, this.lookMs * 2));
    } else {
      this.lookMs = this.lookMs <= FIRST_LOOK_MS ? 0 : this.lookMs / 2;
    }
  }
}
