// What agents say that something is wrong: in `kubectl logs`, in `kubectl get events`, and at a node's status address.
import { tryCommand } from '../lab/command.ts';
import { condition, until } from '../lab/condition.ts';
import type { Cluster } from './cluster.ts';
import type { ClusterNode } from './cluster-node.ts';

const BOUND_MS = 120_000;

export interface AgentPod {
  readonly name: string;
  readonly node: string;
  readonly restarts: number;
}

interface PodList {
  readonly items: readonly {
    readonly metadata: { readonly name: string; readonly deletionTimestamp?: string };
    readonly spec: { readonly nodeName?: string };
    readonly status: { readonly containerStatuses?: readonly { readonly restartCount: number }[] };
  }[];
}

/** Without those that are ending. */
export async function agentPodsOf(cluster: Cluster): Promise<readonly AgentPod[]> {
  const text = await cluster.kubectl('--namespace weft get pods --output json'.split(' '));
  const { items } = JSON.parse(text) as PodList; // as: kubectl's
  return items
    .filter(({ metadata }) => metadata.deletionTimestamp === undefined)
    .map(({ metadata, spec, status }) => ({
      name: metadata.name,
      node: spec.nodeName ?? '',
      restarts: status.containerStatuses?.[0]?.restartCount ?? 0,
    }));
}

interface LogLine {
  readonly level: string;
  readonly event: string;
  readonly msg: string;
}

/** The lines of an agent's log from warnings up. */
async function complaints(cluster: Cluster, pod: string): Promise<readonly LogLine[]> {
  const text = await cluster.tryKubectl(['--namespace', 'weft', 'logs', pod, '--container', 'agent']);
  return (text ?? '')
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as LogLine) // as: the log's own format
    .filter(({ level }) => level === 'warn' || level === 'error');
}

/** Resolves to the first line that matches, of any of the agents, and whose it is. */
export function logged(
  cluster: Cluster,
  sentence: RegExp,
): Promise<{ readonly pod: AgentPod; readonly msg: string; readonly times: number }> {
  return condition(
    async () => {
      for (const pod of await agentPodsOf(cluster)) {
        const found = (await complaints(cluster, pod.name)).filter(({ msg }) => sentence.test(msg));
        if (found[0] !== undefined) return { pod, msg: found[0].msg, times: found.length };
      }
      return undefined;
    },
    { what: `a line like ${sentence} in an agent's log`, boundMs: BOUND_MS, intervalMs: 500 },
  );
}

interface EventList {
  readonly items: readonly {
    readonly type: string;
    readonly reason: string;
    readonly message: string;
    readonly involvedObject: { readonly kind: string; readonly name: string };
  }[];
}

/** Resolves to the reason of the Warning about a Node whose message matches. */
export function eventReason(cluster: Cluster, node: string, sentence: RegExp): Promise<string> {
  return condition(
    async () => {
      const { items } = JSON.parse(
        await cluster.kubectl('--namespace default get events --output json'.split(' ')),
      ) as EventList; // as: kubectl's
      return items.find(
        ({ type, message, involvedObject: { kind, name } }) =>
          kind === 'Node' && name === node && type === 'Warning' && sentence.test(message),
      )?.reason;
    },
    { what: `an Event about ${node} like ${sentence}`, boundMs: BOUND_MS, intervalMs: 500 },
  );
}

/** A page of the status address, whatever its status. */
export async function statusText(node: ClusterNode, path = '/status'): Promise<string> {
  const curl = `curl -sS --max-time 5 http://127.0.0.1:6784${path}`;
  return (await tryCommand(node.place, curl.split(' '))).stdout;
}

export async function statusSays(node: ClusterNode, sentence: RegExp): Promise<void> {
  let last = '';
  const says = async (): Promise<boolean> => {
    last = await statusText(node);
    if (!sentence.test(last)) throw new Error(last);
    return true;
  };
  await until(says, {
    what: `the status of ${node.name} to be like ${sentence}`,
    boundMs: BOUND_MS,
    intervalMs: 500,
  });
}
