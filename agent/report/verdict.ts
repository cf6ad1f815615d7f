// Whether a node is well, by its report: what is wrong now, in words, what hinders pods most first. Pure.
import type { NodeReport, PeerStatus, RefusedReport } from '../../proto/node-report.ts';
import { byUrgency } from './peer-urgency.ts';
import { counted, formatAge, formatShare } from './text.ts';

const NAMES_TOLD = 3;
/** That a peer's share of lost probes is of, at most. */
const LOSS_WINDOW_SECONDS = 60;

export interface Fault {
  readonly what: string;
  /** Undefined: `what` says it. */
  readonly remedy?: string;
}

/** Empty: the node is well. First, one for each of `notReady`. */
export const faultsOf = (report: NodeReport): readonly Fault[] => [
  ...report.notReady.map((reason) => ({ what: `pods cannot be attached: ${reason}` })),
  ...lastingFaults(report),
];

export const formatFault = ({ what, remedy }: Fault): string =>
  remedy === undefined ? what : `${what}: ${remedy}`;

function lastingFaults({ api, ipam, network, node, peers, problems }: NodeReport): readonly Fault[] {
  const { failed, silent, lossy } = byUrgency({ peers, network });
  const remedy = `check that the node is up and that UDP ${node.port} is open both ways between the nodes`;
  const faults: Fault[] = problems.map((problem) => ({ what: problem }));
  if (ipam.logFailure !== undefined) faults.push({ what: ipam.logFailure });
  if (failed.length > 0) {
    faults.push({ what: `${ofAll(failed, peers)} stopped answering (${names(failed, heard)})`, remedy });
  }
  if (silent.length > 0) {
    faults.push({ what: `${ofAll(silent, peers)} never answered (${names(silent)})`, remedy });
  }
  if (lossy.length > 0) {
    faults.push({
      what: `${ofAll(lossy, peers)} lost probes (${names(lossy, lossWords)})`,
      remedy: 'look at the links between the nodes, and at their load',
    });
  }
  if (!api.isConnected) {
    const last =
      api.lastSyncAgeSeconds === undefined ? '' : `, last heard ${formatAge(api.lastSyncAgeSeconds)} ago`;
    faults.push({
      what: `the Kubernetes API is not connected${last}`,
      remedy:
        'pods that run are not disturbed, new nodes and blocks wait. Check that the API server can be reached from this node',
    });
  }
  return faults;
}

/** The first line of the screen. */
export function verdict(report: NodeReport | RefusedReport, faults?: readonly Fault[]): string {
  if (!('peers' in report)) return `${report.node.name || 'This node'} is not well: the agent cannot start`;
  const { node, peers } = report;
  const [first, ...more] = faults ?? faultsOf(report);
  if (first !== undefined) {
    return `${node.name} is not well: ${first.what}${more.length === 0 ? '' : ` (and ${more.length} more)`}`;
  }
  const coming = peers.filter(({ state }) => state === 'pending').length;
  if (coming > 0)
    return `${node.name} is well: pods can be attached, ${coming} of ${counted(peers.length, 'peer')} just came`;
  const answering = peers.length === 1 ? 'its peer answers' : `all ${peers.length} peers answer`;
  return `${node.name} is well: pods can be attached, ${peers.length === 0 ? 'it has no peers' : answering}`;
}

/** Of a peer that answers again it is told so: the share is of the time before, too. */
const lossWords = ({ probeLoss, sinceSeconds }: PeerStatus): string =>
  `${formatShare(probeLoss)}${sinceSeconds < LOSS_WINDOW_SECONDS ? ` within a minute, established for ${formatAge(sinceSeconds)}` : ''}`;

const heard = ({ lastHeardSeconds }: PeerStatus): string =>
  lastHeardSeconds === undefined ? '' : `heard ${formatAge(lastHeardSeconds)} ago`;

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
