// Finds the API server: runs cluster-config.ts, which knows KUBECONFIG and service accounts, in a process of its own and makes an
// ApiEndpoint of its answer.
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';

import type { ClusterConfigAnswer } from './cluster-config.ts';
import { type ApiEndpoint, configInvalid, createApiEndpoint } from './api-endpoint.ts';

const READER = fileURLToPath(new URL('cluster-config.ts', import.meta.url));
const READER_DEADLINE_MS = 60_000;
const ANSWER_BYTES = 4 << 20;

/** Throws OperationError CONFIG_INVALID naming the file and the remedy. */
export async function openClusterEndpoint(options: {
  environment: Readonly<Record<string, string | undefined>>;
  signal?: AbortSignal;
}): Promise<ApiEndpoint> {
  const answer = await readClusterConfig(options);
  if ('problem' in answer) throw configInvalid(answer.source, answer.problem);
  return createApiEndpoint(answer.facts);
}

function readClusterConfig(options: {
  environment: Readonly<Record<string, string | undefined>>;
  signal?: AbortSignal;
}): Promise<ClusterConfigAnswer> {
  return new Promise((resolve, reject) => {
    execFile(
      process.execPath,
      [READER],
      {
        env: options.environment,
        timeout: READER_DEADLINE_MS,
        maxBuffer: ANSWER_BYTES,
        ...(options.signal === undefined ? {} : { signal: options.signal }),
      },
      (error, stdout, stderr) => {
        if (error !== null) {
          const words = stderr.trim().split('\n').at(-1) ?? '';
          reject(
            configInvalid(
              'the cluster',
              `its reader ended early: ${words || error.message}; run "node ${READER}" to see it whole`,
              error,
            ),
          );
          return;
        }
        resolve(JSON.parse(stdout) as ClusterConfigAnswer); // as: our own program wrote it
      },
    );
  });
}
