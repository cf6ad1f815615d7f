// Metrics of packets, read at each scrape from the data plane's statistics file, the refused ones also from the nftables counters:
// traffic and drops per peer, round trips. A cluster has thousands of peers: the busiest have series of their own, the others are added up.
import { NO_PEER_ROW, SELF_ROW } from '../../proto/dataplane-stats.ts';
import { DROP_REASONS } from '../../proto/drop-reason.ts';
import { OTHER, createBusiestPeers } from './busiest-peers.ts';
import type { MetricsRegistry, Sample } from './registry.ts';
import { type FirewallRefusals, refusalTotals } from './refusal-totals.ts';
import { type Connection, type StatsSnapshot, peerRow } from './stats-reader.ts';

export interface DataplaneSource {
  connections(): readonly Connection[];
  stats(): StatsSnapshot | undefined;
  firewallRefusals(): FirewallRefusals;
}

/** Peers with series of their own. */
const PEER_SERIES = 50;

export function addDataplaneMetrics(registry: MetricsRegistry, source: DataplaneSource): void {
  const traffic = createBusiestPeers(PEER_SERIES);
  const dropped = createBusiestPeers(PEER_SERIES);
  /** Series of the columns, per peer. */
  const trafficSamples = (columns: readonly Column[]): Sample[] => {
    const stats = source.stats();
    if (stats === undefined) return [];
    const rows = traffic.split(source.connections(), (slot) =>
      TRAFFIC.map((counter) => stats.counter(peerRow(slot), counter)),
    );
    const all = rows.other === undefined ? rows.named : [...rows.named, [OTHER, rows.other] as const];
    return all.flatMap(([peer, counters]) =>
      columns.map(({ direction, at }): Sample => [{ direction, peer }, counters[at] ?? 0]),
    );
  };
  registry.mirroredCounter({
    name: 'weft_packets_total',
    help: 'Inner packets to (egress) and from (ingress) a peer; the busiest peers by name, the others as "other".',
    labels: ['direction', 'peer'],
    samples: () => trafficSamples(PACKETS),
  });
  registry.mirroredCounter({
    name: 'weft_bytes_total',
    help: 'Bytes of inner packets to (egress) and from (ingress) a peer.',
    labels: ['direction', 'peer'],
    samples: () => trafficSamples(BYTES),
  });
  registry.mirroredCounter({
    name: 'weft_dataplane_worker_packets_total',
    help: 'Inner packets that each worker of the data plane sent to peers (egress) and took from them (ingress).',
    labels: ['direction', 'worker'],
    samples() {
      const stats = source.stats();
      return WORKER_COUNTERS.flatMap(([direction, counter]) =>
        (stats?.byWorker(counter) ?? []).map((total, worker): Sample => [
          { direction, worker: String(worker) },
          total,
        ]),
      );
    },
  });
  registry.mirroredCounter({
    name: 'weft_dropped_packets_total',
    help: "Packets that the data plane or the node's nftables rules refused, by reason; peer is empty where none is concerned.",
    labels: ['reason', 'peer'],
    samples() {
      const stats = source.stats();
      const totals = refusalTotals({
        stats,
        rows: [NO_PEER_ROW, SELF_ROW],
        firewall: source.firewallRefusals(),
      });
      // Also at 0: a first drop shows as an increase.
      const withoutPeer = [...totals].map(([reason, count]): Sample => [{ reason, peer: '' }, count]);
      if (stats === undefined) return withoutPeer;
      const rows = dropped.split(source.connections(), (slot) => {
        const counts = DROP_REASONS.map((reason) => stats.drops(peerRow(slot), reason));
        return [counts.reduce((sum, count) => sum + count, 0), ...counts];
      });
      const all = rows.other === undefined ? rows.named : [...rows.named, [OTHER, rows.other] as const];
      const ofPeers = all.flatMap(([peer, [, ...counts]]) =>
        DROP_REASONS.map((reason, at): Sample => [{ reason, peer }, counts[at] ?? 0]),
      );
      return [...withoutPeer, ...ofPeers.filter(([, count]) => count > 0)];
    },
  });
  registry.gauge({
    name: 'weft_peer_path_mtu_bytes',
    help: 'Largest inner packet that the path to a peer takes, of the peers with the smallest, then of the busiest.',
    labels: ['peer'],
    samples() {
      const stats = source.stats();
      if (stats === undefined) return [];
      const known = source
        .connections()
        .flatMap(({ name, slot, pathMtu }) => (pathMtu === undefined ? [] : [{ name, slot, pathMtu }]));
      const busy = (slot: number): number => stats.counter(peerRow(slot), 'egress_bytes');
      return known
        .toSorted((a, b) => a.pathMtu - b.pathMtu || busy(b.slot) - busy(a.slot))
        .slice(0, PEER_SERIES)
        .map(({ name, pathMtu }): Sample => [{ peer: name }, pathMtu]);
    },
  });
  registry.gauge({
    name: 'weft_peer_round_trip_seconds',
    help: 'Round trip of the last answered probe, of the peers that have series of their own.',
    labels: ['peer'],
    samples() {
      const stats = source.stats();
      const connections = source.connections();
      if (stats === undefined) return [];
      const busy = (slot: number): number => stats.counter(peerRow(slot), 'egress_bytes');
      const shown = connections.toSorted((a, b) => busy(b.slot) - busy(a.slot)).slice(0, PEER_SERIES);
      return shown.flatMap(({ name, roundTripSeconds }): readonly Sample[] =>
        roundTripSeconds === undefined ? [] : [[{ peer: name }, roundTripSeconds]],
      );
    },
  });
}

interface Column {
  readonly direction: 'egress' | 'ingress';
  readonly at: number;
}

const WORKER_COUNTERS = [
  ['egress', 'egress_packets'],
  ['ingress', 'ingress_packets'],
] as const;

/** The first is what "busy" is measured by. */
const TRAFFIC = ['egress_bytes', 'ingress_bytes', 'egress_packets', 'ingress_packets'] as const;
const BYTES: readonly Column[] = [
  { direction: 'egress', at: 0 },
  { direction: 'ingress', at: 1 },
];
const PACKETS: readonly Column[] = [
  { direction: 'egress', at: 2 },
  { direction: 'ingress', at: 3 },
];
