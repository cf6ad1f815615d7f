// Drives the block claims: one step at a time, again when something changed or the last step asked for it. Invariant: no two steps
// overlap, and a wake-up during a step is not lost.
import { formatCidr } from '../../../proto/address.ts';
import type { Clock } from '../../kube/clock.ts';
import type { BlockClaims } from './block-claims.ts';

export interface BlockClaimLoop {
  /** The cluster view or the pool changed. */
  wake(): void;
  /** Resolves when the step under way has ended; there is none after it. */
  stop(): Promise<void>;
}

/**
 * `stepped` is told after each step; `changed` after one that left the node with other blocks than before: a step follows each allocation, and
 * most change none.
 */
export function startBlockClaims(options: {
  claims: Pick<BlockClaims, 'step' | 'state'>;
  clock: Pick<Clock, 'setTimer'>;
  stepped?: () => void;
  changed?: () => void;
}): BlockClaimLoop {
  const { claims, clock, stepped, changed } = options;
  let isStopped = false;
  let isWoken = false;
  let running: Promise<void> | undefined;
  let cancelTimer: () => void = () => undefined;
  let told = '';

  const tell = (): void => {
    const blocks = claims.state().map(({ cidr }) => formatCidr(cidr));
    if (blocks.join(' ') === told) return;
    told = blocks.join(' ');
    changed?.();
  };

  const run = async (): Promise<void> => {
    for (;;) {
      isWoken = false;
      const delayMs = await claims.step();
      stepped?.();
      tell();
      if (isStopped) return;
      if (isWoken || delayMs === 0) continue;
      if (delayMs !== undefined) cancelTimer = clock.setTimer(Math.ceil(delayMs), wake);
      return;
    }
  };

  const wake = (): void => {
    isWoken = true;
    if (isStopped || running !== undefined) return;
    cancelTimer();
    running = run().finally(() => {
      running = undefined;
      if (isWoken) wake();
    });
  };

  wake();
  return {
    wake,
    async stop() {
      isStopped = true;
      cancelTimer();
      await running;
    },
  };
}
