// `kubectl logs` and `kubectl exec` on a real cluster: into pods, and what the agent's own log tells an operator: its start, peers and blocks;
// each ADD and DEL at debug; what went wrong, and what to do.
import assert from 'node:assert/strict';
import process from 'node:process';

import { ENCLOSURE, runCommand, tryCommand } from '../lab/command.ts';
import { until } from '../lab/condition.ts';
import { type LogLine, agentLog, agentLogFiles, withEvent } from './agent-log.ts';
import { type Cluster, enterClusterEnclosure } from './cluster.ts';
import { configureWeft, inWeft, installWeft } from './install.ts';
import { proxyMode } from './node-programs.ts';
import { createClusterSteps } from './steps.ts';
import { type ClusterPod, deleteWorkload, deployWorkload, inPod, workloadPods } from './workload.ts';

await enterClusterEnclosure();

const NODES = 3;
const PODS = 6;
/** What a first start must tell, in this order. */
const START: readonly string[] = [
  'agent_started',
  'allocations_loaded',
  'status_listening',
  'peers_listed',
  'network_made',
  'peer_published',
  'block_claimed',
  'agent_ready',
  'cni_configuration_written',
  'connection_established',
];
/** Words by which a message says what to do. */
const REMEDY = /check|look|give|delete|wait|restart|set |use |tried again|in force/i;

const { step, say } = createClusterSteps({ nodes: NODES, proxyMode: proxyMode(process.env) });

const others = (cluster: Cluster, name: string): readonly string[] =>
  cluster.nodes.map((node) => node.name).filter((each) => each !== name);

/** Waits for lines of the log on a node. */
async function awaitLines(
  cluster: Cluster,
  node: string,
  { what, found }: { what: string; found: (lines: readonly LogLine[]) => boolean },
): Promise<readonly LogLine[]> {
  let lines: readonly LogLine[] = [];
  await until(
    async () => {
      lines = await agentLog(cluster, node);
      return found(lines);
    },
    { what: `${what} in the log on ${node}`, boundMs: 60_000, intervalMs: 500 },
  );
  return lines;
}

step('kubectl logs of the agents: start, peers and blocks', async (cluster) => {
  await installWeft(cluster, say);
  for (const { name, address } of cluster.nodes) {
    const answer = (lines: readonly LogLine[]): readonly string[] =>
      withEvent(lines, 'connection_established').map(({ peer }) => String(peer));
    const lines = await awaitLines(cluster, name, {
      what: 'every other node as a peer that answers',
      found: (each) => new Set(answer(each)).size === NODES - 1,
    });
    assert.deepEqual([...new Set(answer(lines))].sort(), others(cluster, name));
    const order = START.map((event) => lines.findIndex((line) => line.event === event));
    assert.ok(
      !order.includes(-1),
      `on ${name}: ${START.filter((_, index) => order[index] === -1).join(', ')} missing`,
    );
    const [published] = withEvent(lines, 'peer_published');
    assert.equal(published?.['address'], address);
    const blocks = await cluster.kubectl(['get', 'addressblocks', '--output', 'name']);
    for (const { block } of withEvent(lines, 'block_claimed'))
      assert.ok(blocks.includes(String(block)), name);
    const bad = lines.filter(({ level }) => level === 'warn' || level === 'error');
    assert.deepEqual(bad, [], `a start without trouble on ${name}`);
  }
});

let pods: readonly ClusterPod[];

step('kubectl logs and kubectl exec into pods of every node', async (cluster) => {
  await deployWorkload(cluster, PODS);
  pods = await workloadPods(cluster);
  for (const pod of pods) {
    assert.equal(await inPod(cluster, pod, 'hostname'), `${pod.name}\n`);
    await inPod(cluster, pod, `echo "a line of ${pod.name}" >/proc/1/fd/1`);
    assert.equal(await cluster.kubectl(['logs', pod.name]), `a line of ${pod.name}\n`);
    const piped = ['exec', '--stdin', pod.name, '--', 'cat'];
    assert.equal(await cluster.kubectl(piped, { stdin: 'there and back' }), 'there and back');
    const failing = [...cluster.controlPlane.kubectl, 'exec', pod.name, '--', 'sh', '-c', 'exit 7'];
    assert.equal((await tryCommand(ENCLOSURE, failing)).status, 7);
  }
});

step('LOG_LEVEL=debug by the ConfigMap: each ADD and DEL', async (cluster) => {
  await configureWeft(cluster, { LOG_LEVEL: 'debug' });
  await inWeft(cluster, 'rollout status daemonset/weft --timeout=180s');
  await deleteWorkload(cluster);
  await deployWorkload(cluster, PODS);
  const added = await workloadPods(cluster);
  await deleteWorkload(cluster);
  for (const { name } of cluster.nodes) {
    const here = added.filter(({ node }) => node === name).map((pod) => `default/${pod.name}`);
    const gone = pods.filter(({ node }) => node === name).map((pod) => `default/${pod.name}`);
    assert.ok(here.length > 0);
    const containers = (lines: readonly LogLine[], event: string): ReadonlySet<unknown> =>
      new Set(withEvent(lines, event).map(({ container }) => container));
    const lines = await awaitLines(cluster, name, {
      what: `${gone.length + here.length} deleted pods`,
      found: (each) => containers(each, 'pod_detached').size >= gone.length + here.length,
    });
    const attached = withEvent(lines, 'pod_attached').filter(({ pod }) => here.includes(String(pod)));
    assert.deepEqual(attached.map(({ pod }) => String(pod)).sort(), here.sort(), `ADDs on ${name}`);
    const detached = containers(lines, 'pod_detached');
    for (const { container, pod } of attached)
      assert.ok(detached.has(container), `DEL of ${String(pod)} on ${name}`);
    const podsOf = (event: string): readonly string[] =>
      [...new Set(withEvent(lines, event).map(({ pod }) => String(pod)))].sort();
    assert.deepEqual(podsOf('pod_detached'), [...gone, ...here].sort(), `DELs on ${name}`);
    for (const { msg, pod, address, host_interface: veth } of [
      ...attached,
      ...withEvent(lines, 'pod_detached'),
    ]) {
      assert.ok(msg.includes(`tached ${String(pod)}: ${String(address)} on ${String(veth)} in `), msg);
    }
    // It started again with pods: its blocks are named.
    const [loaded] = withEvent(lines, 'allocations_loaded');
    const blocks = await cluster.kubectl(['get', 'addressblocks', '--output', 'name']);
    assert.ok(loaded !== undefined, `no "allocations_loaded" on ${name}`);
    for (const block of String(loaded['blocks']).split(' ')) assert.ok(blocks.includes(block), loaded.msg);
  }
});

step(
  'what went wrong and what to do: a peer that is away, a route that somebody deleted',
  async (cluster) => {
    const [one, , last] = cluster.nodes;
    assert.ok(one !== undefined && last !== undefined);
    const since = (await agentLog(cluster, one.name)).length;
    await runCommand(ENCLOSURE, ['ip', 'link', 'set', `u-${last.name}`, 'down']);
    let lines: readonly LogLine[];
    try {
      lines = await awaitLines(cluster, one.name, {
        what: `"${last.name}" as a peer that does not answer`,
        found: (each) => withEvent(each.slice(since), 'connection_failed').length > 0,
      });
    } finally {
      await runCommand(ENCLOSURE, ['ip', 'link', 'set', `u-${last.name}`, 'up']);
    }
    const [failed] = withEvent(lines.slice(since), 'connection_failed');
    assert.equal(failed?.['peer'], last.name);
    assert.match(failed.msg, REMEDY);
    await awaitLines(cluster, one.name, {
      what: `"${last.name}" as a peer that answers again`,
      found: (each) =>
        withEvent(each.slice(since), 'connection_established').some(({ peer }) => peer === last.name),
    });

    await runCommand(one.place, ['ip', 'route', 'delete', '10.32.0.0/12', 'dev', 'weft0']);
    lines = await awaitLines(cluster, one.name, {
      what: 'the repair of the route',
      found: (each) => withEvent(each, 'network_repaired').length > 0,
    });
    assert.match(withEvent(lines, 'network_repaired')[0]?.msg ?? '', /route 10\.32\.0\.0\/12/);
  },
);

step('what went wrong and what to do: the API server is away', async (cluster) => {
  const before = new Map<string, number>();
  for (const node of cluster.nodes) before.set(node.name, (await agentLogFiles(node)).length);
  const since = async (node: Cluster['nodes'][number], event: string): Promise<readonly LogLine[]> =>
    withEvent((await agentLogFiles(node)).slice(before.get(node.name)), event);
  await cluster.controlPlane.processes.apiserver.kill();
  for (const node of cluster.nodes) {
    await until(async () => (await since(node, 'api_disconnected')).length > 0, {
      what: `"api_disconnected" in the log on ${node.name}`,
      boundMs: 60_000,
      intervalMs: 500,
    });
    for (const { msg } of await since(node, 'api_disconnected')) assert.match(msg, REMEDY);
  }
  await cluster.controlPlane.startApiServer();
  for (const node of cluster.nodes) {
    await until(async () => (await since(node, 'api_connected')).length > 0, {
      what: `"api_connected" in the log on ${node.name}`,
      boundMs: 60_000,
      intervalMs: 500,
    });
  }
});
