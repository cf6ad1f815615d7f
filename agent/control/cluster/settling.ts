// How long pods wait to know whose the node's blocks are: after a start for an API that is away, and, once it was heard, whenever that is, for
// its word on the blocks that it listed. An API that falls silent in between keeps no pod waiting for longer.
import type { Clock } from '../../kube/clock.ts';

/** Each of the two. */
export const SILENCE_MS = 3000;

export interface Settling {
  /** Resolves once settled or in vain, at once when nothing is waited for; never rejects. */
  over(): Promise<void>;
  /** The API was heard and is asked about the blocks. */
  asking(): void;
  settled(): void;
  stop(): void;
}

/** `inVain`: the API was asked and kept silent. */
export function startSettling(clock: Pick<Clock, 'setTimer'>, inVain: () => void): Settling {
  let waiting: PromiseWithResolvers<void> | undefined = Promise.withResolvers<void>();
  const end = (): void => {
    waiting?.resolve();
    waiting = undefined;
  };
  let isAsking = false;
  let cancel = clock.setTimer(SILENCE_MS, end);
  return {
    over: () => waiting?.promise ?? Promise.resolve(),
    asking() {
      if (isAsking) return;
      isAsking = true;
      waiting ??= Promise.withResolvers<void>();
      cancel();
      cancel = clock.setTimer(SILENCE_MS, () => {
        inVain();
        end();
      });
    },
    settled() {
      cancel();
      end();
    },
    stop: () => cancel(),
  };
}
