// Time as the packet path sees it: CLOCK_MONOTONIC, read once a round of the loop, because a reading costs as much as a packet's lookup.

export interface Clock {
  /** Milliseconds at the start of this round. */
  nowMs: number;
  /** Reads the clock; also moves nowMs. */
  read(): number;
}

/** `performance.now()` counts from the process's start; `originMs` is that moment on CLOCK_MONOTONIC. */
export function createClock(originMs: number, elapsedMs: () => number): Clock {
  return {
    nowMs: originMs + elapsedMs(),
    read() {
      this.nowMs = originMs + elapsedMs();
      return this.nowMs;
    },
  };
}
