// A keeper that cannot start yet. In a cluster it stays, says why once, has control/refused.ts tell it to the cluster (Event, status page), and
// tries again: what is wrong may be put right from outside, and a container that exits tells less and less often. Where there is no
// cluster to tell, a person waits for the answer: it exits. Invariant: nothing that runs on the node is touched meanwhile.
import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

import { OperationError } from './operation-error.ts';
import type { Environment } from './settings.ts';
import { contextFields } from './telemetry/field-names.ts';
import type { Logger } from './telemetry/logger.ts';

export interface KeepTryingOptions {
  /** Throws OperationError when the agent cannot start; what it had opened by then is closed. */
  readonly start: () => void | Promise<void>;
  readonly environment: Environment;
  readonly log: Logger;
}

const RETRY_MS = 3000;
const EXIT_REFUSED = 1;

const reporterMain = join(import.meta.dirname, 'control/refused.ts');

/** Resolves when `start` has. */
export async function keepTrying({ start, environment, log }: KeepTryingOptions): Promise<void> {
  const isInCluster = ['KUBECONFIG', 'KUBERNETES_SERVICE_HOST'].some((name) => Boolean(environment[name]));
  let refusal: Refusal | undefined;
  for (;;) {
    try {
      await start();
      refusal?.end();
      return;
    } catch (error) {
      if (!(error instanceof OperationError)) throw error;
      if (refusal === undefined && !isInCluster) {
        tell(error, log);
        process.exit(EXIT_REFUSED);
      }
      refusal ??= createRefusal(environment, log);
      refusal.tell(error);
    }
    await pause(RETRY_MS);
  }
}

const tell = ({ message, code, context }: OperationError, log: Logger): void =>
  log.error('agent_refused_to_start', message, { ...contextFields(context), code });

interface Refusal {
  /** In the log where it is another one than before; to the cluster in any case. */
  tell(error: OperationError): void;
  end(): void;
}

function createRefusal(environment: Environment, log: Logger): Refusal {
  let told = '';
  let reporter: ChildProcess | undefined;
  /** The first process of a container gets no signal that it does not ask for. */
  const stop = (signal: NodeJS.Signals): void => {
    log.info('agent_stopping', `Stopping on ${signal}`, { signal });
    process.exit(0); // and with it the reporter, whose standard input ends
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);

  const running = (): ChildProcess => {
    if (reporter !== undefined) return reporter;
    const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', reporterMain], {
      env: environment,
      stdio: ['pipe', 'inherit', 'inherit'],
    });
    const gone = (): void => {
      if (reporter === child) reporter = undefined; // the next try starts another one
    };
    child.on('error', gone).on('exit', gone);
    child.stdin.on('error', () => undefined); // it has ended, see above
    reporter = child;
    return child;
  };

  return {
    tell(error) {
      if (error.message !== told) tell(error, log);
      told = error.message;
      const { message, code } = error;
      running().stdin?.write(`${JSON.stringify({ message, code })}\n`);
    },
    end() {
      process.off('SIGTERM', stop);
      process.off('SIGINT', stop);
      reporter?.kill('SIGKILL'); // it owns nothing; its address is needed at once
    },
  };
}
