// Whether a node is well, by its report: what is wrong now, in words, what hinders pods most first. Pure.
import type { NodeReport, PeerStatus, RefusedReport } from '../../proto/node-report.ts';
import { sortedByUrgency, urgencyOf } from './peer-urgency.ts';
import { ageOr, counted, formatShare } from './text.ts';

const NAMES_TOLD = 3;

/** Empty: the node is well. */
export function faultsOf(report: NodeReport): readonly string[] {
  return [...report.notReady.map((reason) => `pods cannot be attached: ${reason}`), ...lastingFaults(report)];
}

/** Without those that keep pods from being attached. */
export function lastingFaults({ api, ipam, network, node, peers, problems }: NodeReport): readonly string[] {
  const sorted = sortedByUrgency({ peers, network });
  const those = (urgency: string): readonly PeerStatus[] =>
    sorted.filter((peer) => urgencyOf(peer, network.mtu) === urgency);
  const [failed, silent, lossy] = [those('failed'), those('silent'), those('lossy')];
  const remedy = `check that the node is up and that UDP ${node.port} is open both ways between the nodes`;
  return [
    ...problems,
    ...(ipam.logFailure === undefined ? [] : [ipam.logFailure]),
    ...(failed.length === 0
      ? []
      : [`${ofAll(failed, peers)} stopped answering (${names(failed, heard)}): ${remedy}`]),
    ...(silent.length === 0 ? [] : [`${ofAll(silent, peers)} never answered (${names(silent)}): ${remedy}`]),
    ...(lossy.length === 0
      ? []
      : [
          `${ofAll(lossy, peers)} lost probes (${names(lossy, ({ probeLoss }) => formatShare(probeLoss))}): look at the links between the nodes, and at their load`,
        ]),
    ...(api.isConnected
      ? []
      : [
          `the Kubernetes API is not connected${api.lastSyncAgeSeconds === undefined ? '' : `, last heard ${ageOr(api.lastSyncAgeSeconds, '')} ago`}: pods that run are not disturbed; new nodes and blocks wait. Check that the API server can be reached from this node`,
        ]),
  ];
}

/** The first line of the screen. */
export function verdict(report: NodeReport | RefusedReport): string {
  if (!('peers' in report)) return `${report.node.name || 'This node'} is not well: the agent cannot start`;
  const { node, peers } = report;
  const [first, ...others] = faultsOf(report);
  if (first !== undefined) {
    return `${node.name} is not well: ${first}${others.length === 0 ? '' : ` (and ${others.length} more)`}`;
  }
  const answering =
    peers.length === 0
      ? 'it has no peers'
      : peers.length === 1
        ? 'its peer answers'
        : `all ${peers.length} peers answer`;
  const starting = peers.filter(({ state }) => state === 'pending').length;
  return `${node.name} is well: pods can be attached, ${starting === 0 ? answering : `${counted(starting, 'peer')} of ${peers.length} just came`}`;
}

const heard = ({ lastHeardSeconds }: PeerStatus): string =>
  lastHeardSeconds === undefined ? '' : `heard ${ageOr(lastHeardSeconds, '')} ago`;

const ofAll = (some: readonly PeerStatus[], all: readonly PeerStatus[]): string =>
  `${some.length} of ${counted(all.length, 'peer')} ${some.length === 1 ? 'has' : 'have'}`;

function names(peers: readonly PeerStatus[], detail?: (peer: PeerStatus) => string): string {
  const told = peers.slice(0, NAMES_TOLD).map((peer) => {
    const words = detail?.(peer) ?? '';
    return words === '' ? peer.name : `${peer.name} ${words}`;
  });
  return [...told, ...(peers.length > NAMES_TOLD ? [`and ${peers.length - NAMES_TOLD} more`] : [])].join(
    ', ',
  );
}
