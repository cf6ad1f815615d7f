// What is wrong with the cluster or its settings is said in one sentence, in `kubectl logs`, as an Event about the Node and at the status
// address, and costs nothing that runs: of 1,000 probes/s between pods of two nodes none is lost, whatever is refused meanwhile.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import process from 'node:process';

import { runScript } from '../lab/command.ts';
import { until } from '../lab/condition.ts';
import { agentReady } from './agent-processes.ts';
import { agentPodsOf, eventReason, logged, statusSays } from './agent-words.ts';
import { type Cluster, enterClusterEnclosure } from './cluster.ts';
import { MANIFEST, configureWeft, inWeft, installWeft } from './install.ts';
import { proxyMode } from './node-programs.ts';
import { createClusterSteps } from './steps.ts';
import { type Traffic, startTraffic } from './traffic.ts';

await enterClusterEnclosure();

const ROLLOUT = 'rollout status daemonset/weft --timeout=300s';

const { step, say } = createClusterSteps({ nodes: 3, proxyMode: proxyMode(process.env) });
let traffic: Traffic;

const everyAgentReady = async ({ nodes }: Cluster): Promise<void> => {
  for (const node of nodes) await agentReady(node);
};

step('agents without CRDs say what is missing, and go on when they are there', async (cluster) => {
  const documents = readFileSync(MANIFEST, 'utf8').split('\n---\n');
  const withoutCrds = documents
    .filter((text) => !/^kind: CustomResourceDefinition$/m.test(text))
    .join('\n---\n');
  assert.notEqual(withoutCrds, documents.join('\n---\n'));
  await cluster.kubectl(['apply', '--filename', '-'], { stdin: withoutCrds });
  const sentence =
    /Cannot follow (peers|addressblocks), which stay as last known: .*custom resource definitions of this version are installed/;
  const { pod, times } = await logged(cluster, sentence);
  assert.ok(times <= 2, 'said once for each kind');
  assert.equal(await eventReason(cluster, pod.node, sentence), 'ClusterStateUnavailable');
  for (const node of cluster.nodes)
    await statusSays(node, new RegExp(`Ready: no: [^]*Problem: ${sentence.source}`));
});

step('Weft is installed; probes and a TCP stream run between pods of two nodes', async (cluster, context) => {
  await installWeft(cluster, say);
  ({ traffic } = await startTraffic(cluster, (line) => context.diagnostic(line)));
});

const REFUSED_SETTINGS = [
  {
    what: "a range over the API server's Service address",
    setting: 'IPALLOC_RANGE',
    wrong: '10.96.0.0/12',
    right: '10.32.0.0/12',
    sentence:
      /^Cannot use IPALLOC_RANGE="10\.96\.0\.0\/12": it overlaps the Services' addresses: .* 10\.96\.0\.1; choose/,
  },
  {
    what: 'a range over other addresses of Services, which only the ServiceCIDR object tells',
    setting: 'IPALLOC_RANGE',
    wrong: '10.96.128.0/17',
    right: '10.32.0.0/12',
    sentence:
      /^Cannot use IPALLOC_RANGE="10\.96\.128\.0\/17": it overlaps the addresses of Services, 10\.96\.0\.0\/16; choose/,
  },
  {
    what: 'an MTU larger than the underlay',
    setting: 'WEAVE_MTU',
    wrong: '1500',
    right: '',
    sentence:
      /^Cannot use WEAVE_MTU="1500": interface "eth0" carries 1500 bytes, which leaves 1450 for pods; write/,
  },
  {
    what: 'a value that is no range',
    setting: 'IPALLOC_RANGE',
    wrong: 'pods',
    right: '10.32.0.0/12',
    sentence: /^Cannot use IPALLOC_RANGE: "pods" is not a CIDR/,
  },
];

for (const { what, setting, wrong, right, sentence } of REFUSED_SETTINGS) {
  step(`${what}: the roll-out stops at the first node, whose old agent goes on`, async (cluster, context) => {
    const before = (await agentPodsOf(cluster)).map(({ name }) => name);
    const act = async (): Promise<void> => {
      await configureWeft(cluster, { [setting]: wrong });
      const { pod, times } = await logged(cluster, sentence);
      assert.equal(times, 1, 'said once');
      assert.equal(await eventReason(cluster, pod.node, sentence), 'InvalidConfiguration');
      const now = await agentPodsOf(cluster);
      assert.deepEqual(
        now.filter(({ restarts }) => restarts > 0),
        [],
        'no crash loop',
      );
      for (const old of before)
        assert.ok(
          now.some(({ name }) => name === old),
          `${old} is gone`,
        );
      await everyAgentReady(cluster);
      await configureWeft(cluster, { [setting]: right });
      await inWeft(cluster, ROLLOUT);
      await everyAgentReady(cluster);
    };
    await traffic.expectUnnoticed({ what, act }, (line) => context.diagnostic(line));
    await traffic.expectSameAddresses();
  });
}

step(
  '/dev/net/tun missing on a node: said there, and put right it goes on by itself',
  async (cluster, context) => {
    const node = cluster.nodes[2];
    assert.ok(node !== undefined);
    const sentence =
      /Cannot open TUN "weft0": \/dev\/net\/tun is missing; load the kernel module \(modprobe tun\)/;
    const act = async (): Promise<void> => {
      await runScript(node.place, ['mount -t tmpfs -o mode=755 no-tun /dev/net']);
      await inWeft(cluster, `delete pod --field-selector spec.nodeName=${node.name}`);
      const { pod, times } = await logged(cluster, sentence);
      assert.deepEqual([pod.node, times], [node.name, 1]);
      assert.equal(await eventReason(cluster, node.name, sentence), 'NetworkUnavailable');
      await statusSays(node, new RegExp(`Ready: no: ${sentence.source}`));
      // As `modprobe tun` does.
      await runScript(node.place, ['mknod -m 666 /dev/net/tun c 10 200']);
      await agentReady(node);
      const same = (await agentPodsOf(cluster)).find(({ name }) => name === pod.name);
      assert.equal(same?.restarts, 0);
    };
    await traffic.expectUnnoticed({ what: 'no /dev/net/tun on a third node', act }, (line) =>
      context.diagnostic(line),
    );
  },
);

const PEER_SPEC = '/spec/versions/0/schema/openAPIV3Schema/properties/spec';

/** A Peer of an earlier version, without features: the API server leaves them out of every answer. */
async function installOlderPeers(cluster: Cluster): Promise<void> {
  const patch = [
    { op: 'remove', path: `${PEER_SPEC}/properties/features` },
    { op: 'replace', path: `${PEER_SPEC}/required`, value: ['nodeUid', 'addresses', 'port', 'vtepMac'] },
  ];
  const words = 'patch crd peers.weft.dev --type=json --patch'.split(' ');
  await cluster.kubectl([...words, JSON.stringify(patch)]);
  await until(
    async () => !(await cluster.kubectl(['get', 'peers', '--output', 'json'])).includes('"features"'),
    { what: 'the API server to serve Peers of the older version', intervalMs: 250 },
  );
}

step('a CRD of an older version: what was known stays in force', async (cluster, context) => {
  const act = async (): Promise<void> => {
    await installOlderPeers(cluster);
    await inWeft(cluster, 'rollout restart daemonset/weft'); // agents that run have no reason to ask again
    await inWeft(cluster, ROLLOUT);
    const { pod } = await logged(
      cluster,
      /^Ignoring what the API says of "node-\d" of peers: schema .*features.*apply its manifest/,
    );
    const sentence =
      /None of the peers in the API can be used, they stay as last known: .*apply its manifest/;
    assert.equal(await eventReason(cluster, pod.node, sentence), 'ClusterStateUnavailable');
    for (const node of cluster.nodes) await statusSays(node, new RegExp(`Problem: ${sentence.source}`));
  };
  await traffic.expectUnnoticed({ what: 'older CRD', act }, (line) => context.diagnostic(line));
});

step('the CRD of this version again: all is well', async (cluster, context) => {
  const act = async (): Promise<void> => {
    await cluster.kubectl(['apply', '--filename', MANIFEST]);
    await inWeft(cluster, 'rollout restart daemonset/weft');
    await inWeft(cluster, ROLLOUT);
    for (const node of cluster.nodes) await statusSays(node, /Ready: yes\n(?![^]*Problem:)/);
  };
  await traffic.expectUnnoticed({ what: 'CRD put right', act }, (line) => context.diagnostic(line));
});

step(
  'the ClusterRole taken away while running: said, and given back it is taken up again',
  async (cluster, context) => {
    const act = async (): Promise<void> => {
      await cluster.kubectl(['delete', 'clusterrolebinding', 'weft-agent']);
      // Watches that are open stay so; an API server that is started again has none.
      await cluster.controlPlane.processes.apiserver.stop();
      await cluster.controlPlane.startApiServer();
      const sentence =
        /Cannot follow (peers|addressblocks), which stay as last known: .*forbidden.*let the agent's ClusterRole allow it/;
      const { pod } = await logged(cluster, sentence);
      assert.equal(await eventReason(cluster, pod.node, sentence), 'ClusterStateUnavailable');
      for (const node of cluster.nodes) await statusSays(node, new RegExp(`Problem: ${sentence.source}`));
      await cluster.kubectl(['apply', '--filename', MANIFEST]);
      for (const node of cluster.nodes) await statusSays(node, /Ready: yes\n[^]*connected;(?![^]*Problem:)/);
    };
    await traffic.expectUnnoticed({ what: 'ClusterRole taken away', act }, (line) =>
      context.diagnostic(line),
    );
    await traffic.expectSameAddresses();
    await traffic.finish((line) => context.diagnostic(line));
  },
);
