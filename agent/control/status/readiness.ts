// Whether pods can be attached, and why not, told once when it changes: in the log, and by a file of the pod's own for its startup probe. (A probe of
// the status address would be answered by the agent that is being replaced: both are on the host's network.)
import { rmSync, writeFileSync } from 'node:fs';

import { type Logger, errorFields } from '../../telemetry/logger.ts';

export interface ReadinessOptions {
  /** Why pods cannot be attached, in words; undefined when they can. */
  readonly blocked: () => string | undefined;
  /** Undefined: none is asked for. */
  readonly file: string | undefined;
  readonly log: Logger;
}

export function createReadiness({ blocked, file, log }: ReadinessOptions): { settle(): void } {
  /** Why not; at first nothing is to be told of it. */
  let was: string | undefined = '';
  let isMarked = false;
  const mark = (now: boolean): void => {
    if (file === undefined) return;
    try {
      if (now) writeFileSync(file, '');
      else rmSync(file, { force: true });
    } catch (error) {
      log.error(
        'status_failed',
        `Cannot ${now ? 'write' : 'remove'} WEFT_READY_FILE="${file}": make its folder writable, else the pod's probe answers wrongly`,
        errorFields(error),
      );
    }
  };
  return {
    settle() {
      const why = blocked();
      if (why === was || (why !== undefined && was === '')) return;
      was = why;
      const isReady = why === undefined;
      if (isReady !== isMarked) mark(isReady);
      isMarked = isReady;
      if (isReady) log.info('agent_ready', 'Pods can be attached');
      else
        log.warn(
          'agent_not_ready',
          `Pods cannot be attached at the moment: ${why}. Those that run are not concerned; look at /status for more`,
        );
    },
  };
}
