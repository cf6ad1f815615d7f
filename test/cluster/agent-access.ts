// kubectl with the very rights of an agent: a token of its service account that is bound to its pod, as the kubelet gives it one.
import { UNDERLAY_GATEWAY } from '../lab/node-namespace.ts';
import type { Cluster } from './cluster.ts';

export const AGENT_ACCOUNT = 'weft-agent';

interface PodList {
  readonly items: readonly {
    readonly metadata: { readonly name: string; readonly uid: string };
    readonly spec: { readonly nodeName: string };
  }[];
}

export type Kubectl = Cluster['kubectl'];

/** As the agent of the node. Throws when none runs there. */
export async function kubectlAsAgent(cluster: Cluster, node: string): Promise<Kubectl> {
  const selected = 'get pods --namespace weft --selector app.kubernetes.io/name=weft --output json';
  const pods = JSON.parse(await cluster.kubectl(selected.split(' '))) as PodList; // as: kubectl's own form
  const pod = pods.items.find(({ spec }) => spec.nodeName === node);
  if (pod === undefined) throw new Error(`No agent runs on "${node}"`);
  const { name, uid } = pod.metadata;
  const bound = `--bound-object-kind Pod --bound-object-name ${name} --bound-object-uid ${uid}`.split(' ');
  return kubectlWithToken(cluster, await accountToken(cluster, bound));
}

/** A token of the agents' account; `words` bind it. */
export const accountToken = async (cluster: Cluster, words: readonly string[] = []): Promise<string> =>
  (await cluster.kubectl(['create', 'token', AGENT_ACCOUNT, '--namespace', 'weft', ...words])).trim();

export function kubectlWithToken(cluster: Cluster, token: string): Kubectl {
  const access = [
    '--kubeconfig=/dev/null', // the administrator's would win
    `--server=https://${UNDERLAY_GATEWAY}:6443`,
    `--certificate-authority=${cluster.controlPlane.authority.file('ca.crt')}`,
    `--token=${token}`,
  ];
  return (words, options) => cluster.kubectl([...access, ...words], options);
}
