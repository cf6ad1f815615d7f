// CoreDNS in pods on the pod network: names and addresses, forth and back, from pods of every node, over UDP and TCP; and ports of the
// nodes that portmap leads to pods (hostPort).
// Topology: three nodes, two workload pods, a tool pod and a pod with a hostPort on each, and a machine outside (hosts.ts).
import assert from 'node:assert/strict';
import process from 'node:process';
import { after } from 'node:test';

import { type Place, runScript } from '../lab/command.ts';
import { until } from '../lab/condition.ts';
import { setBridgeNetfilter } from './bridge-netfilter.ts';
import { enterClusterEnclosure } from './cluster.ts';
import { type OutsideHost, createOutsideHost } from './hosts.ts';
import { installWeft } from './install.ts';
import { DNS_ADDRESS, DNS_DOMAIN, proxyMode } from './node-programs.ts';
import { createClusterSteps } from './steps.ts';
import { askDns, deployToolPods, reverseName } from './tool-pods.ts';
import {
  type ClusterPod,
  PORT,
  WHO_CONTAINER,
  WORKLOAD,
  apply,
  ask,
  askFrom,
  deployWorkload,
  podsOf,
  serviceAddress,
  workloadPods,
} from './workload.ts';

await enterClusterEnclosure();

const NODES = 3;
const PODS = 6;
const HEADLESS = 'named';
const HOST_PORT_APP = 'host-port';
const HOST_PORT = 18_080;
const TRANSPORTS = ['udp', 'tcp'] as const;
const SERVICES = `svc.${DNS_DOMAIN}`;

let pods: readonly ClusterPod[];
let tools: readonly ClusterPod[];
let hostPorts: readonly ClusterPod[];
let dnsServers: readonly string[];
let outside: OutsideHost | undefined;

after(() => outside?.close());

const { step, say } = createClusterSteps({ nodes: NODES, proxyMode: proxyMode(process.env) });

/** Pods with names of their own: those of a StatefulSet, by its headless Service. */
const namedPods: readonly object[] = [
  {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: HEADLESS },
    spec: { clusterIP: 'None', selector: { app: HEADLESS }, ports: [{ port: PORT }] },
  },
  {
    apiVersion: 'apps/v1',
    kind: 'StatefulSet',
    metadata: { name: HEADLESS },
    spec: {
      serviceName: HEADLESS,
      replicas: 2,
      podManagementPolicy: 'Parallel',
      selector: { matchLabels: { app: HEADLESS } },
      template: {
        metadata: { labels: { app: HEADLESS } },
        spec: { terminationGracePeriodSeconds: 0, containers: [WHO_CONTAINER] },
      },
    },
  },
];

const hostPortPods: readonly object[] = [
  {
    apiVersion: 'apps/v1',
    kind: 'DaemonSet',
    metadata: { name: HOST_PORT_APP },
    spec: {
      selector: { matchLabels: { app: HOST_PORT_APP } },
      template: {
        metadata: { labels: { app: HOST_PORT_APP } },
        spec: {
          terminationGracePeriodSeconds: 0,
          containers: [{ ...WHO_CONTAINER, ports: [{ containerPort: PORT, hostPort: HOST_PORT }] }],
        },
      },
    },
  },
];

step('kubectl apply, pods of a Deployment, of a StatefulSet, and CoreDNS', async (cluster) => {
  await installWeft(cluster, say);
  await deployWorkload(cluster, PODS);
  pods = await workloadPods(cluster);
  await apply(cluster, namedPods);
  await cluster.kubectl(['rollout', 'status', `statefulset/${HEADLESS}`, '--timeout=120s']);
  tools = await deployToolPods(cluster);
  const addresses =
    '--namespace kube-system get pods --selector=k8s-app=kube-dns --output jsonpath={.items[*].status.podIP}';
  dnsServers = (await cluster.kubectl(addresses.split(' '))).split(' ').map((address) => `${address}:53`);
  assert.equal(dnsServers.length, 2);
});

for (const transport of TRANSPORTS) {
  const server = `${DNS_ADDRESS}:53`;

  step(`names of Services and pods, from every node, over ${transport}`, async (cluster) => {
    const named = await podsOf(cluster, HEADLESS);
    const [first] = pods;
    assert.ok(first !== undefined);
    const expected = {
      [`${WORKLOAD}.default.${SERVICES}`]: [await serviceAddress(cluster)],
      [`kubernetes.default.${SERVICES}`]: ['10.96.0.1'],
      [`${first.address.replaceAll('.', '-')}.default.pod.${DNS_DOMAIN}`]: [first.address],
      [`${HEADLESS}.default.${SERVICES}`]: named.map(({ address }) => address).sort(),
      ...Object.fromEntries(
        named.map(({ name, address }) => [`${name}.${HEADLESS}.default.${SERVICES}`, [address]]),
      ),
      [`nobody.default.${SERVICES}`]: ['!3'], // NXDOMAIN
    };
    for (const from of tools) {
      // By the Service, and by each of CoreDNS' pods, which are on different nodes.
      for (const each of [server, ...dnsServers]) {
        const question = { transport, server: each, type: 'A', names: Object.keys(expected) } as const;
        assert.deepEqual(await askDns(cluster, from, question), expected, `${from.node} asked ${each}`);
      }
    }
  });

  step(`reverse lookups of Services and pods, from every node, over ${transport}`, async (cluster) => {
    const named = await podsOf(cluster, HEADLESS);
    const expected = {
      [reverseName(await serviceAddress(cluster))]: [`${WORKLOAD}.default.${SERVICES}`],
      [reverseName(DNS_ADDRESS)]: [`kube-dns.kube-system.${SERVICES}`],
      ...Object.fromEntries(
        named.map(({ name, address }) => [reverseName(address), [`${name}.${HEADLESS}.default.${SERVICES}`]]),
      ),
    };
    for (const from of tools) {
      const question = { transport, server, type: 'PTR', names: Object.keys(expected) } as const;
      assert.deepEqual(await askDns(cluster, from, question), expected, `asked on ${from.node}`);
    }
  });
}

step("the pods' own resolver: short names and search domains, from every pod", async (cluster) => {
  const hosts = [
    WORKLOAD,
    `${WORKLOAD}.default`,
    `${WORKLOAD}.default.${SERVICES}`,
    `${HEADLESS}-0.${HEADLESS}:${PORT}`,
  ];
  for (const from of pods) {
    const answers = await ask(cluster, from, hosts);
    assert.deepEqual(
      answers.map(({ host }) => host),
      hosts,
      `asked by ${from.name} on ${from.node}`,
    );
  }
});

step('hostPort: from outside, with the client’s address, and from hosts', async (cluster) => {
  await apply(cluster, hostPortPods);
  await cluster.kubectl(['rollout', 'status', `daemonset/${HOST_PORT_APP}`, '--timeout=120s']);
  hostPorts = await podsOf(cluster, HOST_PORT_APP);
  outside = await createOutsideHost();
  const hosts = cluster.nodes.map(({ address }) => `${address}:${HOST_PORT}`);
  const byNode = cluster.nodes.map(({ name }) => hostPorts.find(({ node }) => node === name)?.name);
  const answers = await askFrom(outside.place, hosts);
  assert.deepEqual(
    answers.map(({ name }) => name),
    byNode,
  );
  for (const { seen } of answers) assert.equal(seen, outside.address);
  for (const { name, place } of cluster.nodes) {
    const names = (await askFrom(place, hosts)).map((answer) => answer.name);
    assert.deepEqual(names, byNode, `asked by ${name}`);
  }
});

for (const value of [0, 1] as const) {
  step(`hostPort: from pods, also one’s own (hairpin); bridge-nf-call-iptables ${value}`, async (cluster) => {
    await setBridgeNetfilter(cluster, value);
    const hosts = cluster.nodes.map(({ address }) => `${address}:${HOST_PORT}`);
    const byNode = cluster.nodes.map(({ name }) => hostPorts.find(({ node }) => node === name)?.name);
    for (const from of [...pods, ...hostPorts]) {
      const names = (await ask(cluster, from, hosts)).map(({ name }) => name);
      assert.deepEqual(names, byNode, `asked by ${from.name} on ${from.node}`);
    }
  });
}

step('hostPort: the rules go with the pods', async (cluster) => {
  const rulesOf = async (place: Place): Promise<number> =>
    Number(await runScript(place, [`nft list ruleset | grep -c 'dport ${HOST_PORT}' || true`]));
  for (const { name, place } of cluster.nodes) assert.notEqual(await rulesOf(place), 0, name);
  await cluster.kubectl(['delete', `daemonset/${HOST_PORT_APP}`]);
  await cluster.kubectl(['wait', '--for=delete', 'pod', `--selector=app=${HOST_PORT_APP}`, '--timeout=120s']);
  // Without a grace period the pod's object goes at once, and then the pod.
  for (const { name, place } of cluster.nodes) {
    await until(async () => (await rulesOf(place)) === 0, {
      what: `portmap's rules on ${name} to go`,
      boundMs: 60_000,
    });
  }
});
