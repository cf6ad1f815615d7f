// What kube-proxy makes of Services on the pod network, as steps that the test files of both of its modes share.
// Topology: three nodes, two workload pods and a tool pod on each, and a machine outside (hosts.ts).
import assert from 'node:assert/strict';
import { after } from 'node:test';

import { runCommand, tryCommand } from '../lab/command.ts';
import { setBridgeNetfilter } from './bridge-netfilter.ts';
import { type OutsideHost, createOutsideHost } from './hosts.ts';
import { installWeft } from './install.ts';
import { DNS_ADDRESS, type ProxyMode } from './node-programs.ts';
import {
  NODE_PORTS,
  askService,
  checkClusterAddress,
  checkHairpin,
  checkUdpClusterAddress,
  createServices,
  servicesInPlace,
} from './service-cases.ts';
import { createClusterSteps } from './steps.ts';
import { askDns, deployToolPods } from './tool-pods.ts';
import {
  type ClusterPod,
  ask,
  askFrom,
  deployWorkload,
  repeat,
  serviceAddress,
  workloadPods,
} from './workload.ts';

const NODES = 3;
const PODS = 6;
const TRIES = 12;
/** curl's exit statuses. */
const REFUSED = 7;
const TIMED_OUT = 28;

export function defineServiceSteps(mode: ProxyMode): void {
  const { step, say } = createClusterSteps({ nodes: NODES, proxyMode: mode });
  let pods: readonly ClusterPod[];
  let tools: readonly ClusterPod[];
  /** One workload pod of each node, in the nodes' order. */
  let samples: readonly ClusterPod[];
  let local: ClusterPod;
  let outside: OutsideHost | undefined;
  const outsidePlace = (): OutsideHost['place'] => {
    assert.ok(outside !== undefined);
    return outside.place;
  };
  after(() => outside?.close());

  step(`kubectl apply, with kube-proxy in ${mode} mode`, async (cluster) => {
    await installWeft(cluster, say);
    for (const { place } of cluster.nodes) {
      const found = await runCommand(place, ['curl', '-sf', 'http://127.0.0.1:10249/proxyMode']);
      assert.equal(found, mode);
    }
  });

  step('pods on every node, and their Services', async (cluster) => {
    await deployWorkload(cluster, PODS);
    pods = await workloadPods(cluster);
    tools = await deployToolPods(cluster);
    samples = cluster.nodes.map(({ name }) => {
      const pod = pods.find(({ node }) => node === name);
      assert.ok(pod !== undefined, `a pod on ${name}`);
      return pod;
    });
    const [, second] = samples;
    assert.ok(second !== undefined);
    local = second;
    await createServices(cluster, { alone: [...samples, ...tools], local });
    outside = await createOutsideHost();
    await servicesInPlace(cluster, outside.place);
  });

  for (const value of [0, 1] as const) {
    const setting = `bridge-nf-call-iptables ${value}`;
    step(
      `ClusterIP: from every node to pods of every node, TCP and UDP, without NAT; ${setting}`,
      async (cluster) => {
        await setBridgeNetfilter(cluster, value);
        for (const from of samples) await checkClusterAddress(cluster, { from, pods });
        for (const from of tools) await checkUdpClusterAddress(cluster, { from, tools });
      },
    );

    step(
      `a Service's only pod asks itself by it (hairpin), TCP and UDP, on every node; ${setting}`,
      async (cluster) => {
        for (const pod of [...samples, ...tools]) await checkHairpin(cluster, pod);
      },
    );
  }

  step('ClusterIP: from the hosts', async (cluster) => {
    const address = await serviceAddress(cluster, 'all');
    for (const { name, place } of cluster.nodes) {
      const answers = await askFrom(place, repeat(address, 4 * TRIES));
      assert.equal(answers.length, 4 * TRIES, `asked by ${name}`);
      assert.deepEqual(
        nodesOf(answers),
        cluster.nodes.map((node) => node.name),
        `asked by ${name}`,
      );
    }
  });

  const nodesOf = (answers: readonly { readonly name: string }[]): readonly string[] =>
    [...new Set(answers.map(({ name }) => String(pods.find((pod) => pod.name === name)?.node)))].sort();

  step('NodePort: from outside, and from pods, on every node, to pods of every node', async (cluster) => {
    for (const { name, address } of cluster.nodes) {
      const host = `${address}:${NODE_PORTS.all}`;
      const answers = await askFrom(outsidePlace(), repeat(host, 4 * TRIES));
      assert.equal(answers.length, 4 * TRIES, `from outside at ${name}`);
      assert.deepEqual(
        nodesOf(answers),
        cluster.nodes.map((node) => node.name),
        `from outside at ${name}`,
      );
      for (const from of samples) {
        assert.equal(
          (await ask(cluster, from, repeat(host, 4))).length,
          4,
          `${from.name} on ${from.node} at ${name}`,
        );
      }
    }
  });

  step(
    'sessionAffinity ClientIP: a client is led to one pod, from inside and from outside',
    async (cluster) => {
      for (const from of samples) {
        const answers = await askService(cluster, from, 'sticky');
        assert.equal(new Set(answers.map(({ name }) => name)).size, 1, `asked by ${from.name}`);
      }
      for (const { name, address } of cluster.nodes) {
        const answers = await askFrom(outsidePlace(), repeat(`${address}:${NODE_PORTS.sticky}`, TRIES));
        assert.equal(answers.length, TRIES);
        assert.equal(new Set(answers.map((answer) => answer.name)).size, 1, `asked at ${name}`);
      }
    },
  );

  step(
    'externalTrafficPolicy Local: the client keeps its address; a node without a pod drops',
    async (cluster) => {
      for (const { name, address } of cluster.nodes) {
        const host = `${address}:${NODE_PORTS.local}`;
        if (name === local.node) {
          const answers = await askFrom(outsidePlace(), repeat(host, TRIES));
          const expected = answers.map(() => ({ host, name: local.name, seen: outside?.address }));
          assert.equal(answers.length, TRIES, name);
          assert.deepEqual(answers, expected);
        } else {
          const { status } = await tryCommand(outsidePlace(), [
            'curl',
            '-s',
            '--max-time',
            '2',
            `http://${host}`,
          ]);
          assert.notEqual(status, REFUSED, `${name} has kube-proxy's rules`);
          assert.equal(status, TIMED_OUT, name);
        }
      }
    },
  );

  step(
    'internalTrafficPolicy Local: only pods of the own node answer; where there are none, nobody',
    async (cluster) => {
      const only = await serviceAddress(cluster, 'local-inside-one');
      for (const from of samples) {
        const answers = await askService(cluster, from, 'local-inside');
        assert.deepEqual(nodesOf(answers), [from.node], `asked by ${from.name}`);
        const names = (await ask(cluster, from, [only])).map(({ name }) => name);
        assert.deepEqual(
          names,
          from.node === local.node ? [local.name] : [],
          `asked by ${from.name} on ${from.node}`,
        );
      }
    },
  );

  step("headless Service: its name gives the pods' addresses, and leads to them", async (cluster) => {
    const name = 'headless.default.svc.cluster.local';
    const server = `${DNS_ADDRESS}:53`;
    for (const from of tools) {
      const answers = await askDns(cluster, from, { transport: 'udp', server, type: 'A', names: [name] });
      assert.deepEqual(
        answers,
        { [name]: pods.map(({ address }) => address).sort() },
        `asked by ${from.name}`,
      );
    }
    for (const from of samples) {
      assert.equal((await ask(cluster, from, ['headless:8080'])).length, 1, `asked by ${from.name}`);
    }
  });
}
