// Time as a port, so that nothing in here waits for real time in a test. Milliseconds of a clock that never jumps.

export interface Clock {
  /** Monotonic; its zero means nothing. */
  now(): number;
  /** Calls `fire` once after `delayMs`; the answer cancels it and may be called at any time. */
  setTimer(delayMs: number, fire: () => void): () => void;
}

/** Of setTimeout, which fires at once beyond it. */
const LONGEST_MS = 2 ** 31 - 1;

export const systemClock: Clock = {
  now: () => performance.now(),
  setTimer(delayMs, fire) {
    let timer: NodeJS.Timeout;
    const wait = (leftMs: number): void => {
      const beyondMs = leftMs - LONGEST_MS;
      timer = beyondMs > 0 ? setTimeout(() => wait(beyondMs), LONGEST_MS) : setTimeout(fire, leftMs);
    };
    wait(delayMs);
    return () => {
      clearTimeout(timer);
    };
  },
};
