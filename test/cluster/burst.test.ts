// A hundred pods at once on one node (a kubelet takes 110): all become Ready, no two have one address, all are reached from another node,
// and when they are gone nothing of theirs is left: no allocation, interface, route, guard or neighbour, so that the next hundred, which
// get many of their addresses, are reached from the first packet on.
import assert from 'node:assert/strict';
import process from 'node:process';

import { runCommand } from '../lab/command.ts';
import { until } from '../lab/condition.ts';
import { agentMemory, describeMemory } from './agent-memory.ts';
import { type AttachmentFacts, attachmentFacts, linesOn } from './attachment-facts.ts';
import { type Cluster, enterClusterEnclosure } from './cluster.ts';
import { TEST_POD_IMAGE } from './images.ts';
import { installWeft } from './install.ts';
import { proxyMode } from './node-programs.ts';
import { createClusterSteps } from './steps.ts';
import { stopwatch } from './stopwatch.ts';

await enterClusterEnclosure();

const PODS = 100;
const NAME = 'burst';
const PORT = 8080;
const READY_BOUND_S = 600;
/** An answer that is there comes within a millisecond. */
const FIRST_PACKET_BOUND_S = 5;
/** The agent looks for what leaked every 30 s at most. */
const FREED_BOUND_MS = 120_000;

const { step, say } = createClusterSteps({ nodes: 2, proxyMode: proxyMode(process.env) });
let before: AttachmentFacts;
let addresses: readonly string[];

type Node = Cluster['nodes'][number];

const nodesOf = (cluster: Cluster): readonly [burst: Node, other: Node] => {
  const [burst, other] = cluster.nodes;
  assert.ok(burst !== undefined && other !== undefined);
  return [burst, other];
};

interface Burst {
  readonly node: Node;
  readonly name: string;
  /** Without it the kubelet sends them nothing. */
  readonly readinessProbe?: object;
}

const manifest = ({ node, name, readinessProbe }: Burst): object => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name },
  spec: {
    replicas: PODS,
    progressDeadlineSeconds: READY_BOUND_S,
    selector: { matchLabels: { app: name } },
    template: {
      metadata: { labels: { app: name } },
      spec: {
        nodeSelector: { 'kubernetes.io/hostname': node.name },
        terminationGracePeriodSeconds: 0,
        automountServiceAccountToken: false,
        containers: [
          {
            name,
            image: TEST_POD_IMAGE,
            imagePullPolicy: 'Never',
            ...(readinessProbe === undefined ? {} : { readinessProbe }),
          },
        ],
      },
    },
  },
});

/** Resolves to their addresses when all are Ready. Throws when one of them is also another pod's. */
async function deploy(cluster: Cluster, burst: Burst): Promise<readonly string[]> {
  const { name, node } = burst;
  await cluster.kubectl(['apply', '--filename', '-'], { stdin: JSON.stringify(manifest(burst)) });
  await cluster.kubectl(['rollout', 'status', `deployment/${name}`, `--timeout=${READY_BOUND_S}s`]);
  const output = `custom-columns=A:.status.podIP,B:.spec.nodeName,C:.metadata.labels.app,D:.spec.hostNetwork`;
  const text = await cluster.kubectl(['get', 'pods', '--all-namespaces', '--no-headers', '--output', output]);
  const all = text
    .trim()
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([, , , hostNetwork]) => hostNetwork !== 'true')
    .map(([address = '', on, app]) => ({ address, on, app }));
  assert.equal(new Set(all.map(({ address }) => address)).size, all.length);
  const own = all.filter(({ app }) => app === name);
  assert.deepEqual([own.length, new Set(own.map(({ on }) => on))], [PODS, new Set([node.name])]);
  return own.map(({ address }) => address);
}

async function remove(cluster: Cluster, name: string): Promise<void> {
  await cluster.kubectl(['delete', `deployment/${name}`]);
  const wait = `wait --for=delete pod --selector=app=${name} --timeout=${READY_BOUND_S}s`;
  await cluster.kubectl(wait.split(' '));
}

step('Weft is installed', async (cluster, context) => {
  await installWeft(cluster, say);
  const [node] = nodesOf(cluster);
  before = await attachmentFacts(node);
  context.diagnostic(`agent of ${node.name} before: ${describeMemory(agentMemory(node))}`);
});

step(`${PODS} pods at once on one node: all Ready, no address twice`, async (cluster, context) => {
  const [node] = nodesOf(cluster);
  const took = stopwatch((line) => context.diagnostic(line));
  const readinessProbe = { httpGet: { path: '/cgi-bin/who', port: PORT }, periodSeconds: 5 };
  addresses = await deploy(cluster, { node, name: NAME, readinessProbe });
  took('all Ready');
  const during = await attachmentFacts(node);
  assert.equal(during.allocations.length, before.allocations.length + PODS);
  assert.equal(during.interfaces.length, before.interfaces.length + PODS);
  context.diagnostic(`agent of ${node.name} with them: ${describeMemory(agentMemory(node))}`);
});

step('each of them is reached from the other node', async (cluster) => {
  const [, other] = nodesOf(cluster);
  const asked = addresses.map((address) => `http://${address}:${PORT}/cgi-bin/who`);
  const curl = 'curl --silent --show-error --fail --max-time 10'.split(' ');
  const answers = (await runCommand(other.place, [...curl, ...asked])).trim().split('\n');
  assert.equal(new Set(answers.map((line) => line.split(' ')[0])).size, PODS);
});

step('they are deleted: nothing of theirs is left on the node', async (cluster, context) => {
  const [node] = nodesOf(cluster);
  const took = stopwatch((line) => context.diagnostic(line));
  await remove(cluster, NAME);
  took('all gone');
  await until(
    async () => {
      assert.deepEqual(await attachmentFacts(node), before);
      return true;
    },
    { what: `nothing to be left of the pods on ${node.name}`, boundMs: FREED_BOUND_MS, intervalMs: 500 },
  );
  took('nothing left');
});

step('the agent has stayed within the limit of the manifest', async (cluster, context) => {
  const [node] = nodesOf(cluster);
  const memory = agentMemory(node);
  context.diagnostic(`agent of ${node.name} afterwards: ${describeMemory(memory)}`);
  const path = 'jsonpath={.spec.template.spec.containers[0].resources.limits.memory}';
  const limit = await cluster.kubectl(['--namespace', 'weft', 'get', 'daemonset/weft', '--output', path]);
  assert.equal(`${memory.groupLimitBytes / 2 ** 20}Mi`, limit);
  assert.ok(memory.groupPeakBytes < memory.groupLimitBytes);
  assert.ok(memory.pssBytes < memory.groupLimitBytes);
});

step('an address that is given out again is reached by the first packet', async (cluster, context) => {
  const [node] = nodesOf(cluster);
  const gone = new Set(addresses);
  const neighbours = (): Promise<readonly string[]> =>
    linesOn(node, 'ip -4 neighbour show dev weave nud all');
  const isOf = (ones: { has: (address: string) => boolean }, line: string): boolean =>
    ones.has(line.split(' ')[0] ?? '');
  const left = (await neighbours()).filter((line) => isOf(gone, line));
  context.diagnostic(`${left.length} neighbour entries of pods that are gone`);
  const again = (await deploy(cluster, { node, name: `${NAME}-next` })).filter((each) => gone.has(each));
  assert.ok(again.length > 0);
  const known = await neighbours();
  const ping = (address: string): string =>
    `{ ping -n -q -c 1 -W ${FIRST_PACKET_BOUND_S} ${address} >/dev/null || echo ${address}; } &`;
  const unanswered = new Set(await linesOn(node, [...again.map(ping), 'wait'].join('\n')));
  context.diagnostic(
    `${again.length} addresses given out again, ${unanswered.size} of them without an answer`,
  );
  // The entries from before the first packet: the hardware addresses are those of the pods that are gone.
  assert.deepEqual(
    known.filter((line) => isOf(unanswered, line)),
    [],
  );
  assert.equal(unanswered.size, 0);
  await remove(cluster, `${NAME}-next`);
});
