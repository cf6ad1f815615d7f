// Metrics of the data plane: refused packets, from its statistics file and the nftables counters, what the kernel dropped around it, and
// how its workers keep up.
import { type HistogramName, NO_PEER_ROW, SELF_ROW } from '../../proto/dataplane-stats.ts';
import { DROP_REASONS } from '../../proto/drop-reason.ts';
import { OTHER, createBusiestPeers } from './busiest-peers.ts';
import type { Look } from './metrics.ts';
import { PEER_SERIES } from './peer-metrics.ts';
import type { BucketCounts, Labels, MetricsRegistry, Sample } from './registry.ts';
import { refusalTotals } from './refusal-totals.ts';
import { peerRow } from './stats-reader.ts';

export function addDataplaneMetrics(registry: MetricsRegistry, look: () => Look): void {
  addDrops(registry, look);
  registry.mirroredCounter({
    name: 'weft_dataplane_worker_packets_total',
    help: 'Inner packets that each worker of the data plane sent to peers (egress) and took from them (ingress).',
    samples: () =>
      WORKER_COUNTERS.flatMap(([direction, counter]) =>
        (look().stats?.byWorker(counter) ?? []).map((total, worker): Sample => [
          { direction, worker: String(worker) },
          total,
        ]),
      ),
  });
  addPace(registry, look);
  registry.gauge({
    name: 'weft_tunnel_socket_queue_bytes',
    help: "Bytes that wait in the receive buffers of the tunnel's sockets.",
    samples() {
      const { sockets } = look().tunnelDrops;
      return sockets === undefined ? [] : [[{}, sockets.waitingBytes]];
    },
  });
  registry.mirroredCounter({
    name: 'weft_tunnel_socket_dropped_packets_total',
    help: "Datagrams that the kernel dropped at the tunnel's sockets: the buffer was full, or the checksum wrong.",
    samples() {
      const { sockets } = look().tunnelDrops;
      return sockets === undefined ? [] : [[{}, sockets.droppedPackets]];
    },
  });
  registry.mirroredCounter({
    name: 'weft_tun_dropped_packets_total',
    help: 'Packets dropped at the TUN: its queue to the data plane was full (egress), or the stack did not take them (ingress).',
    samples() {
      const { tun } = look().tunnelDrops;
      if (tun === undefined) return [];
      return [
        [{ direction: 'egress' }, tun.egressPackets],
        [{ direction: 'ingress' }, tun.ingressPackets],
      ];
    },
  });
}

function addPace(registry: MetricsRegistry, look: () => Look): void {
  const histogramOf = (name: HistogramName, unit = 1): BucketCounts | undefined => {
    const counted = look().stats?.histogram(name);
    return (
      counted && {
        bounds: counted.bounds.map((bound) => bound / unit),
        counts: counted.counts,
        sum: counted.sum / unit,
      }
    );
  };
  const alone = (counts: BucketCounts | undefined): readonly (readonly [Labels, BucketCounts])[] =>
    counts === undefined ? [] : [[{}, counts]];
  const byWorker = (values: readonly number[] = []): readonly Sample[] =>
    values.map((value, worker): Sample => [{ worker: String(worker) }, value]);
  registry.mirroredHistogram({
    name: 'weft_probe_round_trip_seconds',
    help: 'Round trips of the probes that were answered, of all peers together.',
    series: () => alone(histogramOf('probe_round_trip_us', US_A_SECOND)),
  });
  registry.mirroredCounter({
    name: 'weft_dataplane_passes_total',
    help: "Passes of a worker's loop, idle ones included: one that makes none hangs.",
    samples: () => byWorker(look().stats?.processByWorker('loops')),
  });
  registry.mirroredHistogram({
    name: 'weft_dataplane_pass_duration_seconds',
    help: 'Time of passes with packets: as long at most waited what came during one until it was taken.',
    series: () => alone(histogramOf('pass_us', US_A_SECOND)),
  });
  registry.gauge({
    name: 'weft_dataplane_longest_pause_seconds',
    help: 'Longest time of the last minute or two for which a worker did not look for packets.',
    samples() {
      const { stats } = look();
      const before = stats?.processByWorker('longest_pause_before_us') ?? [];
      const now = stats?.processByWorker('longest_pause_us') ?? [];
      return byWorker(now.map((us, worker) => Math.max(us, before[worker] ?? 0) / US_A_SECOND));
    },
  });
  registry.mirroredHistogram({
    name: 'weft_dataplane_batch_packets',
    help: 'Packets that a pass took from the TUN (egress) or the socket (ingress); what the kernel has merged is one.',
    series: () =>
      (['egress', 'ingress'] as const).flatMap((direction) =>
        alone(histogramOf(`${direction}_batch`)).map(([, counts]) => [{ direction }, counts] as const),
      ),
  });
}

function addDrops(registry: MetricsRegistry, look: () => Look): void {
  const dropped = createBusiestPeers(PEER_SERIES, DROP_REASONS.length + 1);
  registry.mirroredCounter({
    name: 'weft_dropped_packets_total',
    help: "Packets that the data plane or the node's nftables rules refused, by reason; peer is empty where none is concerned.",
    samples() {
      const { stats, connections, firewallRefusals } = look();
      const totals = refusalTotals({ stats, rows: [NO_PEER_ROW, SELF_ROW], firewall: firewallRefusals });
      // Also at 0: a first drop shows as an increase.
      const withoutPeer = [...totals].map(([reason, count]): Sample => [{ reason, peer: '' }, count]);
      if (stats === undefined) return withoutPeer;
      const rows = dropped.split(connections, (slot, cells) => stats.allDrops(peerRow(slot), cells));
      const all = rows.other === undefined ? rows.named : [...rows.named, [OTHER, rows.other] as const];
      const ofPeers = all.flatMap(([peer, [, ...counts]]) =>
        DROP_REASONS.map((reason, at): Sample => [{ reason, peer }, counts[at] ?? 0]),
      );
      return [...withoutPeer, ...ofPeers.filter(([, count]) => count > 0)];
    },
  });
}

const US_A_SECOND = 1e6;
const WORKER_COUNTERS = [
  ['egress', 'egress_packets'],
  ['ingress', 'ingress_packets'],
] as const;
