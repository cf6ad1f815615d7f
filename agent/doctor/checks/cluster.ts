// The API server and what it has of this node, and what the agent says of the cluster.
import type { Check, Found } from '../check.ts';
import { seconds } from '../expected.ts';
import type { ApiAnswer, Scene } from '../scene.ts';
import { rangeOverlap } from './routes.ts';

const SHORT = 240;
const shortened = (text: string): string => (text.length > SHORT ? `${text.slice(0, SHORT)}…` : text);

const SLOW_MS = 1000;
/** A watch is told something at least each minute or so (bookmarks), and a list comes every 10. */
const OLD_SECONDS = 900;

type Fields = Readonly<Record<string, unknown>>;
const isFields = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const fieldsOf = (value: unknown, key: string): Fields => {
  const inside = isFields(value) ? value[key] : undefined;
  return isFields(inside) ? inside : {};
};

const KEEPS_GOING =
  'the last-known state stays in force, but new nodes, blocks and pods on a full node are not served';

function answerOf(scene: Scene, answer: ApiAnswer, action: string): readonly Found[] {
  const { status, failure, milliseconds } = answer;
  const server = scene.api?.server ?? '';
  if (failure !== undefined) {
    const isHalfOpen = failure === 'TIMEOUT' || failure === 'ABORT_ERR';
    return [
      {
        severity: 'error',
        what: isHalfOpen
          ? `The API server ${server} did not answer within ${seconds(milliseconds / 1000)} (${action}): it is overloaded, or the path to it is dead`
          : `The API server ${server} cannot be reached (${failure})`,
        fix: `curl -k ${server}/readyz on the node; look at the API server, its load balancer and the firewall between`,
      },
    ];
  }
  if (status === 401) {
    return [
      {
        severity: 'error',
        what: `The API server does not take the agent's credentials (401)`,
        fix: 'kubectl -n weft get serviceaccount weft-agent; kubectl -n weft rollout restart daemonset/weft; compare the clocks of the node and the API server',
      },
    ];
  }
  if (status === 403) {
    return [
      {
        severity: 'error',
        what: `The agent's role does not allow it to ${action} (403)`,
        fix: 'kubectl apply the manifest of this version: its ClusterRole and bindings',
      },
    ];
  }
  if (status >= 500 || status === 429) {
    return [
      {
        severity: 'error',
        what: `The API server answered ${status} (${action})`,
        fix: 'look at the log of the API server',
      },
    ];
  }
  if (milliseconds > SLOW_MS) {
    return [
      {
        severity: 'warning',
        what: `The API server took ${seconds(milliseconds / 1000)} to answer (${action})`,
        fix: 'look at the load of the API server and etcd',
      },
    ];
  }
  return [];
}

export const api: Check = {
  id: 'api',
  finds: 'an API server that is unreachable, slow, half-open, or refuses the agent',
  why: KEEPS_GOING,
  fix: 'curl -k https://KUBERNETES_SERVICE_HOST/readyz on the node; look at the API server and what is between',
  run(scene) {
    const { api: facts, agent } = scene;
    const found: Found[] = [];
    if (facts?.configuration !== undefined) {
      found.push({ severity: 'error', what: facts.configuration, fix: 'do what the sentence says' });
    }
    const answers = [
      ...(facts?.node === undefined ? [] : answerOf(scene, facts.node, 'get its Node')),
      ...(facts?.peer === undefined ? [] : answerOf(scene, facts.peer, 'get its Peer')),
    ];
    const [worst] = answers.toSorted(
      (a, b) => Number(a.severity === 'warning') - Number(b.severity === 'warning'),
    );
    const told = agent.report?.api;
    const age = told?.lastSyncAgeSeconds;
    const ageWords =
      told === undefined
        ? ''
        : age === undefined
          ? 'the agent has heard nothing since its start'
          : `the agent last heard from it ${seconds(age)} ago`;
    if (worst !== undefined) {
      const isAway = told !== undefined && (!told.isConnected || worst.severity === 'error');
      found.push(isAway ? { ...worst, what: `${worst.what}; ${ageWords}` } : worst);
    } else if (told !== undefined && !told.isConnected) {
      const error =
        agent.report?.lastError === undefined
          ? ''
          : `; its last error: ${shortened(agent.report.lastError.text)}`;
      found.push({
        severity: 'error',
        what: `The agent has no connection to the API, which answers the doctor: ${ageWords}${error}`,
      });
    } else if (age !== undefined && age > OLD_SECONDS) {
      found.push({ severity: 'warning', what: `The agent's view of the cluster is old: ${ageWords}` });
    }
    return found;
  },
};

export const objects: Check = {
  id: 'cluster_objects',
  finds: "the Node, the Peer or the custom resource definitions missing or changed under the agent's feet",
  why: 'other nodes find this one by its Peer, which goes with its Node',
  fix: 'kubectl get node, kubectl get peers; kubectl apply the manifest of this version',
  run({ api: facts, agent, files, settings }) {
    const found: Found[] = [];
    const name = settings.nodeName;
    if (facts?.node?.status === 404) {
      found.push({
        severity: 'error',
        what: `There is no Node "${name}" in the cluster`,
        fix: 'restart the kubelet of this node, so that it registers; if the node has left the cluster, remove Weft from it (docs/operations)',
      });
    }
    const uid = fieldsOf(facts?.node?.body, 'metadata')['uid'];
    const known = agent.report?.node.uid;
    if (facts?.node?.status === 200 && known !== undefined && uid !== known) {
      found.push({
        severity: 'error',
        what: `Node "${name}" was made anew: its UID is ${String(uid)}, the agent works with ${known}`,
        fix: 'kubectl -n weft delete pod POD, if it does not notice within a minute',
      });
    }
    if (facts?.peer?.status === 404) {
      const isNamed = fieldsOf(facts.peer.body, 'details')['name'] === name;
      found.push(
        isNamed
          ? {
              severity: 'error',
              what: `There is no Peer "${name}": no other node sends to this one`,
              fix: 'the agent writes it again within seconds; kubectl -n weft logs POD -c agent if it does not',
            }
          : {
              severity: 'error',
              what: 'The custom resource definition of Peers is not there',
              fix: 'kubectl apply the manifest of this version: its CRDs. The objects that went with it are written again by their agents',
            },
      );
    }
    const spec = fieldsOf(facts?.peer?.body, 'spec');
    const rival = spec['stateId'];
    if (typeof rival === 'string' && files.stateId !== undefined && rival !== files.stateId) {
      const addresses = Array.isArray(spec['addresses']) ? spec['addresses'].join(', ') : 'unknown';
      found.push({
        severity: 'error',
        what: `Another machine (${addresses}) writes the Peer "${name}": two machines have this node name`,
        fix: 'give one of them another name (kubelet --hostname-override) and join it anew',
      });
    }
    return found;
  },
};

export const agentSays: Check = {
  id: 'agent_says',
  finds:
    "what the agent itself says is wrong: why it is not ready, and contradictions in the cluster's objects",
  why: 'the agent looks at what the doctor cannot: all objects of the cluster, and its own requests',
  fix: 'do what the sentence says; docs/operations/refusals.md has each of them',
  run(scene) {
    const { report } = scene.agent;
    if (report === undefined) return [];
    const isOverlap = !scene.kernel.missing.has('links') && rangeOverlap.run(scene).length > 0;
    const isNew = (text: string): boolean => !(isOverlap && text.startsWith('Cannot use the range'));
    return [
      ...report.notReady
        .filter(isNew)
        .map((text): Found => ({ severity: 'error', what: `Pods cannot be attached: ${shortened(text)}` })),
      ...report.problems
        .filter((text) => !report.notReady.includes(text) && isNew(text))
        .slice(0, 5)
        .map((text): Found => ({ severity: 'warning', what: shortened(text) })),
    ];
  },
};

const RECENT_SECONDS = 60;
const CONTEST = 3;

export const contest: Check = {
  id: 'network_contested',
  finds: "a program or person that changes Weft's interfaces, routes or rules, which the agent has put right",
  why: 'between the change and its repair packets are lost; again and again is a contest of two programs',
  fix: 'tell NetworkManager, systemd-networkd, firewalld or the other network plugin to leave "weave", "weft0", "vethwe…" and the tables "weft" alone; the log event network_contested names the process',
  run({ agent: { report, earlier } }) {
    const last = report?.repairs.last;
    if (report === undefined || last === undefined || last.ageSeconds > RECENT_SECONDS) return [];
    const now = report.repairs.count - (earlier?.repairs.count ?? report.repairs.count);
    return [
      {
        severity: now >= CONTEST ? 'error' : 'warning',
        what: `Somebody changes the node's network; the agent put right ${seconds(last.ageSeconds)} ago: ${shortened(last.text)} (${report.repairs.count} ${report.repairs.count === 1 ? 'repair' : 'repairs'} since it started${now > 0 ? `, ${now} while the doctor looked` : ''})`,
      },
    ];
  },
};

export const ipam: Check = {
  id: 'addresses',
  finds: 'addresses or blocks that run out, and blocks that another node claims',
  why: 'a node without a free address attaches no more pods; from a fenced block no address is given',
  fix: 'kubectl get addressblocks; remove nodes that are gone (kubectl delete node), or use a larger range',
  run({ agent: { report } }) {
    if (report === undefined) return [];
    const { ipam: facts } = report;
    const found: Found[] = [];
    const held = Object.values(facts.blocksByNode).reduce((sum, count) => sum + count, 0);
    const free = facts.rangeBlocks - held - facts.quarantinedBlocks;
    if (facts.free === 0 && facts.total > 0) {
      const range =
        free <= 0
          ? `, and no block of ${report.network.range} is free (${held} held, ${facts.quarantinedBlocks} in quarantine)`
          : '';
      found.push({
        severity: free <= 0 ? 'error' : 'warning',
        what: `All ${facts.total} addresses of this node are in use${range}`,
      });
    } else if (free <= 0) {
      found.push({
        severity: 'warning',
        what: `No block of ${report.network.range} is free (${held} of ${facts.rangeBlocks} held, ${facts.quarantinedBlocks} in quarantine): no node can get another one`,
      });
    }
    for (const { cidr, state, used } of facts.ownBlocks) {
      if (state !== 'fenced') continue;
      found.push({
        severity: 'error',
        what: `Block ${cidr} is held by another node too; ${used} pods here have addresses of it`,
        why: 'two nodes answer for the same addresses until these pods are gone',
        fix: 'delete these pods, so that they come back with addresses of another block; find out who deleted the AddressBlock',
      });
    }
    if (facts.logFailure !== undefined) {
      found.push({
        severity: 'error',
        what: `The record of addresses cannot be written: ${facts.logFailure}`,
        why: 'no address can be given out',
        fix: "free space on the node's disk, or make the state directory writable; the agent goes on by itself",
      });
    }
    return found;
  },
};

export const CLUSTER_CHECKS: readonly Check[] = [objects, api, ipam];
/** They repeat in the agent's words what others may have found out: last. */
export const TOLD_CHECKS: readonly Check[] = [contest, agentSays];
