// Pods that the tests of disruption look through: one on a node that is named, without a controller, so that it stays the same pod; and
// its network namespace as a place, in which programs of the checkout run (the pod itself has only busybox).
import { join } from 'node:path';

import { type Place, runCommand } from '../lab/command.ts';
import { condition } from '../lab/condition.ts';
import { type Endpoint, openEndpoint } from '../lab/probe/endpoint.ts';
import { programFolder } from './build.ts';
import type { Cluster } from './cluster.ts';
import type { ClusterNode } from './cluster-node.ts';
import { TEST_POD_IMAGE } from './images.ts';

export interface ProbePod {
  readonly name: string;
  readonly node: ClusterNode;
  readonly address: string;
  readonly place: Place;
  /** The probe worker in its network namespace; started on first use. */
  readonly endpoint: () => Promise<Endpoint>;
}

export const podManifest = (name: string, nodeName?: string): object => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, namespace: 'default', labels: { app: name } },
  spec: {
    ...(nodeName === undefined ? {} : { nodeName }),
    terminationGracePeriodSeconds: 0,
    // Whatever becomes of its node, it is not moved away.
    tolerations: [{ operator: 'Exists' }],
    containers: [{ name: 'probe', image: TEST_POD_IMAGE, imagePullPolicy: 'Never' }],
  },
});

/** Makes a pod on each node, named after it; resolves when they are ready. */
export async function createProbePods(
  cluster: Cluster,
  nodes: readonly ClusterNode[],
): Promise<readonly ProbePod[]> {
  const name = (node: ClusterNode): string => `probe-of-${node.name}`;
  const items = nodes.map((node) => podManifest(name(node), node.name));
  const list = JSON.stringify({ apiVersion: 'v1', kind: 'List', items });
  await cluster.kubectl(['apply', '--filename', '-'], { stdin: list });
  await cluster.kubectl([
    'wait',
    '--for=condition=Ready',
    '--timeout=120s',
    ...nodes.map((node) => `pod/${name(node)}`),
  ]);
  return Promise.all(nodes.map((node) => findPod(node, name(node))));
}

const ctr = async (node: ClusterNode, words: readonly string[]): Promise<readonly string[]> => {
  const program = [join(programFolder(), 'ctr'), '--namespace', 'k8s.io'];
  return (await runCommand(node.place, [...program, ...words])).trim().split('\n');
};

/** Looks a pod up on its node, not in the API, and waits for it. */
export async function findPod(node: ClusterNode, name: string): Promise<ProbePod> {
  const filter = `labels."io.kubernetes.pod.name"=="${name}"`;
  return condition(
    async () => {
      const containers = new Set(await ctr(node, ['containers', 'list', '--quiet', filter]));
      const running = (await ctr(node, ['tasks', 'list']))
        .map((line) => line.split(/\s+/))
        .filter(([id = '', , status]) => containers.has(id) && status === 'RUNNING');
      const pid = running[0]?.[1];
      // Sandbox and container.
      if (pid === undefined || running.length < 2) return undefined;
      const namespace = `--net=/proc/${pid}/ns/net`;
      const place: Place = {
        name,
        get enter() {
          return [...node.place.enter, 'nsenter', namespace];
        },
      };
      const text = await runCommand(place, ['ip', '-o', '-4', 'address', 'show', 'dev', 'eth0']);
      const address = / inet ([\d.]+)\//.exec(text)?.[1];
      if (address === undefined) return undefined;
      let open: Promise<Endpoint> | undefined;
      return { name, node, address, place, endpoint: () => (open ??= openEndpoint(place)) };
    },
    { what: `pod ${name} to run on ${node.name}`, boundMs: 120_000, intervalMs: 200 },
  );
}

/** Addresses of all pods of the namespace default as the API has them, by name. */
export async function podAddresses(cluster: Cluster): Promise<Readonly<Record<string, string>>> {
  const columns = 'custom-columns=N:.metadata.name,A:.status.podIP';
  const text = await cluster.kubectl(['get', 'pods', '--no-headers', '--output', columns]);
  const rows = text
    .trim()
    .split('\n')
    .map((line) => line.trim().split(/\s+/));
  return Object.fromEntries(rows.map(([name = '', address = '']) => [name, address]));
}
