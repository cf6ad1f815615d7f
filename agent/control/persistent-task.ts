// One task that is tried until it succeeds: jittered exponential pauses, and a call in between makes it run again at the end.
import type { Clock } from '../kube/clock.ts';

export interface PersistentTaskOptions {
  /** Rejects to be tried again. */
  readonly run: () => Promise<void>;
  readonly failed: (error: unknown) => void;
  readonly clock: Clock;
  /** 0 ≤ x < 1. */
  readonly random: () => number;
}

export interface PersistentTask {
  /** Runs it now, or once more after the run that is under way. */
  request(): void;
  /** As request, and does not wait for the end of a pause: there is reason to believe that it succeeds now. */
  hurry(): void;
  /** Nothing starts afterwards. */
  stop(): void;
}

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 30_000;

export function createPersistentTask({ run, failed, clock, random }: PersistentTaskOptions): PersistentTask {
  let running = false;
  let again = false;
  let stopped = false;
  let failures = 0;
  let cancelTimer: (() => void) | undefined;

  const start = async (): Promise<void> => {
    cancelTimer?.();
    cancelTimer = undefined;
    running = true;
    again = false;
    try {
      await run();
      failures = 0;
    } catch (error) {
      if (stopped) return;
      failed(error);
      failures += 1;
      const pause = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (failures - 1));
      cancelTimer = clock.setTimer(pause * (0.5 + random() / 2), () => void start());
      return;
    } finally {
      running = false;
    }
    if (again && !stopped) void start();
  };

  const request = (): void => {
    if (stopped) return;
    if (running) again = true;
    else if (cancelTimer === undefined) void start();
  };

  return {
    request,
    hurry() {
      if (!running) cancelTimer?.();
      cancelTimer = undefined;
      request();
    },
    stop() {
      stopped = true;
      cancelTimer?.();
    },
  };
}
