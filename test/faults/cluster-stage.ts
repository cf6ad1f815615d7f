// The tour's stage on a real cluster: three nodes with containerd and kubelet, the image of this checkout, the manifest that users apply. The
// caller is inside the cluster's enclosure.
import { readFileSync } from 'node:fs';

import { agentLogFiles } from '../cluster/agent-log.ts';
import { keepersOf, rolePid } from '../cluster/agent-processes.ts';
import { agentPodsOf } from '../cluster/agent-words.ts';
import type { Cluster } from '../cluster/cluster.ts';
import type { ClusterNode } from '../cluster/cluster-node.ts';
import { configureWeft, installWeft, inWeft } from '../cluster/install.ts';
import { createProbePods } from '../cluster/probe-pods.ts';
import { tryCommand } from '../lab/command.ts';
import { UNDERLAY_GATEWAY } from '../lab/node-namespace.ts';
import { decodeFindings } from './lab-stage.ts';
import type { Stage, StageApi, StageNode } from './stage.ts';

const API_PORT = 6443;
const WEFT = '/usr/local/bin/weft';
const DOCTOR = ['doctor', '--output', 'json'];
const SELF_CHECK_SECONDS = '10';
/** The API server waits longer for a node whose cable is out. */
const KUBECTL_SECONDS = '12';

export async function createClusterStage(cluster: Cluster, say: (text: string) => void): Promise<Stage> {
  await installWeft(cluster, say);
  await configureWeft(cluster, { WEFT_SELF_CHECK_SECONDS: SELF_CHECK_SECONDS });
  await inWeft(cluster, 'rollout status daemonset/weft --timeout=300s');
  const pods = await createProbePods(cluster, cluster.nodes);
  const [first, second, third] = cluster.nodes.map((node): StageNode => {
    const pod = pods.find((each) => each.node.name === node.name);
    if (pod === undefined) throw new Error(`No pod on "${node.name}"`);
    return stageNode(cluster, node, { address: pod.address, place: pod.place });
  });
  if (first === undefined || second === undefined || third === undefined)
    throw new Error('Three nodes are needed');
  return {
    kind: 'cluster',
    nodes: [first, second, third],
    api: stageApi(cluster),
    close: () => cluster.close(),
  };
}

function stageNode(
  cluster: Cluster,
  node: Cluster['nodes'][number],
  pod: { readonly address: string; readonly place: StageNode['place'] },
): StageNode {
  const keeper = (): number => keepersOf(node).at(-1) ?? 0;
  return {
    kind: 'cluster',
    name: node.name,
    address: node.address,
    place: node.place,
    path: node.path,
    podAddress: pod.address,
    podPlace: () => pod.place,
    pidOf: (role) => (role === 'keeper' ? keeper() : rolePid(node, role)),
    metrics: async () => {
      const address = `http://${node.address}:6782/metrics`;
      const { status, stdout } = await tryCommand(node.place, ['curl', '-sSf', '-m', '5', address]);
      return status === 0 ? stdout : undefined;
    },
    log: () => agentLogFiles(node),
    doctor: () => doctor(cluster, node, keeper()),
    restartAgent: () => Promise.reject(new Error('All nodes of a cluster have one ConfigMap')),
  };
}

/** By `kubectl exec`; where the API cannot reach the node, in the agent's container by its namespaces. */
async function doctor(cluster: Cluster, node: ClusterNode, keeper: number): ReturnType<StageNode['doctor']> {
  const pod = (await agentPodsOf(cluster)).find((each) => each.node === node.name)?.name ?? '';
  const words = ['--namespace', 'weft', 'exec', pod, '--container', 'agent', '--', WEFT, ...DOCTOR];
  const { kubectl } = cluster.controlPlane;
  const byApi = await tryCommand({ name: 'kubectl', enter: [] }, [
    'timeout',
    KUBECTL_SECONDS,
    ...kubectl,
    ...words,
  ]);
  if (byApi.stdout.startsWith('{')) return decodeFindings(byApi.stdout, byApi.stderr);
  const container: StageNode['place'] = {
    name: `the agent of ${node.name}`,
    enter: ['nsenter', `--target=${keeper}`, '--mount', '--net', '--pid', '--uts', '--ipc'],
  };
  const env = Object.fromEntries(
    readFileSync(`/proc/${keeper}/environ`, 'utf8')
      .split('\0')
      .map((line): [string, string] => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)])
      .filter(([name]) => name !== '' && name !== 'PATH'), // which finds nsenter, too
  );
  const inside = await tryCommand(container, ['/usr/local/bin/node', WEFT, ...DOCTOR], { env });
  return decodeFindings(inside.stdout, `${byApi.stderr} ${inside.stderr}`);
}

function stageApi(cluster: Cluster): StageApi {
  const { kubectl } = cluster;
  return {
    address: UNDERLAY_GATEWAY,
    port: API_PORT,
    read: async (path) => JSON.parse(await kubectl(['get', '--raw', path])) as unknown,
    create: async (path, object) =>
      void (await kubectl(['create', '--raw', path, '--filename', '-'], { stdin: JSON.stringify(object) })),
    replace: async (path, object) =>
      void (await kubectl(['replace', '--raw', path, '--filename', '-'], { stdin: JSON.stringify(object) })),
    remove: async (path) => void (await kubectl(['delete', '--raw', path])),
    async forbid() {
      const binding = await kubectl('get clusterrolebinding weft-agent --output json'.split(' '));
      await kubectl('delete clusterrolebinding weft-agent'.split(' '));
      return async () =>
        void (await kubectl(['create', '--filename', '-'], { stdin: withoutVersion(binding) }));
    },
  };
}

/** What the server gave an object is not for the next one. */
function withoutVersion(text: string): string {
  const object = JSON.parse(text) as { metadata: { name: string; labels?: object } }; // as: kubectl's own form
  const { name, labels } = object.metadata;
  return JSON.stringify({ ...object, metadata: { name, labels } });
}
