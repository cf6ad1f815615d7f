// Whether pods can be attached, told once when it changes: in the log, and by a file of the pod's own for its startup probe. (A probe of
// the status address would be answered by the agent that is being replaced: both are on the host's network.)
import { rmSync, writeFileSync } from 'node:fs';

import { type Logger, errorFields } from '../../telemetry/logger.ts';

export interface ReadinessOptions {
  readonly isReady: () => boolean;
  /** Undefined: none is asked for. */
  readonly file: string | undefined;
  readonly log: Logger;
}

export function createReadiness({ isReady, file, log }: ReadinessOptions): { settle(): void } {
  let was = false;
  const mark = (now: boolean): void => {
    if (file === undefined) return;
    try {
      if (now) writeFileSync(file, '');
      else rmSync(file, { force: true });
    } catch (error) {
      log.error(
        'status_failed',
        `Cannot ${now ? 'write' : 'remove'} WEFT_READY_FILE="${file}"`,
        errorFields(error),
      );
    }
  };
  return {
    settle() {
      const now = isReady();
      if (now === was) return;
      was = now;
      mark(now);
      if (now) log.info('agent_ready', 'Pods can be attached');
      else log.warn('agent_not_ready', 'Pods cannot be attached at the moment; see /status');
    },
  };
}
