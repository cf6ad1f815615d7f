// Services for the tests, and what is asked of each. Their pods are the workload's (TCP) and the tool pods (UDP).
import assert from 'node:assert/strict';

import type { Place } from '../lab/command.ts';
import { until } from '../lab/condition.ts';
import type { Cluster } from './cluster.ts';
import { ECHO_PORT, TOOL, askUdp } from './tool-pods.ts';
import { type ClusterPod, PORT, WORKLOAD, apply, ask, askFrom, repeat, serviceAddress } from './workload.ts';

export const NODE_PORTS = { all: 30_080, sticky: 30_081, local: 30_082, last: 30_083 } as const;
/** Label of pods that are the only ones of a Service; its value is the node's name. */
const ALONE = 'alone';
/** So many that a backend which is left out by chance is left out in one run of a million: 3 × (2/3)^40. */
const TRIES = 40;

const service = (name: string, spec: object): object => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name },
  spec: { ports: [{ port: 80, targetPort: PORT }], selector: { app: WORKLOAD }, ...spec },
});

const nodePort = (nodePort: number): object => ({
  type: 'NodePort',
  ports: [{ port: 80, targetPort: PORT, nodePort }],
});

export const aloneService = (pod: ClusterPod): string => `alone-${pod.name.split('-')[0]}-${pod.node}`;

/** `alone`: pods that get a Service each that leads to them only; `local` is the only pod of the Services of policy Local. */
export async function createServices(
  cluster: Cluster,
  { alone, local }: { alone: readonly ClusterPod[]; local: ClusterPod },
): Promise<void> {
  for (const pod of alone) {
    await cluster.kubectl(['label', 'pod', pod.name, `${ALONE}=${pod.node}`, '--overwrite']);
  }
  await apply(cluster, [
    service('all', nodePort(NODE_PORTS.all)),
    service('sticky', { ...nodePort(NODE_PORTS.sticky), sessionAffinity: 'ClientIP' }),
    service('local-outside', {
      ...nodePort(NODE_PORTS.local),
      externalTrafficPolicy: 'Local',
      selector: { app: WORKLOAD, [ALONE]: local.node },
    }),
    service('local-inside', { internalTrafficPolicy: 'Local' }),
    service('local-inside-one', {
      internalTrafficPolicy: 'Local',
      selector: { app: WORKLOAD, [ALONE]: local.node },
    }),
    service('headless', { clusterIP: 'None' }),
    ...alone.map((pod) => {
      const isTool = pod.name.startsWith(TOOL);
      return service(aloneService(pod), {
        selector: { app: isTool ? TOOL : WORKLOAD, [ALONE]: pod.node },
        ...(isTool ? { ports: [{ port: ECHO_PORT, protocol: 'UDP' }] } : {}),
      });
    }),
  ]);
}

/**
 * Resolves when kube-proxy on every node has all Services so far. A Service that is made when all others lead to pods comes last in what
 * kube-proxy is told, so a node that has it has the others.
 */
export async function servicesInPlace(cluster: Cluster, outside: Place): Promise<void> {
  const columns =
    'custom-columns=S:.metadata.labels.kubernetes\\.io/service-name,A:.endpoints[*].addresses[0]';
  const empty = async (): Promise<readonly string[]> => {
    const text = await cluster.kubectl(['get', 'endpointslices', '--no-headers', '--output', columns]);
    return text.split('\n').filter((line) => line.includes('<none>'));
  };
  await until(async () => (await empty()).length === 0, {
    what: 'every Service to have pods',
    boundMs: 60_000,
  });
  await apply(cluster, [service('last', nodePort(NODE_PORTS.last))]);
  for (const { name, address } of cluster.nodes) {
    const answers = async (): Promise<boolean> =>
      (await askFrom(outside, [`${address}:${NODE_PORTS.last}`])).length === 1;
    await until(answers, { what: `kube-proxy on ${name} to have all Services`, boundMs: 60_000 });
  }
}

/** The answers of a Service's address to a pod, TRIES times; all must come. */
export async function askService(
  cluster: Cluster,
  from: ClusterPod,
  name: string,
): Promise<readonly { readonly name: string; readonly seen: string }[]> {
  const address = await serviceAddress(cluster, name);
  const answers = await ask(cluster, from, repeat(address, TRIES));
  assert.equal(answers.length, TRIES, `answers of Service "${name}" to ${from.name} on ${from.node}`);
  return answers;
}

/** TCP: a Service's address leads a pod to all of its pods, and they see the pod's own address (but where it is itself that answers). */
export async function checkClusterAddress(
  cluster: Cluster,
  { from, pods }: { from: ClusterPod; pods: readonly ClusterPod[] },
): Promise<void> {
  const answers = await askService(cluster, from, WORKLOAD);
  const nodes = new Set(answers.map(({ name }) => String(pods.find((pod) => pod.name === name)?.node)));
  assert.deepEqual([...nodes].sort(), [...new Set(pods.map(({ node }) => node))].sort());
  for (const { name, seen } of answers) {
    if (name !== from.name) assert.equal(seen, from.address, `${name} asked by ${from.name} on ${from.node}`);
  }
}

/** As checkClusterAddress, for UDP, among the tool pods. */
export async function checkUdpClusterAddress(
  cluster: Cluster,
  { from, tools }: { from: ClusterPod; tools: readonly ClusterPod[] },
): Promise<void> {
  const host = `${await serviceAddress(cluster, TOOL)}:${ECHO_PORT}`;
  const answers = await askUdp(cluster, from, { hosts: repeat(host, TRIES), bytes: 100 });
  assert.equal(answers.length, TRIES, `answers of Service "${TOOL}" to ${from.name} on ${from.node}`);
  assert.deepEqual(
    [...new Set(answers.map(({ name }) => name))].sort(),
    tools.map(({ name }) => name).sort(),
  );
  for (const { name, seen } of answers) {
    if (name !== from.name) assert.equal(seen, from.address, `${name} asked by ${from.name} on ${from.node}`);
  }
}

/** A pod that is the only one of a Service asks it and gets its own answer. */
export async function checkHairpin(cluster: Cluster, pod: ClusterPod): Promise<void> {
  const address = await serviceAddress(cluster, aloneService(pod));
  const answers = pod.name.startsWith(TOOL)
    ? await askUdp(cluster, pod, { hosts: repeat(`${address}:${ECHO_PORT}`, 3), bytes: 100 })
    : await ask(cluster, pod, repeat(address, 3));
  const names = answers.map(({ name }) => name);
  assert.deepEqual(names, repeat(pod.name, 3), `${pod.name} on ${pod.node} asked itself by its Service`);
}
