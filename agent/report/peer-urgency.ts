// Which peers need a look, in which order: those that do not answer, then those whose path loses or narrows packets. Pure.
import type { NodeReport, PeerStatus } from '../../proto/node-report.ts';

/** Above it a path is called lossy: three probes of the thirty that are looked back at, or more. */
export const LOSSY = 0.1;
/** How long a peer may be silent after it was heard of: its agent is starting. */
const PATIENCE_SECONDS = 15;

type Urgency = 'failed' | 'silent' | 'lossy' | 'narrow' | 'well';

export function urgencyOf(peer: PeerStatus, mtu: number): Urgency {
  if (peer.state === 'failed') return 'failed';
  if (peer.state === 'pending') return peer.sinceSeconds > PATIENCE_SECONDS ? 'silent' : 'well';
  if ((peer.probeLoss ?? 0) >= LOSSY) return 'lossy';
  return peer.pathMtu !== undefined && peer.pathMtu < mtu ? 'narrow' : 'well';
}

const ORDER: Readonly<Record<Urgency, number>> = { failed: 0, silent: 1, lossy: 2, narrow: 3, well: 4 };
const STATES: Readonly<Record<PeerStatus['state'], number>> = { failed: 0, pending: 1, established: 2 };

const byName = (a: PeerStatus, b: PeerStatus): number => (a.name < b.name ? -1 : 1);

export const sortedByName = (peers: readonly PeerStatus[]): readonly PeerStatus[] => peers.toSorted(byName);

/** Those that need a look first; the others by name. */
export function sortedByUrgency({
  peers,
  network,
}: Pick<NodeReport, 'peers' | 'network'>): readonly PeerStatus[] {
  const rank = (peer: PeerStatus): number => 10 * ORDER[urgencyOf(peer, network.mtu)] + STATES[peer.state];
  return peers
    .map((peer) => ({ peer, rank: rank(peer) }))
    .toSorted(
      (a, b) =>
        a.rank - b.rank || (b.peer.probeLoss ?? 0) - (a.peer.probeLoss ?? 0) || byName(a.peer, b.peer),
    )
    .map(({ peer }) => peer);
}
