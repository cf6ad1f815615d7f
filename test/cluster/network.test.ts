// The pod network on a real cluster: every pod reaches every other with its own address, the outside through its node's, the hosts both
// ways, and the API server; with net.bridge.bridge-nf-call-iptables at 0 and at 1, and without a privileged container.
// Topology: hosts.ts (the nodes and a machine outside), node-api-server.ts (an API server on a node).
import assert from 'node:assert/strict';
import process from 'node:process';
import { after } from 'node:test';

import { type Place, runScript } from '../lab/command.ts';
import { setBridgeNetfilter } from './bridge-netfilter.ts';
import { type Cluster, enterClusterEnclosure } from './cluster.ts';
import { HOST_PORT, type OutsideHost, createOutsideHost, serveOnHost } from './hosts.ts';
import { installWeft, MANIFEST, nodesReady } from './install.ts';
import { startNodeApiServer } from './node-api-server.ts';
import { proxyMode } from './node-programs.ts';
import { privileges } from './privileges.ts';
import { createClusterSteps } from './steps.ts';
import { askApi, askUdp, deployToolPods, ECHO_PORT } from './tool-pods.ts';
import {
  type ClusterPod,
  PORT,
  ask,
  askFrom,
  deployWorkload,
  everyPodAsksEveryPod,
  workloadPods,
} from './workload.ts';

await enterClusterEnclosure();

const NODES = 3;
const PODS = 30;
/** Of the issue: the images are on the nodes. */
const READY_BOUND_S = 15;
/** A datagram that fits a packet, one that is as large as fits (MTU 1,450), and one that is cut into fragments. */
const DATAGRAM_BYTES = [100, 1422, 8000];

let pods: readonly ClusterPod[];
let tools: readonly ClusterPod[];
let outside: OutsideHost | undefined;

after(() => outside?.close());

const { step, say } = createClusterSteps({ nodes: NODES, proxyMode: proxyMode(process.env) });

const seconds = (start: number): string => ((performance.now() - start) / 1000).toFixed(1);

/** One pod of each node. */
const samples = (): readonly ClusterPod[] =>
  [...new Map(pods.map((pod) => [pod.node, pod])).values()].sort((a, b) => (a.node < b.node ? -1 : 1));

const placeOf = (cluster: Cluster, nodeName: string): Place => {
  const node = cluster.nodes.find(({ name }) => name === nodeName);
  assert.ok(node !== undefined, nodeName);
  return node.place;
};

const addressOf = (cluster: Cluster, nodeName: string): string =>
  cluster.nodes.find(({ name }) => name === nodeName)?.address ?? '';

step('kubectl apply: the nodes become Ready', async (cluster, context) => {
  const start = performance.now();
  await cluster.kubectl(['apply', '--filename', MANIFEST]);
  await nodesReady(cluster);
  const took = seconds(start);
  context.diagnostic(`nodes Ready ${took} s after apply (bound ${READY_BOUND_S} s)`);
  assert.ok(Number(took) <= READY_BOUND_S, `the nodes became Ready ${took} s after apply`);
  await installWeft(cluster, say);
});

step('every pod of a Deployment becomes ready: its kubelet reaches it', async (cluster, context) => {
  const start = performance.now();
  await deployWorkload(cluster, PODS);
  context.diagnostic(`${PODS} pods Ready ${seconds(start)} s after apply`);
  pods = await workloadPods(cluster);
  assert.equal(new Set(pods.map(({ address }) => address)).size, PODS);
  assert.equal(new Set(pods.map(({ node }) => node)).size, NODES);
});

for (const value of [0, 1] as const) {
  step(
    `every pod reaches every other, without NAT; bridge-nf-call-iptables ${value}`,
    async (cluster, context) => {
      await setBridgeNetfilter(cluster, value);
      const start = performance.now();
      context.diagnostic(`${await everyPodAsksEveryPod(cluster, pods)} pairs in ${seconds(start)} s`);
    },
  );
}

step('UDP between pods of all nodes, in one packet and in fragments, without NAT', async (cluster) => {
  tools = await deployToolPods(cluster);
  const hosts = tools.map(({ address }) => `${address}:${ECHO_PORT}`);
  for (const from of tools) {
    for (const bytes of DATAGRAM_BYTES) {
      const expected = tools.map(({ name, address }) => ({
        host: `${address}:${ECHO_PORT}`,
        name,
        seen: from.address,
      }));
      const answers = await askUdp(cluster, from, { hosts, bytes });
      assert.deepEqual(answers, expected, `${bytes} bytes sent by ${from.name} on ${from.node}`);
    }
  }
});

step('pods reach an address outside the range, seen with the address of their node', async (cluster) => {
  outside = await createOutsideHost();
  const host = `${outside.address}:${HOST_PORT}`;
  for (const from of samples()) {
    const expected = [{ host, name: 'outside', seen: addressOf(cluster, from.node) }];
    assert.deepEqual(await ask(cluster, from, [host]), expected, `asked by ${from.name} on ${from.node}`);
  }
});

step('hosts reach pods, of their own node and of others, with an address of the range', async (cluster) => {
  for (const { name, place } of cluster.nodes) {
    const own = (await runScript(place, ["ip -4 -o address show dev weave | awk '{print $4}'"]))
      .trim()
      .split('/')[0];
    const hosts = pods.map(({ address }) => `${address}:${PORT}`);
    const expected = pods.map((pod) => ({ host: `${pod.address}:${PORT}`, name: pod.name, seen: own }));
    assert.deepEqual(await askFrom(place, hosts), expected, `asked by ${name}`);
  }
});

step(
  'pods reach hosts: their own with their address, others with the address of their node',
  async (cluster) => {
    for (const { place } of cluster.nodes) await serveOnHost(place);
    for (const from of samples()) {
      const expected = cluster.nodes.map(({ name, address }) => ({
        host: `${address}:${HOST_PORT}`,
        name,
        seen: name === from.node ? from.address : addressOf(cluster, from.node),
      }));
      const hosts = expected.map(({ host }) => host);
      assert.deepEqual(await ask(cluster, from, hosts), expected, `asked by ${from.name} on ${from.node}`);
    }
  },
);

step('pods reach the API server by its Service', async (cluster) => {
  for (const from of tools) {
    const answers = await askApi(cluster, from, ['kubernetes.default.svc:443']);
    assert.equal(answers.length, 1, `asked by ${from.name} on ${from.node}`);
  }
});

step('an API server on a node reaches pods of every node, and they reach it', async (cluster, context) => {
  const [node] = cluster.nodes;
  assert.ok(node !== undefined);
  const start = performance.now();
  const apiServer = await startNodeApiServer(cluster, node);
  context.diagnostic(`API server on ${node.name} ready after ${seconds(start)} s`);
  try {
    for (const { name, node: at } of samples()) {
      const path = `/api/v1/namespaces/default/pods/${name}:${PORT}/proxy/cgi-bin/who`;
      const answer = await cluster.kubectl([...apiServer.select, 'get', '--raw', path]);
      assert.equal(answer.split(' ')[0], name, `asked for ${name} on ${at}`);
    }
    // Several tries each by the Service: it leads to either.
    const servers = [apiServer.server, ...Array.from({ length: 8 }, () => 'kubernetes.default.svc:443')];
    for (const from of tools) {
      const answers = await askApi(cluster, from, servers);
      assert.deepEqual(
        answers.map(({ server }) => server),
        servers,
        `asked by ${from.name} on ${from.node}`,
      );
    }
  } finally {
    await apiServer.close();
  }
});

step('no container of the product is privileged', async (cluster) => {
  for (const each of await privileges(cluster)) {
    assert.deepEqual(each.declared, each.expected, `${each.container} as its pod declares it`);
  }
  // And as the kernel has it: CAP_NET_ADMIN (bit 12) and no way to more.
  for (const { name, place } of cluster.nodes) {
    const script = [
      "for pid in $(ps -e -o pid,args | awk '/[o]pt.weft.agent/ {print $1}'); do",
      '  awk \'/^(CapEff|CapBnd|NoNewPrivs|Seccomp):/ {printf "%s%s ", $1, $2}\' /proc/$pid/status; echo',
      'done',
    ];
    const found = (await runScript(placeOf(cluster, name), [script.join('\n')])).trim().split('\n');
    assert.ok(found.length >= 3, `the agent's processes on ${name} (${place.name}): ${found.join('; ')}`);
    for (const line of found) {
      assert.equal(
        line.trim(),
        'CapEff:0000000000001000 CapBnd:0000000000001000 NoNewPrivs:1 Seccomp:2',
        name,
      );
    }
  }
});
