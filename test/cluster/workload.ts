// Pods for the tests: a Deployment of test pods, spread over the nodes, its Service, and what they see of each other.
import assert from 'node:assert/strict';

import { type Place, runScript } from '../lab/command.ts';
import type { Cluster } from './cluster.ts';
import { TEST_POD_IMAGE } from './images.ts';

export const WORKLOAD = 'who';
export const PORT = 8080;

export interface ClusterPod {
  readonly name: string;
  readonly node: string;
  readonly address: string;
}

const labels = { app: WORKLOAD };

/** A container that answers who it is and who asks (images.ts). */
export const WHO_CONTAINER: Readonly<Record<string, unknown>> = {
  name: WORKLOAD,
  image: TEST_POD_IMAGE,
  imagePullPolicy: 'Never',
  readinessProbe: { httpGet: { path: '/cgi-bin/who', port: PORT }, periodSeconds: 1 },
};

export const spreadOverNodes = (selected: object): object => ({
  maxSkew: 1,
  topologyKey: 'kubernetes.io/hostname',
  whenUnsatisfiable: 'DoNotSchedule',
  labelSelector: { matchLabels: selected },
});

const manifest = (replicas: number): readonly object[] => [
  {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: WORKLOAD },
    spec: {
      replicas,
      selector: { matchLabels: labels },
      template: {
        metadata: { labels },
        spec: {
          terminationGracePeriodSeconds: 0,
          topologySpreadConstraints: [spreadOverNodes(labels)],
          containers: [WHO_CONTAINER],
        },
      },
    },
  },
  {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: WORKLOAD },
    spec: { selector: labels, ports: [{ port: 80, targetPort: PORT }] },
  },
];

const asList = (items: readonly object[]): string =>
  JSON.stringify({ apiVersion: 'v1', kind: 'List', items });

export async function apply(cluster: Cluster, items: readonly object[]): Promise<void> {
  await cluster.kubectl(['apply', '--filename', '-'], { stdin: asList(items) });
}

/** Resolves when all pods are ready (the kubelet has reached each of them: from the host to the pod). */
export async function deployWorkload(cluster: Cluster, replicas: number): Promise<void> {
  await apply(cluster, manifest(replicas));
  await cluster.kubectl(['rollout', 'status', `deployment/${WORKLOAD}`, '--timeout=120s']);
}

/** Resolves when the pods are gone. */
export async function deleteWorkload(cluster: Cluster): Promise<void> {
  await cluster.kubectl(['delete', '--filename', '-'], { stdin: asList(manifest(1)) });
  await cluster.kubectl(['wait', '--for=delete', 'pod', `--selector=app=${WORKLOAD}`, '--timeout=120s']);
}

export const workloadPods = (cluster: Cluster): Promise<readonly ClusterPod[]> => podsOf(cluster, WORKLOAD);

/** Pods whose label `app` has this value. */
export async function podsOf(cluster: Cluster, app: string): Promise<readonly ClusterPod[]> {
  const columns = 'custom-columns=N:.metadata.name,H:.spec.nodeName,A:.status.podIP';
  const select = `get pods --selector=app=${app} --no-headers --output ${columns}`;
  const text = await cluster.kubectl(select.split(' '));
  return text
    .trim()
    .split('\n')
    .map((line) => {
      const [name = '', node = '', address = ''] = line.trim().split(/\s+/);
      return { name, node, address };
    });
}

export const serviceAddress = (cluster: Cluster, service: string = WORKLOAD): Promise<string> =>
  cluster.kubectl(['get', `service/${service}`, '--output', 'jsonpath={.spec.clusterIP}']);

/** Runs shell lines in a pod (kubectl exec) and returns the output. */
export const inPod = (cluster: Cluster, pod: ClusterPod, lines: string): Promise<string> =>
  cluster.kubectl(['exec', pod.name, '--', 'sh', '-c', lines]);

/** What the server at an address answers: the name of the pod (or host) that answered, and whom it saw asking. */
export interface Answer {
  readonly host: string;
  readonly name: string;
  readonly seen: string;
}

/** Asks each address (with its port) once, from one pod; an answer that does not come in 5 s is missing. */
export async function ask(
  cluster: Cluster,
  pod: ClusterPod,
  hosts: readonly string[],
): Promise<readonly Answer[]> {
  const lines = hosts.map((host) => `echo "${host} $(timeout 5 wget -qO- http://${host}/cgi-bin/who)"`);
  return answersIn(await inPod(cluster, pod, lines.join('\n')));
}

/** Every pod asks every pod, itself too, and is seen with its own address. Resolves to the number of answers. */
export async function everyPodAsksEveryPod(cluster: Cluster, pods: readonly ClusterPod[]): Promise<number> {
  const hosts = pods.map(({ address }) => `${address}:${PORT}`);
  for (const from of pods) {
    const expected = pods.map(({ name, address }) => ({
      host: `${address}:${PORT}`,
      name,
      seen: from.address,
    }));
    assert.deepEqual(await ask(cluster, from, hosts), expected, `asked by ${from.name} on ${from.node}`);
  }
  return pods.length ** 2;
}

/** As `ask`, by a process of a host. */
export async function askFrom(place: Place, hosts: readonly string[]): Promise<readonly Answer[]> {
  const lines = hosts.map(
    (host) => `echo "${host} $(curl --silent --fail --max-time 5 http://${host}/cgi-bin/who || true)"`,
  );
  return answersIn(await runScript(place, lines));
}

const answersIn = (text: string): readonly Answer[] =>
  text
    .trim()
    .split('\n')
    .map((line) => line.split(' '))
    .filter((words) => words.length === 3)
    .map(([host = '', name = '', seen = '']) => ({ host, name, seen }));

export const repeat = (host: string, times: number): readonly string[] =>
  Array.from({ length: times }, () => host);
