// Metrics of the peers and the paths to them. A cluster has thousands of peers: traffic of the busiest by name and of the others together;
// of the rest each metric shows the 50 peers that matter most by its own measure.
import { OTHER, type PeerSeries, createBusiestPeers } from './busiest-peers.ts';
import type { Look } from './metrics.ts';
import type { MetricsRegistry, Sample } from './registry.ts';
import { type Connection, peerRow } from './stats-reader.ts';

/** Peers with series of their own. */
export const PEER_SERIES = 50;

/** The first is what "busy" is measured by. */
const COUNTED = [
  'egress_bytes',
  'ingress_bytes',
  'egress_packets',
  'ingress_packets',
  'probes_sent',
  'probes_answered',
] as const;
const at = (counter: (typeof COUNTED)[number]): number => COUNTED.indexOf(counter);

export function addPeerMetrics(registry: MetricsRegistry, look: () => Look): void {
  const busiest = createBusiestPeers(PEER_SERIES, COUNTED.length);
  const traffic = perLook(look, ({ connections, stats }): PeerSeries => {
    if (stats === undefined) return { named: [], other: undefined };
    return busiest.split(connections, (slot, { values, at: first }) => {
      const row = peerRow(slot);
      for (let index = 0; index < COUNTED.length; index++) {
        values[first + index] = stats.counter(row, COUNTED[index]!); // !: below the length
      }
    });
  });
  /** One series per peer and column. */
  const perPeer =
    (columns: readonly (readonly [labels: Readonly<Record<string, string>>, at: number])[]) =>
    (): Sample[] => {
      const { named, other } = traffic();
      const all = other === undefined ? named : [...named, [OTHER, other] as const];
      return all.flatMap(([peer, counters]) =>
        columns.map(([labels, column]): Sample => [{ ...labels, peer }, counters[column] ?? 0]),
      );
    };
  registry.mirroredCounter({
    name: 'weft_packets_total',
    help: 'Inner packets to (egress) and from (ingress) a peer; the busiest peers by name, the others as "other".',
    samples: perPeer([
      [{ direction: 'egress' }, at('egress_packets')],
      [{ direction: 'ingress' }, at('ingress_packets')],
    ]),
  });
  registry.mirroredCounter({
    name: 'weft_bytes_total',
    help: 'Bytes of inner packets to (egress) and from (ingress) a peer.',
    samples: perPeer([
      [{ direction: 'egress' }, at('egress_bytes')],
      [{ direction: 'ingress' }, at('ingress_bytes')],
    ]),
  });
  registry.mirroredCounter({
    name: 'weft_probes_sent_total',
    help: 'Probes that a peer was asked with; the busiest peers by name, the others as "other".',
    samples: perPeer([[{}, at('probes_sent')]]),
  });
  registry.mirroredCounter({
    name: 'weft_probes_answered_total',
    help: 'Probes that a peer has answered.',
    samples: perPeer([[{}, at('probes_answered')]]),
  });
  registry.gauge({
    name: 'weft_peer_round_trip_seconds',
    help: 'Round trip of the last answered probe, of the busiest peers.',
    samples() {
      const byName = new Map(look().connections.map((connection) => [connection.name, connection]));
      return traffic().named.flatMap(([peer]): readonly Sample[] => {
        const seconds = byName.get(peer)?.roundTripSeconds;
        return seconds === undefined ? [] : [[{ peer }, seconds]];
      });
    },
  });
  const foremost = (
    value: (connection: Connection) => number | undefined,
    order: 'smallest' | 'largest',
  ): Sample[] => {
    const { connections, stats } = look();
    const busy = ({ slot }: Connection): number => stats?.counter(peerRow(slot), 'egress_bytes') ?? 0;
    const sign = order === 'smallest' ? 1 : -1;
    const known: { readonly peer: string; readonly now: number; readonly busy: number }[] = [];
    for (const connection of connections) {
      const now = value(connection);
      if (now !== undefined) known.push({ peer: connection.name, now, busy: busy(connection) });
    }
    known.sort((a, b) => sign * (a.now - b.now) || b.busy - a.busy);
    return known.slice(0, PEER_SERIES).map(({ peer, now }): Sample => [{ peer }, now]);
  };
  registry.gauge({
    name: 'weft_peer_probe_loss_ratio',
    help: 'Share of the probes of the last half to whole minute without an answer, of the peers with the most, then of the busiest.',
    samples() {
      const { lossOf } = look();
      return foremost(({ name }) => lossOf(name), 'largest');
    },
  });
  registry.gauge({
    name: 'weft_peer_path_mtu_bytes',
    help: 'Largest inner packet that the path to a peer takes, of the peers with the smallest, then of the busiest.',
    samples: () => foremost(({ pathMtu }) => pathMtu, 'smallest'),
  });
  registry.gauge({
    name: 'weft_peer_silence_seconds',
    help: 'Time since a peer was heard that does not answer, or since it failed if it never was, of those that have been silent longest.',
    samples() {
      const { nowMs } = look();
      return foremost(
        ({ state, lastHeardMs, sinceMs }) =>
          state === 'failed' ? (nowMs - (lastHeardMs || sinceMs)) / 1000 : undefined,
        'largest',
      );
    },
  });
}

/** What is the same for all metrics of a scrape is found out once. */
function perLook<T>(look: () => Look, compute: (current: Look) => T): () => T {
  let last: { readonly of: Look; readonly value: T } | undefined;
  return () => {
    const current = look();
    if (last?.of !== current) last = { of: current, value: compute(current) };
    return last.value;
  };
}
