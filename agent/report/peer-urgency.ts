// Which peers need a look, in which order: those that do not answer, then those whose path loses or narrows packets. Pure.
import type { NodeReport, PeerStatus } from '../../proto/node-report.ts';

/** From it on a path is called lossy: two to six probes of the half to whole minute that is looked back at. */
const LOSSY = 0.1;
/** How long a peer may be silent after it was heard of: its agent is starting. */
const PATIENCE_SECONDS = 15;

/** The first needs a look most. `coming`: it was heard of a moment ago. */
const URGENCIES = ['failed', 'silent', 'lossy', 'coming', 'narrow', 'well'] as const;
export type Urgency = (typeof URGENCIES)[number];

type Peers = Pick<NodeReport, 'peers' | 'network'>;
type Groups = Readonly<Record<Urgency, readonly PeerStatus[]>>;

function urgencyOf(peer: PeerStatus, mtu: number): Urgency {
  if (peer.state === 'failed' && peer.lastHeardSeconds === undefined) return 'silent';
  if (peer.state === 'failed') return 'failed';
  if (peer.state === 'pending') return peer.sinceSeconds > PATIENCE_SECONDS ? 'silent' : 'coming';
  if ((peer.probeLoss ?? 0) >= LOSSY) return 'lossy';
  return peer.pathMtu !== undefined && peer.pathMtu < mtu ? 'narrow' : 'well';
}

const byName = (a: PeerStatus, b: PeerStatus): number => (a.name < b.name ? -1 : 1);

export const sortedByName = (peers: readonly PeerStatus[]): readonly PeerStatus[] => peers.toSorted(byName);

/** One report is asked again and again, and in a process that has just begun a thousand peers take their time. */
const known = new WeakMap<NodeReport['peers'], Groups>();

/** Each by name, but the lossy ones, of which the worst is first. */
export function byUrgency({ peers, network }: Peers): Groups {
  const seen = known.get(peers);
  if (seen !== undefined) return seen;
  const groups: Record<Urgency, PeerStatus[]> = {
    failed: [],
    silent: [],
    lossy: [],
    coming: [],
    narrow: [],
    well: [],
  };
  for (const peer of peers) groups[urgencyOf(peer, network.mtu)].push(peer);
  for (const urgency of URGENCIES) groups[urgency].sort(byName);
  groups.lossy.sort((a, b) => (b.probeLoss ?? 0) - (a.probeLoss ?? 0));
  known.set(peers, groups);
  return groups;
}

/** Those that need a look first. */
export function sortedByUrgency(report: Peers): readonly PeerStatus[] {
  const groups = byUrgency(report);
  return URGENCIES.flatMap((urgency) => groups[urgency]);
}
