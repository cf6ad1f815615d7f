// The observation of a node of a large cluster: control's own, over a view, a statistics file and a pool that are as large. What it is told by
// others (the API's link, the node's settings) are values.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import type { ClusterLink } from '../../agent/control/cluster/cluster-link.ts';
import type { ClusterView } from '../../agent/control/cluster/cluster-view.ts';
import { type Observation, createObservation } from '../../agent/control/status/observation.ts';
import type { LoggedAddressPool } from '../../agent/ipam/address-pool.ts';
import { parseSettings } from '../../agent/settings.ts';
import { createLogger } from '../../agent/telemetry/logger.ts';
import { peerRow } from '../../agent/telemetry/stats-reader.ts';
import { ipv4 } from '../../proto/address.ts';
import {
  type Counter,
  type Gauge,
  STATS_BYTES,
  counterColumn,
  gaugeColumn,
  statsIndex,
} from '../../proto/dataplane-stats.ts';
import { statsFileOf } from '../../proto/worker-files.ts';
import { RANGE, largeView } from './large-view.ts';

export interface LargeObservationOptions {
  readonly peers: number;
  readonly pods: number;
  /** Two workers' statistics are written there. */
  readonly runDirectory: string;
  /** What control knows; all of those peers, unless told. */
  readonly view?: () => ClusterView;
}

const WORKERS = 2;
/** Nobody writes the statistics again: the peers are heard from for so long. */
const STAYS_MS = 3_600_000;

export function largeObservation({ peers, pods, runDirectory, view }: LargeObservationOptions): Observation {
  const monotonicMs = (): number => Number(process.hrtime.bigint() / 1_000_000n);
  const whole = largeView(peers + 1);
  mkdirSync(runDirectory, { recursive: true });
  for (let worker = 0; worker < WORKERS; worker++) {
    const values = new Float64Array(STATS_BYTES / 8);
    for (const { slot } of whole.reachable.values()) {
      const set = (column: number, value: number): void =>
        void (values[statsIndex(peerRow(slot), column)] = value);
      const counters: readonly Counter[] = [
        'egress_packets',
        'egress_bytes',
        'ingress_packets',
        'ingress_bytes',
      ];
      for (const [at, counter] of counters.entries()) set(counterColumn(counter), 1_234_567_890 + slot * at);
      const gauges: readonly (readonly [Gauge, number])[] = [
        ['last_ingress_ms', monotonicMs() + STAYS_MS],
        ['last_probe_answer_ms', monotonicMs() + STAYS_MS],
        ['probe_rtt_us', 83 + (slot % 100)],
        ['path_mtu', 1450],
      ];
      for (const [gauge, value] of gauges) set(gaugeColumn(gauge), value);
    }
    writeFileSync(join(runDirectory, statsFileOf(worker)), new Uint8Array(values.buffer));
  }
  const allocations = Array.from({ length: pods }, (_, index) => ({
    containerId: index.toString(16).padStart(64, '0'),
    interfaceName: 'eth0',
    netnsInode: index,
    address: ipv4(RANGE.base + 2 + index),
    sequence: index,
    hostInterface: `vethwe${index}`,
    podName: `some-namespace/some-deployment-7c65d6cfc9-${index}`,
    atMs: Date.now(),
  }));
  const pool: Partial<LoggedAddressPool> = {
    usage: () => ({ blocks: 4, total: 255, used: pods, free: 255 - pods }),
    list: () => allocations,
    freed: () => [],
    logFailure: () => undefined,
    pendingAllocations: () => 0,
    reuseAgeMs: () => undefined,
  };
  const state = { synced: true, isFollowing: true, lastSyncAgeMs: 1200 };
  const link = {
    identity: () => undefined,
    claims: () => undefined,
    reflectors: () => ({ peers: state, blocks: state }),
    troubles: () => [],
    serviceRanges: () => ['10.96.0.0/12'],
  };
  return createObservation({
    settings: parseSettings({
      HOSTNAME: 'node-0',
      WEFT_RUN_DIR: runDirectory,
      WEFT_STATE_DIR: runDirectory,
      WEFT_DATAPLANE_WORKERS: String(WORKERS),
    }),
    version: '0.1.0',
    nodeAddress: '192.168.0.0',
    troubles: () => [],
    mtu: () => 1450,
    pool: pool as LoggedAddressPool, // as: what is not there is not asked for
    link: () => link as unknown as ClusterLink, // as: what is not there is not asked for
    view: view ?? (() => whole),
    gateway: () => '10.32.0.1',
    notReady: () => [],
    selfCheck: () => ({ faults: () => [], ageSeconds: () => undefined }),
    configurationTrouble: () => undefined,
    log: createLogger({ role: 'control', level: 'error', format: 'json' }),
    recent: { list: () => [] },
    environment: {},
    monotonicMs,
    viewMs: () => performance.now(),
    wallMs: Date.now,
  });
}
