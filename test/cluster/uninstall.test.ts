// The ends of Weft's life on a cluster: taken off, a node is as it was; deleted and applied again, it finds its pods. Each node's snapshot
// before the first install is what the later ones are compared with. Topology: two nodes (cluster.ts), without CoreDNS, whose pods would stay.
import assert from 'node:assert/strict';
import { rmSync, writeFileSync } from 'node:fs';
import process from 'node:process';

import { runCommand, tryCommand } from '../lab/command.ts';
import { until } from '../lab/condition.ts';
import { type Cluster, enterClusterEnclosure } from './cluster.ts';
import {
  endRemoval,
  installWeft,
  nodeConditions,
  removalLogs,
  removeFromNodes,
  startRemoval,
  uninstallWeft,
} from './install.ts';
import { proxyMode } from './node-programs.ts';
import { type NodeSnapshot, snapshotDifferences, takeSnapshot } from './node-snapshot.ts';
import { createClusterSteps } from './steps.ts';
import {
  type ClusterPod,
  PORT,
  WORKLOAD,
  ask,
  deleteWorkload,
  deployWorkload,
  everyPodAsksEveryPod,
  workloadPods,
} from './workload.ts';

await enterClusterEnclosure();

const NODES = 2;
const PODS = 4;
const BOUND_MS = 60_000;
/** Not of Weft: what runtimes keep of their plugins' answers has this folder from the first pod with a network on. */
const OF_THE_RUNTIME = [
  /^files \+ \/var\/lib\/cni(\/results)? d 7\d\d/,
  /^files \+ \/etc\/cni\/net\.d\/cni\.lock /,
];
const OWN_KINDS =
  'clusterrole clusterrolebinding role rolebinding namespace customresourcedefinition validatingadmissionpolicy validatingadmissionpolicybinding all configmap serviceaccount';

const { step, say } = createClusterSteps({ nodes: NODES, proxyMode: proxyMode(process.env) });

const before = new Map<string, NodeSnapshot>();

/** The same twice: programs that were starting have started. */
async function steadySnapshot(node: Cluster['nodes'][number]): Promise<NodeSnapshot> {
  let last = await takeSnapshot(node.place);
  await until(
    async () => {
      const now = await takeSnapshot(node.place);
      const differences = snapshotDifferences(last, now);
      last = now;
      if (differences.length > 0) throw new Error(differences.join('\n'));
      return true;
    },
    { what: `${node.name} to come to rest`, boundMs: BOUND_MS, intervalMs: 1000 },
  );
  return last;
}

/** What is on the node now and was not before Weft came, or the other way round. */
async function differences({ name, place }: Cluster['nodes'][number]): Promise<readonly string[]> {
  const found = snapshotDifferences(before.get(name) ?? new Map(), await takeSnapshot(place));
  return found.filter((line) => !OF_THE_RUNTIME.some((pattern) => pattern.test(line)));
}

async function nodesAsBefore(cluster: Cluster): Promise<void> {
  for (const node of cluster.nodes) {
    await until(
      async () => {
        const found = await differences(node);
        if (found.length > 0) throw new Error(`${node.name}:\n${found.join('\n')}`);
        return true;
      },
      { what: `${node.name} to be as it was before Weft`, boundMs: BOUND_MS, intervalMs: 1000 },
    );
  }
}

interface RunningPod {
  readonly node: string;
  readonly address: string;
  readonly containerId: string;
}

interface PodList {
  readonly items: readonly {
    readonly metadata: { readonly name: string };
    readonly spec: { readonly nodeName: string };
    readonly status: {
      readonly podIP?: string;
      readonly containerStatuses?: readonly { readonly containerID?: string }[];
    };
  }[];
}

/** By name: where each runs, and as which container: another id is another start. */
async function runningPods(cluster: Cluster): Promise<Readonly<Record<string, RunningPod>>> {
  const text = await cluster.kubectl(`get pods --selector app=${WORKLOAD} --output json`.split(' '));
  const { items } = JSON.parse(text) as PodList; // as: kubectl's own form
  return Object.fromEntries(
    items.map(({ metadata, spec, status }) => [
      metadata.name,
      {
        node: spec.nodeName,
        address: status.podIP ?? '',
        containerId: status.containerStatuses?.[0]?.containerID ?? '',
      },
    ]),
  );
}

const names = async (cluster: Cluster, words: string): Promise<readonly string[]> =>
  (await cluster.kubectl(['get', ...words.split(' '), '--output', 'name']))
    .split('\n')
    .filter((line) => line !== '');

const statusPage = ({ place }: Cluster['nodes'][number], path: string): Promise<string> =>
  runCommand(place, ['curl', '--silent', '--fail', `http://127.0.0.1:6784${path}`]);

const nodeOf = (cluster: Cluster, name: string): Cluster['nodes'][number] => {
  const node = cluster.nodes.find((each) => each.name === name);
  assert.ok(node !== undefined, name);
  return node;
};

const agentLogs = (cluster: Cluster): Promise<string> =>
  cluster.kubectl('logs --namespace weft --selector app.kubernetes.io/name=weft --tail=-1'.split(' '));

const OTHER = '{"cniVersion":"1.0.0","name":"other","plugins":[{"type":"loopback"}]}\n';

step('a snapshot of every node, before Weft', async (cluster) => {
  const dns = ['--namespace', 'kube-system'];
  await cluster.kubectl([...dns, 'scale', 'deployment/coredns', '--replicas=0']);
  await cluster.kubectl([
    ...dns,
    'wait',
    '--for=delete',
    'pod',
    '--selector=k8s-app=kube-dns',
    '--timeout=60s',
  ]);
  // Of a network that somebody has not cleared away; unreadable, so that it makes no node ready.
  writeFileSync(nodeOf(cluster, 'node-1').path('/etc/cni/net.d/99-other.conflist'), 'not a configuration\n');
  for (const node of cluster.nodes) before.set(node.name, await steadySnapshot(node));
});

step('Weft is installed, and pods run', async (cluster) => {
  await installWeft(cluster, say);
  await deployWorkload(cluster, PODS);
  await everyPodAsksEveryPod(cluster, await workloadPods(cluster));
});

step(
  "another network's CNI configuration is left alone, and told where it overrules Weft",
  async (cluster) => {
    assert.match(await agentLogs(cluster), /Left alone, [^\n]*\\"99-other\.conflist\\"/);
    const node = nodeOf(cluster, 'node-2');
    const file = node.path('/etc/cni/net.d/05-other.conflist');
    const sentence = 'The runtime attaches new pods by "05-other.conflist" and not by Weft';
    writeFileSync(file, OTHER);
    await until(async () => (await statusPage(node, '/status')).includes(`Problem: ${sentence}`), {
      what: `a status line about ${file}`,
      boundMs: BOUND_MS,
      intervalMs: 500,
    });
    await until(
      async () => (await cluster.kubectl(['get', 'events', '--output', 'yaml'])).includes(sentence),
      {
        what: `an Event about ${file}`,
        boundMs: 2 * BOUND_MS,
        intervalMs: 500,
      },
    );
    assert.ok((await agentLogs(cluster)).includes(JSON.stringify(sentence).slice(1, -1)));
    rmSync(file);
    await until(async () => !(await statusPage(node, '/status')).includes('Problem'), {
      what: `no status line about ${file} any more`,
      boundMs: BOUND_MS,
      intervalMs: 500,
    });
  },
);

step('what removes Weft waits while an agent runs, and touches nothing', async (cluster) => {
  await startRemoval(cluster);
  await until(
    async () =>
      (await removalLogs(cluster)).split('Waiting: an agent of Weft still runs').length === NODES + 1,
    {
      what: 'the removal to say on every node that it waits',
      boundMs: BOUND_MS,
      intervalMs: 500,
    },
  );
  await endRemoval(cluster);
  await everyPodAsksEveryPod(cluster, await workloadPods(cluster));
  for (const node of cluster.nodes) assert.match(await statusPage(node, '/status'), /^ *Repairs: 0$/m);
});

step('kubectl delete: nothing is left in the cluster', async (cluster) => {
  await deleteWorkload(cluster);
  await uninstallWeft(cluster);
  for (const kind of OWN_KINDS.split(' ')) {
    assert.deepEqual(
      await names(cluster, `${kind} --all-namespaces --selector app.kubernetes.io/part-of=weft`),
      [],
      kind,
    );
  }
  assert.equal(await cluster.tryKubectl(['get', 'peers']), undefined);
});

step('and one step more: every node is as it was before', async (cluster, context) => {
  const start = performance.now();
  const logs = await removeFromNodes(cluster);
  context.diagnostic(
    `all nodes done ${((performance.now() - start) / 1000).toFixed(1)} s after kubectl apply`,
  );
  for (const { name } of cluster.nodes) assert.ok(logs.includes(`Weft is off node "${name}"`), logs);
  assert.doesNotMatch(logs, /still ran/);
  await nodesAsBefore(cluster);
  await until(async () => (await nodeConditions(cluster)).every(({ ready }) => !ready), {
    what: 'the nodes to be not Ready, as they have no pod network',
    boundMs: BOUND_MS,
    intervalMs: 500,
  });
  context.diagnostic(logs.split('\n').filter((line) => line.includes('Removed')).length + ' things removed');
});

let pods: Readonly<Record<string, RunningPod>>;
let gone: ClusterPod;
let bridges: readonly string[];

const bridgeAddresses = (cluster: Cluster): Promise<readonly string[]> =>
  Promise.all(
    cluster.nodes.map(({ place }) => runCommand(place, ['ip', '-brief', 'address', 'show', 'weave'])),
  );

/** Name of the /26 that an address is in. */
function blockName(address: string): string {
  const [a = 0, b = 0, c = 0, d = 0] = address.split('.').map(Number);
  return `${a}.${b}.${c}.${d - (d % 64)}-26`;
}

step('deleted without that step: pods go on, and reach those of their node', async (cluster) => {
  await installWeft(cluster, say);
  await deployWorkload(cluster, PODS);
  pods = await runningPods(cluster);
  bridges = await bridgeAddresses(cluster);
  await uninstallWeft(cluster);
  const all = await workloadPods(cluster);
  for (const from of all) {
    const neighbours = all.filter(({ node }) => node === from.node);
    assert.ok(neighbours.length > 1);
    const hosts = neighbours.map(({ address }) => `${address}:${PORT}`);
    assert.equal((await ask(cluster, from, hosts)).length, hosts.length, `asked by ${from.name}`);
  }
  assert.deepEqual(await runningPods(cluster), pods);
});

step('a pod that is deleted meanwhile goes, and the one in its place waits', async (cluster) => {
  [gone] = (await workloadPods(cluster)) as [ClusterPod]; // as: there are some, see above
  await cluster.kubectl(['delete', 'pod', gone.name, '--timeout=60s']);
  // The pod's network goes a little after the pod.
  const { place } = nodeOf(cluster, gone.node);
  await until(
    async () => /\.del$/m.test((await tryCommand(place, ['ls', '/var/lib/weft/tombstones'])).stdout),
    {
      what: 'the CNI plugin to keep the deletion for the agent',
      boundMs: BOUND_MS,
      intervalMs: 200,
    },
  );
  await until(
    async () =>
      (await cluster.kubectl(['get', 'events', '--output', 'yaml'])).includes('FailedCreatePodSandBox'),
    { what: 'the kubelet to say that it cannot make a pod', boundMs: BOUND_MS, intervalMs: 500 },
  );
});

step(
  'applied again: the same pods, addresses and gateways, and the new pod comes up',
  async (cluster, context) => {
    await installWeft(cluster, (text) => context.diagnostic(text));
    await cluster.kubectl(['rollout', 'status', `deployment/${WORKLOAD}`, '--timeout=120s']);
    const now = await runningPods(cluster);
    const { [gone.name]: _gone, ...kept } = pods;
    for (const [name, pod] of Object.entries(kept)) assert.deepEqual(now[name], pod, name);
    assert.equal(Object.keys(now).length, PODS);
    assert.equal(new Set(Object.values(now).map(({ address }) => address)).size, PODS);
    await everyPodAsksEveryPod(cluster, await workloadPods(cluster));
    for (const [name, { node, address }] of Object.entries(now)) {
      const block = `addressblock/${blockName(address)}`;
      assert.equal(await cluster.kubectl(['get', block, '--output', 'jsonpath={.spec.node}']), node, name);
    }
    assert.deepEqual(await bridgeAddresses(cluster), bridges);
  },
);

step('the agents know exactly these pods, and have carried out the deletion', async (cluster) => {
  for (const node of cluster.nodes) {
    const report = JSON.parse(await statusPage(node, '/report')) as {
      ipam: { allocations: readonly { address: string }[] }; // as: the agent's own form
    };
    const expected = (await workloadPods(cluster)).filter((pod) => pod.node === node.name);
    assert.deepEqual(
      report.ipam.allocations.map(({ address }) => address).sort(),
      expected.map(({ address }) => address).sort(),
    );
    const { stdout } = await tryCommand(node.place, ['ls', '/var/lib/weft/tombstones']);
    assert.equal(stdout, '');
  }
});

step(
  'taken off under running pods: it says which, and they can be deleted once there is a network',
  async (cluster) => {
    const running = Object.values(await runningPods(cluster));
    await uninstallWeft(cluster);
    const logs = await removeFromNodes(cluster);
    for (const { address } of running)
      assert.match(logs, new RegExp(`lost their network: [^\\n]*\\b${address}\\b`));
    for (const node of cluster.nodes) {
      const found = (await differences(node)).filter(
        (line) =>
          !/^(pods|processes|files \+ \/run\/netns|files \+ \/var\/lib\/cni\/results\/cni-loopback-)/.test(
            line,
          ),
      );
      assert.deepEqual(found, [], node.name);
    }
    await installWeft(cluster, say);
    await cluster.kubectl(['rollout', 'restart', `deployment/${WORKLOAD}`]);
    await cluster.kubectl(['rollout', 'status', `deployment/${WORKLOAD}`, '--timeout=120s']);
    await until(async () => (await workloadPods(cluster)).length === PODS, {
      what: 'the pods that lost their network to go',
      boundMs: BOUND_MS,
      intervalMs: 500,
    });
    await everyPodAsksEveryPod(cluster, await workloadPods(cluster));
  },
);

step('and in the end every node is as it was before all of this', async (cluster) => {
  await deleteWorkload(cluster);
  await uninstallWeft(cluster);
  await removeFromNodes(cluster);
  await nodesAsBefore(cluster);
});
