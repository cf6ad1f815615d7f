// Pods that come and go while the node is mutated. An ADD that meets a mutation may fail: the runtime then detaches and tries again. A DEL must
// succeed at once.
import { setTimeout as pause } from 'node:timers/promises';

import type { LabNode } from '../../lab/lab.ts';
import { createSandbox, type Sandbox, tryCni } from '../../lab/pod.ts';

export interface Churn {
  /** Stops and takes the last pods away. Rejects when an ADD failed for good, or a DEL. */
  readonly end: () => Promise<ChurnReport>;
}

export interface ChurnReport {
  readonly attached: number;
  /** What ADDs answered that failed → how often. */
  readonly refusals: ReadonlyMap<string, number>;
}

const PODS = 6;
const INTERVAL_MS = 250;
const MOST_TRIES = 200;
const RETRY_MS = 50;

export function formatChurn({ attached, refusals }: ChurnReport): string {
  const codes = [...refusals].map(([code, times]) => `${times} × ${code}`);
  return `${attached} pods attached meanwhile; ADDs refused and tried again: ${codes.join(', ') || 'none'}`;
}

export async function startChurn(node: LabNode): Promise<Churn> {
  const idle: Sandbox[] = [];
  for (let at = 0; at < PODS; at += 1) idle.push(await createSandbox(node.namespace, `passing-${at}`));
  const attached: Sandbox[] = [];
  const stop = new AbortController();
  const refusals = new Map<string, number>();
  let count = 0;

  const detach = async (sandbox: Sandbox): Promise<void> => {
    const { status, stdout } = await tryCni(node.namespace, { sandbox, command: 'DEL' });
    if (status !== 0) throw new Error(`DEL failed: ${stdout}`);
  };
  const add = async (sandbox: Sandbox): Promise<void> => {
    for (let attempt = 1; ; attempt += 1) {
      const { status, stdout } = await tryCni(node.namespace, { sandbox, command: 'ADD' });
      if (status === 0) break;
      if (attempt === MOST_TRIES) throw new Error(`ADD failed ${attempt} times: ${stdout}`);
      const { code, details } = JSON.parse(stdout) as { code: number; details?: string }; // as: the plugin's contract
      const refusal = `${code} ${details ?? ''}`;
      refusals.set(refusal, (refusals.get(refusal) ?? 0) + 1);
      await detach(sandbox);
      await pause(RETRY_MS);
    }
    attached.push(sandbox);
    count += 1;
  };
  const remove = async (): Promise<void> => {
    const sandbox = attached.shift();
    if (sandbox === undefined) return;
    await detach(sandbox);
    idle.push(sandbox);
  };
  const work = async (): Promise<void> => {
    while (!stop.signal.aborted) {
      const next = idle.shift();
      if (next === undefined) await remove();
      else await add(next);
      await pause(INTERVAL_MS);
    }
    while (attached.length > 0) await remove();
  };
  const working = work();
  working.catch(() => undefined); // told by end()
  return {
    end: async () => {
      stop.abort();
      await working;
      return { attached: count, refusals };
    },
  };
}
