// Weft's life on the cluster as its users have it: applied as one manifest, waited for, deleted.
import { join } from 'node:path';

import { until } from '../lab/condition.ts';
import type { Cluster } from './cluster.ts';

const MANIFESTS = join(import.meta.dirname, '../../manifests');
export const MANIFEST: string = join(MANIFESTS, 'weft.yaml');
const REMOVAL = join(MANIFESTS, 'remove/remove.yaml');
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

/** kubectl in Weft's namespace; `more` are words with spaces. */
export const inWeft = (cluster: Cluster, words: string, ...more: readonly string[]): Promise<string> =>
  cluster.kubectl(['--namespace', 'weft', ...words.split(' '), ...more]);

/** Changes settings in their ConfigMap and lets new agents come; resolves before they do. */
export async function configureWeft(
  cluster: Cluster,
  settings: Readonly<Record<string, string>>,
): Promise<void> {
  const patch = JSON.stringify({ data: settings });
  await inWeft(cluster, 'patch configmap weft --type=merge --patch', patch);
  await inWeft(cluster, 'rollout restart daemonset/weft');
}

export async function uninstallWeft(cluster: Cluster): Promise<void> {
  await cluster.kubectl(['delete', '--filename', MANIFEST, '--timeout=120s']);
}

const removers = '--namespace weft-remove --selector app.kubernetes.io/name=weft-remove'.split(' ');

/** Starts what takes Weft off the nodes. */
export async function startRemoval(cluster: Cluster): Promise<void> {
  await cluster.kubectl(['apply', '--filename', REMOVAL]);
}

/** What the removal says, node by node. */
export const removalLogs = (cluster: Cluster): Promise<string> =>
  cluster.kubectl(['logs', ...removers, '--container=remove', '--prefix', '--tail=-1']);

/** Resolves when it is gone from the cluster; what it has removed stays removed. */
export async function endRemoval(cluster: Cluster): Promise<void> {
  await cluster.kubectl(['delete', '--filename', REMOVAL, '--timeout=120s']);
}

/** After uninstallWeft: takes Weft off every node, and resolves to what was said of it. */
export async function removeFromNodes(cluster: Cluster): Promise<string> {
  await startRemoval(cluster);
  const bound = `--timeout=${READY_BOUND_MS / 1000}s`;
  await cluster.kubectl(
    '--namespace weft-remove rollout status daemonset/weft-remove'.split(' ').concat(bound),
  );
  const logs = await removalLogs(cluster);
  await endRemoval(cluster);
  return logs;
}
