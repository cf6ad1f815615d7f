// Tells who joins, changes and leaves, each once; at the start how many peers there are in one line, and what changed since the snapshot.
// Says nothing before the API was heard: absence means nothing then.
import type { Peer } from '../../../proto/api-kinds.ts';
import type { Logger } from '../../telemetry/logger.ts';
import type { ClusterView } from './cluster-view.ts';

export interface PeerLogOptions {
  /** Of this node, which is no peer of its own. */
  readonly nodeName: string;
  /** As the snapshot has them; undefined: nothing is known yet. */
  readonly known: readonly Peer[] | undefined;
  readonly log: Pick<Logger, 'info'>;
}

export interface PeerLog {
  /** To be called when the view changed. */
  tell(view: Pick<ClusterView, 'source' | 'peers'>): void;
}

export function createPeerLog({ nodeName, known, log }: PeerLogOptions): PeerLog {
  let told: ReadonlyMap<string, Peer> | undefined =
    known && new Map(known.map((peer) => [peer.metadata.name, peer]));
  let isListed = false;

  const tellChanges = (before: ReadonlyMap<string, Peer>, now: ReadonlyMap<string, Peer>): void => {
    for (const [name, peer] of now) {
      const earlier = before.get(name);
      if (name === nodeName || earlier === peer) continue;
      const fields = { peer: name, address: addressOf(peer) };
      if (earlier === undefined) log.info('peer_added', `Node "${name}" joined at ${fields.address}`, fields);
      else if (whereIs(earlier) !== whereIs(peer)) {
        log.info('peer_changed', `Node "${name}" changed from ${whereIs(earlier)} to ${whereIs(peer)}`, {
          ...fields,
          address_before: addressOf(earlier),
        });
      }
    }
    for (const [name, peer] of before) {
      if (name === nodeName || now.has(name)) continue;
      const fields = { peer: name, address: addressOf(peer) };
      log.info('peer_removed', `Node "${name}" at ${fields.address} left`, fields);
    }
  };

  return {
    tell({ source, peers }) {
      if (source !== 'api') return;
      if (!isListed) {
        const count = [...peers.keys()].filter((name) => name !== nodeName).length;
        log.info('peers_listed', `Following ${count} other ${count === 1 ? 'node' : 'nodes'}`, { count });
      }
      isListed = true;
      if (told !== undefined) tellChanges(told, peers);
      told = peers;
    },
  };
}

/** The preferred one. */
const addressOf = ({ spec }: Peer): string => spec.addresses[0] ?? '';

/** What other nodes send by. */
const whereIs = ({ spec: { addresses, port, vtepMac } }: Peer): string =>
  `${addresses.join(', ')} port ${port} (VTEP ${vtepMac})`;
