// The API server is away for five minutes (WEFT_OUTAGE_SECONDS): pods talk as if nothing were, an agent that is restarted meanwhile
// forwards, a pod of a static manifest is attached; when it is back the agents come one by one, not as a storm, and all catches up.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import process from 'node:process';
import { setTimeout as pause } from 'node:timers/promises';

import { until } from '../lab/condition.ts';
import { disturb } from '../lab/disturbance.ts';
import { agentReady, agentStatus, keepersOf, killAgent } from './agent-processes.ts';
import { agentRequests, inWords } from './agent-requests.ts';
import { type Cluster, enterClusterEnclosure } from './cluster.ts';
import { installWeft } from './install.ts';
import { proxyMode } from './node-programs.ts';
import { type ProbePod, findPod, podManifest } from './probe-pods.ts';
import { reachEachOther } from './reach.ts';
import { createClusterSteps } from './steps.ts';
import { stopwatch } from './stopwatch.ts';
import { NOTHING, type Traffic, startTraffic } from './traffic.ts';

await enterClusterEnclosure();

/** Time itself is what is tested: for so long nobody may miss the API server, and so long a storm would show. */
const OUTAGE_MS = Number(process.env['WEFT_OUTAGE_SECONDS'] ?? 300) * 1000;
const STORM_WINDOW_MS = 30_000;
/** Two kinds are listed and watched, the Node and the own Peer are looked at, a refused watch is made again. */
const REQUESTS_PER_AGENT = 10;
const RECOVERY_BOUND_MS = 120_000;
const STATIC_POD = 'static';

const { step, say } = createClusterSteps({ nodes: 2, proxyMode: proxyMode(process.env) });
let pods: readonly ProbePod[];
let traffic: Traffic;
let outageEnd = 0;

const nodesOf = (cluster: Cluster): readonly [Cluster['nodes'][number], Cluster['nodes'][number]] => {
  const [first, second] = cluster.nodes;
  assert.ok(first !== undefined && second !== undefined);
  return [first, second];
};
const isConnected = async (node: Cluster['nodes'][number]): Promise<boolean> =>
  / API: connected;/.test(await agentStatus(node, '/status'));

step('Weft is installed; probes and a TCP stream run between pods of two nodes', async (cluster, context) => {
  await installWeft(cluster, say);
  ({ pods, traffic } = await startTraffic(cluster, (line) => context.diagnostic(line)));
});

step('the API server stops: pods talk as before', async (cluster, context) => {
  const act = async (): Promise<void> => {
    await cluster.controlPlane.processes.apiserver.kill();
    outageEnd = performance.now() + OUTAGE_MS;
    for (const node of cluster.nodes) {
      await until(async () => !(await isConnected(node)), {
        what: `the agent of ${node.name} to notice`,
        boundMs: RECOVERY_BOUND_MS,
      });
    }
    await pause(OUTAGE_MS / 3);
  };
  await traffic.expectUnnoticed({ what: 'API server away', act }, (line) => context.diagnostic(line));
});

step('an agent that is restarted meanwhile forwards', async (cluster, context) => {
  const [node] = nodesOf(cluster);
  const probe = await traffic.startProbe();
  const act = async (): Promise<void> => {
    const killed = keepersOf(node);
    killAgent(node);
    await until(() => keepersOf(node).some((pid) => !killed.includes(pid)), {
      what: `the kubelet of ${node.name} to start the agent's container again`,
      boundMs: RECOVERY_BOUND_MS,
    });
    await agentReady(node, RECOVERY_BOUND_MS);
  };
  const window = await disturb(probe, { what: `the whole agent of ${node.name}`, act });
  await traffic.tellGap(probe, window, (line) => context.diagnostic(line));
  assert.equal(await isConnected(node), false);
  await traffic.expectUnnoticed(NOTHING, (line) => context.diagnostic(line));
});

step('a pod of a static manifest gets an address and talks', async (cluster, context) => {
  const [node] = nodesOf(cluster);
  const [onSame, onOther] = pods;
  assert.ok(onSame !== undefined && onOther !== undefined);
  const took = stopwatch((line) => context.diagnostic(line));
  const manifest = JSON.stringify(podManifest(STATIC_POD));
  writeFileSync(node.path(`/etc/kubernetes/manifests/${STATIC_POD}.json`), manifest);
  const pod = await findPod(node, `${STATIC_POD}-${node.name}`);
  took(pod.address);
  assert.ok(![onSame.address, onOther.address].includes(pod.address));
  await reachEachOther(onOther, pod);
  await reachEachOther(onSame, pod);
});

step('for the rest of the time pods talk as before', async (cluster, context) => {
  const act = (): Promise<void> => pause(Math.max(0, outageEnd - performance.now()));
  await traffic.expectUnnoticed({ what: 'API server still away', act }, (line) => context.diagnostic(line));
  assert.equal(cluster.controlPlane.processes.apiserver.running(), false);
});

step(
  `the API server returns: no storm, at most ${REQUESTS_PER_AGENT} requests of each agent in 30 s`,
  async (cluster, context) => {
    const probe = await traffic.startProbe();
    const before = agentRequests().length;
    const act = async (): Promise<void> => {
      await cluster.controlPlane.startApiServer();
      const back = (): number =>
        new Set(
          agentRequests()
            .slice(before)
            .map(({ pod }) => pod),
        ).size;
      await until(() => back() === cluster.nodes.length, {
        what: 'every agent to ask the API server again',
        boundMs: RECOVERY_BOUND_MS,
      });
      await pause(STORM_WINDOW_MS);
    };
    const window = await disturb(probe, { what: 'API server back', act });
    const requests = agentRequests().slice(before);
    for (const pod of new Set(requests.map((request) => request.pod))) {
      const own = requests.filter((request) => request.pod === pod);
      const inWindow = own.filter(({ at }) => at < (own[0]?.at ?? 0) + STORM_WINDOW_MS);
      context.diagnostic(`${pod}: ${inWindow.length} requests (${inWords(inWindow)})`);
      assert.ok(inWindow.length <= REQUESTS_PER_AGENT, `${pod} made ${inWindow.length} requests in 30 s`);
    }
    await traffic.expectNoLoss(probe, [window], (line) => context.diagnostic(line));
  },
);

step(
  'everything catches up: agents, the static pod in the API, a pod that is made now',
  async (cluster, context) => {
    const took = stopwatch((line) => context.diagnostic(line));
    for (const node of cluster.nodes) {
      await until(() => isConnected(node), {
        what: `the agent of ${node.name} to be connected again`,
        boundMs: RECOVERY_BOUND_MS,
      });
    }
    took('agents connected');
    await cluster.kubectl('wait --for=condition=Ready nodes --all --timeout=120s'.split(' '));
    const [node, other] = nodesOf(cluster);
    const mirror = `pod/${STATIC_POD}-${node.name}`;
    await cluster.kubectl(['wait', '--for=create', mirror, '--timeout=120s']);
    await cluster.kubectl(['wait', '--for=condition=Ready', mirror, '--timeout=120s']);
    took('static pod Ready in the API');
    const manifest = JSON.stringify(podManifest('afterwards', other.name));
    await cluster.kubectl(['apply', '--filename', '-'], { stdin: manifest });
    await cluster.kubectl('wait --for=condition=Ready pod/afterwards --timeout=120s'.split(' '));
    const [onSame] = pods;
    assert.ok(onSame !== undefined);
    await reachEachOther(onSame, await findPod(other, 'afterwards'));
    took('a pod that is made now talks');
    await traffic.expectSameAddresses();
    await cluster.kubectl('--namespace weft rollout status daemonset/weft --timeout=120s'.split(' '));
    took('DaemonSet whole');
    await traffic.finish((line) => context.diagnostic(line));
  },
);
