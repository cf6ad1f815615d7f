// When to look after a disturbance: soon, so that pods hardly notice; together, because one change sends several notifications; and with
// a pause after each look that is a multiple of the CPU time that it took, so that a program that undoes every repair costs a part of a core.
import type { Clock } from '../../kube/clock.ts';

export interface SweepPace {
  /** Something may have been changed. */
  disturbed(): void;
  /** Before and after each look, whoever asked for it. */
  started(): void;
  ended(): void;
  stop(): void;
}

export interface SweepPaceOptions {
  readonly clock: Clock;
  /** CPU time of this process and of the programs that it runs, in milliseconds. */
  readonly cpuTimeMs: () => number;
  readonly look: () => void;
}

export const SETTLE_MS = 20;
/** A fifth of a core is spent on looking at most. */
export const PAUSE_SHARE = 4;
/** What is changed in a pause waits for its end: well below the two seconds in which things come back. */
export const LONGEST_PAUSE_MS = 500;

export function createSweepPace({ clock, cpuTimeMs, look }: SweepPaceOptions): SweepPace {
  let cpuAtStart: number | undefined;
  let restUntil = 0;
  let waiting = false;
  let cancel: (() => void) | undefined;

  const schedule = (): void => {
    const delay = Math.max(SETTLE_MS, restUntil - clock.now());
    cancel ??= clock.setTimer(delay, () => {
      cancel = undefined;
      look();
    });
  };

  return {
    disturbed() {
      // What comes while it looks may have been missed.
      if (cpuAtStart !== undefined) waiting = true;
      else schedule();
    },
    started() {
      cpuAtStart = cpuTimeMs();
      cancel?.();
      cancel = undefined;
    },
    ended() {
      const spent = cpuTimeMs() - (cpuAtStart ?? 0);
      restUntil = clock.now() + Math.min(LONGEST_PAUSE_MS, spent * PAUSE_SHARE);
      cpuAtStart = undefined;
      if (!waiting) return;
      waiting = false;
      schedule();
    },
    stop: () => cancel?.(),
  };
}
