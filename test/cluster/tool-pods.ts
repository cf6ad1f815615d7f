// A pod on every node that runs small programs of Node for the tests (pod-programs/), where busybox has none: UDP, DNS, TLS. Its image
// is the agent's, which has Node; the programs are passed on the command line.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import type { Cluster } from './cluster.ts';
import { WEFT_IMAGE } from './images.ts';
import { type Answer, type ClusterPod, apply, podsOf } from './workload.ts';

export const TOOL = 'tool';
export const ECHO_PORT = 9000;

type PodProgram = 'echo-server' | 'echo-client' | 'dns-client' | 'api-client';

const command = (program: PodProgram, words: readonly string[]): readonly string[] => [
  '/usr/local/bin/node',
  '--disable-warning=ExperimentalWarning',
  '--input-type=module-typescript',
  '--eval',
  readFileSync(join(import.meta.dirname, 'pod-programs', `${program}.ts`), 'utf8'),
  '--',
  ...words,
];

const labels = { app: TOOL };

const manifest = (): readonly object[] => [
  {
    apiVersion: 'apps/v1',
    kind: 'DaemonSet',
    metadata: { name: TOOL },
    spec: {
      selector: { matchLabels: labels },
      template: {
        metadata: { labels },
        spec: {
          terminationGracePeriodSeconds: 1,
          containers: [
            {
              name: TOOL,
              image: WEFT_IMAGE,
              imagePullPolicy: 'Never',
              command: command('echo-server', [String(ECHO_PORT)]),
            },
          ],
        },
      },
    },
  },
  {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: TOOL },
    spec: { selector: labels, ports: [{ port: ECHO_PORT, protocol: 'UDP' }] },
  },
];

/** One on each node, and a UDP Service of them. */
export async function deployToolPods(cluster: Cluster): Promise<readonly ClusterPod[]> {
  await apply(cluster, manifest());
  await cluster.kubectl(['rollout', 'status', `daemonset/${TOOL}`, '--timeout=120s']);
  return podsOf(cluster, TOOL);
}

/** Runs a program in a tool pod to its end; resolves to the words of its lines. What went wrong goes to the output. */
async function runIn(
  cluster: Cluster,
  pod: ClusterPod,
  words: readonly string[],
): Promise<readonly (readonly string[])[]> {
  const text = await cluster.kubectl(['exec', pod.name, '--', ...words]);
  return text
    .trim()
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.split(' '));
}

/** Sends a datagram to each address (with its port); an answer that does not come is missing. */
export async function askUdp(
  cluster: Cluster,
  pod: ClusterPod,
  { hosts, bytes }: { hosts: readonly string[]; bytes: number },
): Promise<readonly Answer[]> {
  const lines = await runIn(cluster, pod, command('echo-client', [String(bytes), ...hosts]));
  return lines
    .filter(([, , , length]) => Number(length) === bytes)
    .map(([host = '', name = '', seen = '']) => ({ host, name, seen }));
}

export interface DnsQuestion {
  readonly transport: 'udp' | 'tcp';
  /** With its port. */
  readonly server: string;
  readonly type: 'A' | 'PTR';
  readonly names: readonly string[];
}

/** Answers by name; a name that got none is missing. */
export async function askDns(
  cluster: Cluster,
  pod: ClusterPod,
  { transport, server, type, names }: DnsQuestion,
): Promise<Readonly<Record<string, readonly string[]>>> {
  const lines = await runIn(cluster, pod, command('dns-client', [transport, server, type, ...names]));
  return Object.fromEntries(lines.map(([name = '', ...answers]) => [name, answers]));
}

/** Versions of the API servers at these addresses (with port or not), as a pod gets them; one that does not answer is missing. */
export async function askApi(
  cluster: Cluster,
  pod: ClusterPod,
  servers: readonly string[],
): Promise<readonly { readonly server: string; readonly version: string }[]> {
  const lines = await runIn(cluster, pod, command('api-client', servers));
  return lines.map(([server = '', version = '']) => ({ server, version }));
}

/** The name whose PTR record leads back from an address. */
export const reverseName = (address: string): string =>
  `${address.split('.').toReversed().join('.')}.in-addr.arpa`;
