// Weft on a real Kubernetes cluster, in short: installed by its manifest, pods, a Service and DNS work across nodes, uninstalled.
// Topology: one control plane and three nodes on one underlay (cluster.ts), two test pods on each.
import assert from 'node:assert/strict';
import process from 'node:process';

import { runCommand } from '../lab/command.ts';
import { until } from '../lab/condition.ts';
import { enterClusterEnclosure } from './cluster.ts';
import { installWeft, nodeConditions, uninstallWeft } from './install.ts';
import { proxyMode } from './node-programs.ts';
import { createClusterSteps } from './steps.ts';
import {
  type ClusterPod,
  WORKLOAD,
  ask,
  deleteWorkload,
  deployWorkload,
  everyPodAsksEveryPod,
  inPod,
  serviceAddress,
  workloadPods,
} from './workload.ts';

await enterClusterEnclosure();

const NODES = 3;
const PODS = 6;

let pods: readonly ClusterPod[];

const { step, say } = createClusterSteps({ nodes: NODES, proxyMode: proxyMode(process.env) });

step('without a pod network the nodes are not Ready', async (cluster) => {
  for (const { name, ready } of await nodeConditions(cluster)) assert.equal(ready, false, name);
});

step('kubectl apply: the nodes become Ready, the agents, and CoreDNS', (cluster) =>
  installWeft(cluster, say),
);

step('every pod of a Deployment becomes ready: its kubelet reaches it', async (cluster) => {
  await deployWorkload(cluster, PODS);
  pods = await workloadPods(cluster);
  assert.equal(new Set(pods.map(({ address }) => address)).size, PODS);
  assert.equal(new Set(pods.map(({ node }) => node)).size, NODES);
});

step(
  'every pod reaches every other, on its node and across, and is seen with its own address',
  async (cluster) => void (await everyPodAsksEveryPod(cluster, pods)),
);

step('kube-proxy runs in the mode that is asked for', async (cluster) => {
  for (const { place } of cluster.nodes) {
    const mode = await runCommand(place, ['curl', '-sf', 'http://127.0.0.1:10249/proxyMode']);
    assert.equal(mode, proxyMode(process.env));
  }
});

step('a Service answers on its address from every pod, by several of its pods', async (cluster) => {
  const address = await serviceAddress(cluster);
  const tries = Array.from({ length: 2 * PODS }, () => address);
  for (const from of pods) {
    const answers = await ask(cluster, from, tries);
    assert.equal(answers.length, tries.length, `asked by ${from.name} on ${from.node}`);
    assert.ok(new Set(answers.map(({ name }) => name)).size > 1);
  }
});

step('CoreDNS: a Service by its short name and by its full one, from every pod', async (cluster) => {
  for (const from of pods) {
    const hosts = [WORKLOAD, `${WORKLOAD}.default.svc.cluster.local`];
    assert.equal(
      (await ask(cluster, from, hosts)).length,
      hosts.length,
      `asked by ${from.name} on ${from.node}`,
    );
  }
});

step('a pod reaches the API server by its Service', async (cluster) => {
  for (const from of pods) {
    const text = await inPod(
      cluster,
      from,
      'nc -w 5 kubernetes.default.svc.cluster.local 443 </dev/null && echo open',
    );
    assert.match(text, /open/);
  }
});

step('kubectl delete: the pods go, then Weft', async (cluster) => {
  await deleteWorkload(cluster);
  await uninstallWeft(cluster);
  for (const { name, place } of cluster.nodes) {
    await until(async () => !(await runCommand(place, ['ps', '-e', '-o', 'args'])).includes('/opt/weft/'), {
      what: `the agent on ${name} to end`,
    });
  }
});
