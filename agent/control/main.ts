// Control's program: tries to serve, says why when it cannot, and ends as asked. serve.ts puts its parts together. Started by the keeper with
// the control channels of the data plane's workers from descriptor 4 on; ends when its standard input does.
import { setTimeout as pause } from 'node:timers/promises';

import { systemClock } from '../kube/clock.ts';
import { OperationError } from '../operation-error.ts';
import { parseReporting, parseSettings } from '../settings.ts';
import { createLogger, errorFields } from '../telemetry/logger.ts';
import { createRecentEvents } from './status/recent-events.ts';
import { createRefusalReport } from './refusal-report.ts';

import { serve } from './serve.ts';

const RETRY_MS = 3000;

/** Where it cannot start it says why, once in the log and on the status address, and tries again: what is wrong may be put right. */
async function main(): Promise<void> {
  const reporting = parseReporting(process.env);
  const recent = createRecentEvents(() => systemClock.now());
  const log = recent.listeningTo(
    createLogger({ role: 'control', level: reporting.logLevel, format: reporting.logFormat }),
  );
  process.on('uncaughtException', (error) => {
    log.error(
      'agent_failed',
      `A bug ended control, which is started again: ${error.message}; report this line`,
      {
        ...errorFields(error),
        stack: error.stack,
      },
    );
    process.exit(1);
  });
  const refusal = createRefusalReport({
    reporting,
    environment: process.env,
    clock: systemClock,
    random: Math.random,
    log,
  });
  let opened: AsyncDisposableStack;
  stopOnEnd(async () => {
    await opened.disposeAsync();
    log.info('agent_stopped', 'Control has stopped as asked');
    log.flush();
  });
  for (let told = ''; ;) {
    opened = new AsyncDisposableStack();
    try {
      await serve({ settings: parseSettings(process.env), log, recent, opened, refusal });
      return;
    } catch (error) {
      if (!(error instanceof OperationError)) throw error;
      await opened.disposeAsync();
      if (error.message !== told) log.error('agent_refused_to_start', error.message, errorFields(error));
      told = error.message;
      refusal.tell(error);
    }
    await pause(RETRY_MS);
  }
}

/** SIGTERM, or the keeper's end of standard input gone: then there is no data plane either. */
function stopOnEnd(stop: () => Promise<void>): void {
  let stopping = false;
  const end = (): void => {
    if (stopping) return;
    stopping = true;
    void stop().then(() => process.exit(0));
  };
  process.on('SIGTERM', end);
  process.on('SIGINT', end);
  process.stdin.on('end', end).on('error', end).resume();
}

await main();
