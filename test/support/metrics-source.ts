// A source of metrics whose facts a test sets: statistics of some peers, what nftables and the kernel counted, and fixed facts of the rest.
import { TROUBLES } from '../../agent/control/trouble.ts';
import type { TunnelDrops } from '../../agent/telemetry/kernel-counters.ts';
import { type Metrics, type MetricsSource, createMetrics } from '../../agent/telemetry/metrics.ts';
import {
  type ConnectionPeer,
  createConnectionTracker,
  peerRow,
  statsSnapshot,
} from '../../agent/telemetry/stats-reader.ts';
import { counterColumn, dropColumn, gaugeColumn, statsIndex } from '../../proto/dataplane-stats.ts';
import { FIREWALL_REASONS, type FirewallReason } from '../../proto/drop-reason.ts';

export const INTERVAL_MS = 1000;

export interface MetricsRig {
  readonly metrics: Metrics;
  readonly values: Float64Array;
  readonly set: (row: number, column: number, value: number) => void;
  readonly firewall: Map<FirewallReason, number>;
  readonly peers: ConnectionPeer[];
  readonly time: { now: number };
  readonly facts: Facts;
  /** `name{labels}` → value. */
  readonly scrape: () => Promise<Map<string, number>>;
}

interface Facts {
  readonly losses: Map<string, number>;
  reuseAgeSeconds: number | undefined;
  snapshotAgeSeconds: number | undefined;
  tunnelDrops: TunnelDrops;
  /** Their pids; 0 = nobody's. */
  workers: readonly number[];
}

export function createMetricsRig(peerCount: number): MetricsRig {
  const values = new Float64Array(statsIndex(peerRow(peerCount) + 1, 0));
  const set = (row: number, column: number, value: number): void => {
    values[statsIndex(row, column)] = value;
  };
  const peers = Array.from({ length: peerCount }, (_, slot) => ({
    name: `node-${slot}`,
    slot,
    probes: true,
  }));
  const firewall = new Map<FirewallReason, number>(FIREWALL_REASONS.map((reason) => [reason, 0]));
  const time = { now: 1_000_000 };
  const tracker = createConnectionTracker({ probeIntervalMs: INTERVAL_MS });
  const facts: Facts = {
    losses: new Map(),
    reuseAgeSeconds: undefined,
    snapshotAgeSeconds: undefined,
    tunnelDrops: { sockets: undefined, tun: undefined },
    workers: [8, 9],
  };
  const source: MetricsSource = {
    version: '0.1.0',
    look: () => ({
      nowMs: time.now,
      connections: tracker.observe(peers, statsSnapshot([values]), time.now),
      stats: statsSnapshot([values]),
      lossOf: (peer) => facts.losses.get(peer),
      firewallRefusals: firewall,
      tunnelDrops: facts.tunnelDrops,
      roles: {
        states: [
          { role: 'control', pid: 7, restarts: 1 },
          { role: 'dataplane', pid: 0, pids: facts.workers, restarts: 0 },
        ],
        usage: {
          roles: [
            { role: 'keeper', residentBytes: 60e6, proportionalBytes: 20e6, cpuSeconds: 0.5 },
            { role: 'control', residentBytes: 90e6, proportionalBytes: undefined, cpuSeconds: 4 },
          ],
          runDelaySeconds: [0.25, undefined],
        },
      },
    }),
    terminations: () => tracker.terminations(),
    isReady: () => true,
    troubles: () =>
      new Map([...TROUBLES.map(([code]) => [code, code === 'FORBIDDEN'] as const), ['other', false]]),
    clusterProblems: () => 2,
    faults: () => [[{ check: 'foreign_rules', severity: 'error' }, 2]],
    selfCheckAgeSeconds: () => 17,
    mtu: () => 1410,
    pool: () => ({
      used: 4,
      free: 122,
      pendingAllocations: 1,
      pendingClaims: 0,
      reuseAgeSeconds: facts.reuseAgeSeconds,
      isLogWritable: true,
    }),
    ownBlocks: () => ({ held: 2, fenced: 0, returning: 0 }),
    rangeBlocks: () => ({ held: 10, quarantined: 1, free: 16_373 }),
    rangeAddresses: () => 2 ** 20,
    addressesOf: () => 128,
    api: () => ({
      isConnected: true,
      lastSyncAgeSeconds: 3.5,
      watchAgesSeconds: { peers: 120, addressblocks: undefined },
    }),
    snapshotAgeSeconds: () => facts.snapshotAgeSeconds,
  };
  const metrics = createMetrics(source);
  const scrape = async (): Promise<Map<string, number>> => {
    const lines = (await metrics.render()).split('\n').filter((line) => line !== '' && !line.startsWith('#'));
    return new Map(
      lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.split(' ').at(-1))]),
    );
  };
  return { metrics, values, set, firewall, peers, time, facts, scrape };
}

/** Gives every metric a series: peers with traffic, losses and drops, one that is silent, and everything that is counted in between. */
export function fillMetrics({ metrics, set, time, facts, firewall }: MetricsRig): void {
  set(peerRow(1), gaugeColumn('last_probe_answer_ms'), time.now - 60_000);
  for (const slot of [0, 1]) {
    set(peerRow(slot), counterColumn('egress_bytes'), 5000 + slot);
    set(peerRow(slot), gaugeColumn('probe_rtt_us'), 80);
    set(peerRow(slot), gaugeColumn('path_mtu'), 1450);
    set(peerRow(slot), dropColumn('vxlan_vni'), 1);
    facts.losses.set(`node-${slot}`, slot / 2);
  }
  set(peerRow(0), gaugeColumn('last_probe_answer_ms'), time.now);
  firewall.set('pod_spoofed', 2);
  facts.reuseAgeSeconds = 45;
  facts.snapshotAgeSeconds = 12;
  facts.tunnelDrops = {
    sockets: { waitingBytes: 4096, droppedPackets: 3 },
    tun: { egressPackets: 5, ingressPackets: 0 },
  };
  metrics.cniOperation({ verb: 'ADD', outcome: 'ok', seconds: 0.004 });
  metrics.cniStepped({ verb: 'ADD', step: 'link', seconds: 0.002, isFailed: true });
  metrics.apiRequest({ verb: 'POST', resource: 'addressblocks', code: '409', seconds: 0.02 });
  metrics.apiTransferred({ resource: 'peers', direction: 'received', bytes: 1500 });
  metrics.apiRelisted('peers');
  metrics.blockClaimed({ outcome: 'claimed', seconds: 0.1 });
  metrics.repaired('bridge');
}
