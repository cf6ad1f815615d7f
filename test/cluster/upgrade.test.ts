// A new agent beside the old one on every node in turn, first of the same image (a changed setting is rolled out so), then of the next
// version: the TUN and the sockets are handed over, so of 1,000 probes/s none is lost, one TCP stream goes on and pods keep their addresses.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import process from 'node:process';

import { until } from '../lab/condition.ts';
import { disturb } from '../lab/disturbance.ts';
import { agentReady, agentStatus, keepersOf, tunIndex } from './agent-processes.ts';
import { type Cluster, enterClusterEnclosure } from './cluster.ts';
import { NEXT_WEFT_IMAGE, WEFT_IMAGE } from './images.ts';
import { MANIFEST, installWeft } from './install.ts';
import { proxyMode } from './node-programs.ts';
import { type ProbePod, findPod, podManifest } from './probe-pods.ts';
import { reachEachOther } from './reach.ts';
import { createClusterSteps } from './steps.ts';
import { type Traffic, startTraffic } from './traffic.ts';

const moreImages = [NEXT_WEFT_IMAGE];
await enterClusterEnclosure({ moreImages });

const ROLLOUT_BOUND_MS = 300_000;

const { step, say } = createClusterSteps({ nodes: 2, proxyMode: proxyMode(process.env) });
let pods: readonly ProbePod[];
let traffic: Traffic;

interface PodList {
  readonly items: readonly {
    readonly metadata: { readonly name: string };
    readonly spec: { readonly containers: readonly { readonly image: string }[] };
  }[];
}

/** Names of the agents' pods, with the image. */
async function agentPods(cluster: Cluster): Promise<ReadonlyMap<string, string>> {
  const text = await cluster.kubectl('--namespace weft get pods --output json'.split(' '));
  const { items } = JSON.parse(text) as PodList; // as: kubectl's
  return new Map(items.map(({ metadata, spec }) => [metadata.name, spec.containers[0]?.image ?? '']));
}

/** Resolves when every node has a new agent and no old one, and all are ready. */
async function rolledOut(cluster: Cluster, oldPods: ReadonlyMap<string, string>): Promise<void> {
  const bound = `--timeout=${ROLLOUT_BOUND_MS / 1000}s`;
  await cluster.kubectl(['--namespace', 'weft', 'rollout', 'status', 'daemonset/weft', bound]);
  await until(
    async () => {
      const now = [...(await agentPods(cluster)).keys()];
      if (now.length !== cluster.nodes.length || now.some((name) => oldPods.has(name))) {
        throw new Error(`pods now: ${now.join(', ')}`);
      }
      const crowded = cluster.nodes.find((node) => keepersOf(node).length !== 1);
      if (crowded !== undefined) throw new Error(`${keepersOf(crowded).length} agents on ${crowded.name}`);
      return true;
    },
    { what: 'one new agent on each node', boundMs: ROLLOUT_BOUND_MS, intervalMs: 250 },
  );
  for (const node of cluster.nodes) await agentReady(node);
}

const tunIndexes = (cluster: Cluster): Promise<readonly number[]> => Promise.all(cluster.nodes.map(tunIndex));

const TOLD = new Set(['hand_over_started', 'hand_over_finished', 'dataplane_active', 'agent_ready']);

/** What an agent said of the hand-over, with the times since the first. */
async function handOver(cluster: Cluster, pod: string): Promise<string> {
  const events = (await cluster.kubectl(['--namespace', 'weft', 'logs', pod]))
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as { event: string; time: string }) // as: the agent's own log
    .filter(({ event }) => TOLD.has(event))
    .map(({ event, time }) => ({ event, at: Date.parse(time) }));
  return events.map(({ event, at }) => `${event} ${at - (events[0]?.at ?? at)} ms`).join(', ');
}

interface Rollout {
  readonly what: string;
  readonly start: () => Promise<unknown>;
  readonly tell: (line: string) => void;
}

async function expectUnnoticed(cluster: Cluster, { what, start, tell }: Rollout): Promise<void> {
  const [oldPods, devices] = [await agentPods(cluster), await tunIndexes(cluster)];
  const probe = await traffic.startProbe();
  const act = async (): Promise<void> => {
    await start();
    await rolledOut(cluster, oldPods);
  };
  const window = await disturb(probe, { what, act });
  for (const pod of (await agentPods(cluster)).keys()) tell(`${pod}: ${await handOver(cluster, pod)}`);
  await traffic.expectNoLoss(probe, [window], tell);
  await traffic.expectSameAddresses();
  assert.deepEqual(await tunIndexes(cluster), devices, 'the TUN devices were closed and made anew');
}

step('Weft is installed; probes and a TCP stream run between pods of two nodes', async (cluster, context) => {
  await installWeft(cluster, say);
  ({ pods, traffic } = await startTraffic(cluster, (line) => context.diagnostic(line)));
});

step('rolling restart of the DaemonSet: nothing lost', (cluster, context) =>
  expectUnnoticed(cluster, {
    what: 'rolling restart',
    start: () => cluster.kubectl('--namespace weft rollout restart daemonset/weft'.split(' ')),
    tell: (line) => context.diagnostic(line),
  }),
);

step(`upgrade from ${WEFT_IMAGE} to ${NEXT_WEFT_IMAGE}: nothing lost`, async (cluster, context) => {
  const manifest = readFileSync(MANIFEST, 'utf8').replaceAll(WEFT_IMAGE, NEXT_WEFT_IMAGE);
  await expectUnnoticed(cluster, {
    what: 'upgrade',
    start: () => cluster.kubectl(['apply', '--filename', '-'], { stdin: manifest }),
    tell: (line) => context.diagnostic(line),
  });
  const [version = ''] = NEXT_WEFT_IMAGE.split(':').slice(1);
  for (const [name, image] of await agentPods(cluster)) assert.equal(image, NEXT_WEFT_IMAGE, name);
  for (const node of cluster.nodes) {
    assert.ok((await agentStatus(node, '/status')).includes(`Version: ${version}\n`), node.name);
  }
  const peers = await cluster.kubectl(['get', 'peers', '--output', 'jsonpath={.items[*].spec.version}']);
  assert.deepEqual(peers.split(' '), [version, version]);
});

step('the new agents attach pods, beside those that the old ones attached', async (cluster, context) => {
  const [node, other] = cluster.nodes;
  const [onSame] = pods;
  assert.ok(node !== undefined && other !== undefined && onSame !== undefined);
  const manifest = JSON.stringify(podManifest('afterwards', other.name));
  await cluster.kubectl(['apply', '--filename', '-'], { stdin: manifest });
  await reachEachOther(onSame, await findPod(other, 'afterwards'));
  await traffic.finish((line) => context.diagnostic(line));
});
