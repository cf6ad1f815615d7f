// Runs `weft doctor` as a child of low priority: what it reads of a busy node, tens of thousands of packet filter rules, must not hold up
// control's event loop, nor stay in its heap.
import { execFile } from 'node:child_process';
import { constants, setPriority } from 'node:os';
import { fileURLToPath } from 'node:url';

import type { NodeFault } from '../../../proto/node-report.ts';
import { OperationError } from '../../operation-error.ts';

const COMMAND = fileURLToPath(new URL('../../cli/weft.ts', import.meta.url));
const LIMITS = { timeout: 60_000, maxBuffer: 4 << 20, killSignal: 'SIGKILL' } as const;
const NOTHING_FOUND = 0;
const FOUND = 1;

/** Throws OperationError DOCTOR_FAILED. */
export function runDoctor(environment: NodeJS.ProcessEnv): Promise<readonly NodeFault[]> {
  return new Promise((resolve, reject) => {
    const words = ['--disable-warning=ExperimentalWarning', COMMAND, 'doctor', '--output', 'json'];
    const child = execFile(
      process.execPath,
      words,
      { ...LIMITS, env: environment },
      (error, stdout, stderr) => {
        const status = error === null ? NOTHING_FOUND : error.code;
        const { findings } = decodeDiagnosis(stdout) ?? {};
        if ((status === NOTHING_FOUND || status === FOUND) && findings !== undefined)
          return resolve(findings);
        reject(
          new OperationError(`Cannot run "weft doctor" (${status ?? error?.signal}): ${lastLine(stderr)}`, {
            code: 'DOCTOR_FAILED',
            cause: error,
          }),
        );
      },
    );
    if (child.pid !== undefined) setPriority(child.pid, constants.priority.PRIORITY_LOW);
  });
}

function decodeDiagnosis(text: string): { readonly findings: readonly NodeFault[] } | undefined {
  try {
    return JSON.parse(text) as { findings: readonly NodeFault[] }; // as: of this very version
  } catch {
    return undefined;
  }
}

const lastLine = (text: string): string => text.trim().split('\n').at(-1) ?? '';
