// The steps that a request of the container runtime goes through, in order: a closed list for labels, and a clock that says how long each
// took and which one failed. `wait`: for the node's network, for deletions that were left on disk, and for the container's turn.

export const CNI_STEPS = {
  ADD: ['wait', 'check', 'allocate', 'link', 'guard', 'configure'],
  DEL: ['wait', 'detach', 'release'],
  CHECK: ['wait', 'inspect'],
} as const;

export type SteppedVerb = keyof typeof CNI_STEPS;
export type CniStep = (typeof CNI_STEPS)[SteppedVerb][number];

export interface StepTaken {
  readonly verb: SteppedVerb;
  readonly step: CniStep;
  readonly seconds: number;
  readonly isFailed: boolean;
}

export interface StepClockOptions {
  readonly verb: SteppedVerb;
  readonly observe: (taken: StepTaken) => void;
  /** Monotonic milliseconds. */
  readonly now: () => number;
}

export class StepClock {
  readonly #options: StepClockOptions;
  #step: CniStep;
  #sinceMs: number;

  constructor(options: StepClockOptions, step: CniStep) {
    this.#options = options;
    this.#step = step;
    this.#sinceMs = options.now();
  }

  /** The step under way has ended, another one begins. */
  enter(step: CniStep): void {
    this.#take(false);
    this.#step = step;
  }

  /** The last step has ended. */
  end(): void {
    this.#take(false);
  }

  /** The step under way has failed, and with it the request. */
  fail(): void {
    this.#take(true);
  }

  #take(isFailed: boolean): void {
    const { verb, observe, now } = this.#options;
    const nowMs = now();
    observe({ verb, step: this.#step, seconds: (nowMs - this.#sinceMs) / 1000, isFailed });
    this.#sinceMs = nowMs;
  }
}
