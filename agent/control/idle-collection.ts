// Collects garbage when pods came and went and it is quiet again. V8 leaves it until more has come together: control's memory would creep up by a
// third of a percent with every 250 pods, for thousands of them, although nothing is kept (bench/attach.ts). Time is a parameter.
import type { Clock } from '../kube/clock.ts';

export interface IdleCollectionOptions {
  readonly clock: Clock;
  /** A whole collection: 20 to 30 ms. */
  readonly collect: () => void;
}

const QUIET_MS = 1000;
/** Fewer leave too little behind. */
const LEAST_OPERATIONS = 100;

export class IdleCollection {
  readonly #options: IdleCollectionOptions;
  #operations = 0;
  #lastAtMs = 0;
  #isWaiting = false;

  constructor(options: IdleCollectionOptions) {
    this.#options = options;
  }

  /** To be told of every operation. */
  used(): void {
    this.#operations += 1;
    this.#lastAtMs = this.#options.clock.now();
    if (!this.#isWaiting && this.#operations >= LEAST_OPERATIONS) this.#wait(QUIET_MS);
  }

  #wait(delayMs: number): void {
    const { clock, collect } = this.#options;
    this.#isWaiting = true;
    clock.setTimer(delayMs, () => {
      const restMs = this.#lastAtMs + QUIET_MS - clock.now();
      if (restMs > 0) return this.#wait(restMs);
      this.#isWaiting = false;
      this.#operations = 0;
      collect();
    });
  }
}
