// What may die without pods noticing, and what it costs when more dies: 1,000 probes/s and one TCP stream from a pod of node-1 to one of
// node-2 while processes of their agents are killed, then a whole agent with its pod, then node-3, which comes back from its disk.
// Losses are counted by number, never by time; times are printed.
import assert from 'node:assert/strict';
import process from 'node:process';

import { runCommand } from '../lab/command.ts';
import { until } from '../lab/condition.ts';
import { type Window, disturb } from '../lab/disturbance.ts';
import {
  type AgentRole,
  agentReady,
  agentStatus,
  keepersOf,
  killAgent,
  killRole,
} from './agent-processes.ts';
import { type Cluster, enterClusterEnclosure } from './cluster.ts';
import { BOOT_ID } from './cluster-node.ts';
import { installWeft } from './install.ts';
import { returnNode } from './node-boot.ts';
import { proxyMode } from './node-programs.ts';
import { type ProbePod, findPod } from './probe-pods.ts';
import { reachEachOther } from './reach.ts';
import { createClusterSteps } from './steps.ts';
import { NOTHING, type Traffic, startTraffic } from './traffic.ts';

await enterClusterEnclosure();

const KILLS = 6;
const RECOVERY_BOUND_MS = 120_000;

const { step, say } = createClusterSteps({ nodes: 3, proxyMode: proxyMode(process.env) });
let pods: readonly ProbePod[];
let traffic: Traffic;

type Node = Cluster['nodes'][number];

const nodeAt = (cluster: Cluster, index: number): Node => {
  const node = cluster.nodes[index];
  assert.ok(node !== undefined);
  return node;
};

step('Weft is installed; probes and a TCP stream run between pods of two nodes', async (cluster, context) => {
  await installWeft(cluster, say);
  ({ pods, traffic } = await startTraffic(cluster, (line) => context.diagnostic(line)));
});

for (const role of ['dataplane', 'control'] as const satisfies readonly AgentRole[]) {
  step(
    `kill -9 of ${role}, ${KILLS} times, on both nodes in turn: nothing lost`,
    async (cluster, context) => {
      const probe = await traffic.startProbe();
      const windows: Window[] = [];
      for (let count = 0; count < KILLS; count += 1) {
        const node = nodeAt(cluster, count % 2);
        const act = (): Promise<void> => killRole(node, role);
        windows.push(await disturb(probe, { what: `${role} of ${node.name}`, act, calmAnswers: 50 }));
      }
      await traffic.expectNoLoss(probe, windows, (line) => context.diagnostic(line));
      await traffic.expectSameAddresses();
    },
  );
}

const agentPodOf = async (cluster: Cluster, node: Node): Promise<string> => {
  const select = `--namespace weft get pods --field-selector spec.nodeName=${node.name} --output name`;
  return (await cluster.kubectl(select.split(' '))).trim();
};

step(
  'agent pod force-deleted with all its processes: a gap, and then everything as before',
  async (cluster, context) => {
    const node = nodeAt(cluster, 0);
    const used = async (): Promise<string | undefined> =>
      / (\d+) of \d+ addresses used/.exec(await agentStatus(node, '/status/ipam'))?.[1];
    const usedBefore = await used();
    const pod = await agentPodOf(cluster, node);
    const probe = await traffic.startProbe();
    const act = async (): Promise<void> => {
      const killed = keepersOf(node);
      killAgent(node);
      await cluster.kubectl(['--namespace', 'weft', 'delete', pod, '--force', '--grace-period=0']);
      await until(() => keepersOf(node).some((pid) => !killed.includes(pid)), {
        what: `another agent on ${node.name}`,
        boundMs: RECOVERY_BOUND_MS,
      });
      await agentReady(node, RECOVERY_BOUND_MS);
    };
    const window = await disturb(probe, { what: `agent pod of ${node.name}`, act });
    await traffic.tellGap(probe, window, (line) => context.diagnostic(line));
    await cluster.kubectl('--namespace weft rollout status daemonset/weft --timeout=120s'.split(' '));
    assert.notEqual(await agentPodOf(cluster, node), pod);
    await traffic.expectSameAddresses();
    assert.equal(await used(), usedBefore);
    await traffic.expectUnnoticed(NOTHING, (line) => context.diagnostic(line));
  },
);

step('a node crashes and comes back: its pods come back, nobody else notices', async (cluster, context) => {
  const [witness, , crashing] = cluster.nodes;
  const [from, , onCrashing] = pods;
  assert.ok(
    witness !== undefined && crashing !== undefined && from !== undefined && onCrashing !== undefined,
  );
  const bootId = async (): Promise<string> => (await runCommand(crashing.place, ['cat', BOOT_ID])).trim();
  const connection = async (): Promise<string> =>
    (await agentStatus(witness, '/status/connections'))
      .split('\n')
      .find((line) => line.includes(crashing.name)) ?? '';
  const bootBefore = await bootId();
  const started = performance.now();
  const since = (): string => ((performance.now() - started) / 1000).toFixed(1);
  const probe = await traffic.startProbe();
  const act = async (): Promise<void> => {
    await crashing.crash();
    await until(async () => (await connection()).startsWith('failed'), {
      what: `${witness.name} to notice that ${crashing.name} is gone`,
      boundMs: RECOVERY_BOUND_MS,
    });
    context.diagnostic(`noticed after ${since()} s`);
    await returnNode(cluster, crashing);
    await agentReady(crashing, RECOVERY_BOUND_MS);
    context.diagnostic(`its agent was ready after ${since()} s`);
  };
  const window = await disturb(probe, { what: `crash and return of ${crashing.name}`, act });
  const pod = await findPod(crashing, onCrashing.name);
  context.diagnostic(
    `its pod ran again after ${since()} s, with address ${pod.address} (before: ${onCrashing.address})`,
  );
  assert.notEqual(await bootId(), bootBefore);
  const log = await cluster.kubectl(['--namespace', 'weft', 'logs', await agentPodOf(cluster, crashing)]);
  assert.match(
    log,
    /"event":"allocations_voided"/,
    'the agent took what it had given out before the crash for valid',
  );
  await reachEachOther(from, pod);
  await cluster.kubectl(['wait', '--for=condition=Ready', `pod/${pod.name}`, '--timeout=120s']);
  await traffic.expectNoLoss(probe, [window], (line) => context.diagnostic(line));
});

step('the TCP stream was alive throughout', async (_cluster, context) => {
  await traffic.finish((line) => context.diagnostic(line));
});
