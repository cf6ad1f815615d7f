// Time as a port, so that nothing in here waits for real time in a test. Milliseconds of a clock that never jumps.

export interface Clock {
  /** Monotonic; its zero means nothing. */
  now(): number;
  /** Calls `fire` once after `delayMs`; the answer cancels it and may be called at any time. */
  setTimer(delayMs: number, fire: () => void): () => void;
}

export const systemClock: Clock = {
  now: () => performance.now(),
  setTimer(delayMs, fire) {
    const timer = setTimeout(fire, delayMs);
    return () => {
      clearTimeout(timer);
    };
  },
};
