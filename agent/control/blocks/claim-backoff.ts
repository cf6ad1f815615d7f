// Pauses between attempts to claim: growing and jittered, so that a fleet that lost the API or races for the last blocks does not come
// back in step. Time and randomness are parameters.

const FAILURE_MS = { first: 1000, most: 30_000 };
const RACE_MS = { first: 50, most: 5000 };
/** Lost races that are answered at once: each time with another block. */
const FREE_RACES = 3;

export class ClaimBackoff {
  readonly #random: () => number;
  #failures = 0;
  #races = 0;
  #until = Number.NEGATIVE_INFINITY;

  constructor(random: () => number) {
    this.#random = random;
  }

  /** Milliseconds until the next attempt; 0 = now. */
  remaining(nowMs: number): number {
    return Math.max(0, this.#until - nowMs);
  }

  succeeded(): void {
    this.#failures = 0;
    this.#races = 0;
    this.#until = Number.NEGATIVE_INFINITY;
  }

  /** Returns the pause. */
  failed(nowMs: number): number {
    this.#failures += 1;
    return this.#pause(nowMs, grown(FAILURE_MS, this.#failures - 1));
  }

  /** Returns the pause; 0 the first few times. */
  lostRace(nowMs: number): number {
    this.#races += 1;
    this.#failures = 0;
    if (this.#races <= FREE_RACES) return 0;
    return this.#pause(nowMs, grown(RACE_MS, this.#races - FREE_RACES - 1));
  }

  #pause(nowMs: number, limitMs: number): number {
    const pauseMs = limitMs * (0.5 + this.#random() / 2);
    this.#until = nowMs + pauseMs;
    return pauseMs;
  }
}

const grown = ({ first, most }: { first: number; most: number }, doublings: number): number =>
  Math.min(most, first * 2 ** Math.min(doublings, 16));
