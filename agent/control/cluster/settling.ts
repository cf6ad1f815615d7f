// How long pods wait after a start to know whose the node's blocks are: for an API that is away, and then, once it was heard, for its word on
// the blocks that it listed. An API that falls silent in between keeps no pod waiting for longer.
import type { Clock } from '../../kube/clock.ts';

/** Each of the two. */
export const SILENCE_MS = 3000;

export interface Settling {
  /** Resolves once settled or in vain; never rejects. */
  readonly over: Promise<void>;
  /** The API was heard and is asked about the blocks. */
  asking(): void;
  settled(): void;
  stop(): void;
}

/** `inVain`: the API was asked and kept silent. */
export function startSettling(clock: Pick<Clock, 'setTimer'>, inVain: () => void): Settling {
  const over = Promise.withResolvers<void>();
  let isAsking = false;
  let cancel = clock.setTimer(SILENCE_MS, over.resolve);
  return {
    over: over.promise,
    asking() {
      if (isAsking) return;
      isAsking = true;
      cancel();
      cancel = clock.setTimer(SILENCE_MS, () => {
        inVain();
        over.resolve();
      });
    },
    settled() {
      cancel();
      over.resolve();
    },
    stop: () => cancel(),
  };
}
