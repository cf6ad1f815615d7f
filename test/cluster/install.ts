// Weft's life on the cluster as its users have it: applied as one manifest, waited for, deleted.
import { join } from 'node:path';

import { until } from '../lab/condition.ts';
import type { Cluster } from './cluster.ts';

export const MANIFEST: string = join(import.meta.dirname, '../../manifests/weft.yaml');
const READY_BOUND_MS = 180_000;

export interface NodeCondition {
  readonly name: string;
  readonly ready: boolean;
  readonly reason: string;
}

interface NodeList {
  readonly items: readonly {
    readonly metadata: { readonly name: string };
    readonly status: {
      readonly conditions?: readonly {
        readonly type: string;
        readonly status: string;
        readonly message: string;
      }[];
    };
  }[];
}

export async function nodeConditions(cluster: Cluster): Promise<readonly NodeCondition[]> {
  const list = JSON.parse(await cluster.kubectl(['get', 'nodes', '--output', 'json'])) as NodeList; // as: kubectl's
  return list.items.map(({ metadata, status }) => {
    const ready = status.conditions?.find(({ type }) => type === 'Ready');
    return {
      name: metadata.name,
      ready: ready?.status === 'True',
      reason: ready?.message ?? 'no status yet',
    };
  });
}

export async function nodesReady(cluster: Cluster): Promise<void> {
  const observe = async (): Promise<boolean> => {
    const conditions = await nodeConditions(cluster);
    const waiting = conditions.filter(({ ready }) => !ready);
    if (waiting.length > 0)
      throw new Error(waiting.map(({ name, reason }) => `${name}: ${reason}`).join('; '));
    return true;
  };
  await until(observe, { what: 'all nodes to be Ready', boundMs: READY_BOUND_MS, intervalMs: 250 });
}

/** Applies the manifest; resolves when the nodes and all pods of kube-system are ready. */
export async function installWeft(cluster: Cluster, say: (text: string) => void): Promise<void> {
  const start = performance.now();
  const took = (what: string): void =>
    say(`${what}: ${((performance.now() - start) / 1000).toFixed(1)} s after apply`);
  await cluster.kubectl(['apply', '--filename', MANIFEST]);
  await nodesReady(cluster);
  took('nodes Ready');
  const bound = `--timeout=${READY_BOUND_MS / 1000}s`;
  await cluster.kubectl(['--namespace', 'weft', 'rollout', 'status', 'daemonset/weft', bound]);
  took('agents ready');
  await cluster.kubectl(['--namespace', 'kube-system', 'rollout', 'status', 'deployment/coredns', bound]);
  took('CoreDNS ready');
}

export async function uninstallWeft(cluster: Cluster): Promise<void> {
  await cluster.kubectl(['delete', '--filename', MANIFEST, '--timeout=120s']);
}
