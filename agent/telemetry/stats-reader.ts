// Reads the data plane's counters (proto/dataplane-stats.ts): one read of each worker's file, a typed view on their sum. And what they say
// about a peer: whether it is there. Times are CLOCK_MONOTONIC milliseconds, a parameter.
import { closeSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';

import {
  type Counter,
  FIRST_PEER_ROW,
  type Gauge,
  type ProcessGauge,
  NO_PEER_ROW,
  ROW_COLUMNS,
  STATS_ROWS,
  counterColumn,
  dropColumn,
  gaugeColumn,
  processGaugeColumn,
  statsIndex,
} from '../../proto/dataplane-stats.ts';
import type { DropReason } from '../../proto/drop-reason.ts';
import type { ConnectionState } from '../../proto/node-report.ts';
import { MOST_WORKERS, statsFileOf } from '../../proto/worker-files.ts';

/** Of all workers together. Rows that were not read, or not written yet, are zero. */
export interface StatsSnapshot {
  counter(row: number, counter: Counter): number;
  drops(row: number, reason: DropReason): number;
  /** When a peer was heard: by whichever worker heard it last. What probes tell: the first worker's, who alone sends them. */
  gauge(row: number, gauge: Gauge): number;
  /** The first worker's; `generation` is that of the table which all use. */
  process(gauge: ProcessGauge): number;
  /** The counter's sum over the rows, by worker. */
  byWorker(counter: Counter): readonly number[];
}

export const peerRow = (slot: number): number => FIRST_PEER_ROW + slot;

export interface StatsSource {
  readonly runDirectory: string;
  /** Rows up to that of the highest slot in use are read. */
  readonly highestSlot: number;
  /** How many there are now; what workers before them counted is counted still. */
  readonly workers: number;
}

/** Undefined when there is no file (no keeper ran yet). */
export function readStats({ runDirectory, highestSlot, workers }: StatsSource): StatsSnapshot | undefined {
  const rows = Math.min(STATS_ROWS, peerRow(highestSlot) + 1);
  const files: Float64Array[] = [];
  for (let worker = 0; worker < MOST_WORKERS; worker++) {
    const values = readRows(join(runDirectory, statsFileOf(worker)), rows);
    if (values === undefined) break;
    files.push(values);
  }
  return files.length === 0 ? undefined : statsSnapshot(files, workers);
}

function readRows(path: string, rows: number): Float64Array | undefined {
  const values = new Float64Array(rows * ROW_COLUMNS);
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch {
    return undefined;
  }
  try {
    readSync(fd, new Uint8Array(values.buffer), 0, values.byteLength, 0);
  } finally {
    closeSync(fd);
  }
  return values;
}

/** `files`: one for each worker that there was; the first `workers` of them work now. */
export function statsSnapshot(files: readonly Float64Array[], workers = 1): StatsSnapshot {
  const [first = new Float64Array(0)] = files;
  const at = (values: Float64Array, row: number, column: number): number =>
    values[statsIndex(row, column)] ?? 0;
  const sum = (row: number, column: number): number =>
    files.reduce((total, values) => total + at(values, row, column), 0);
  const generationOf = (values: Float64Array): number =>
    at(values, NO_PEER_ROW, processGaugeColumn('generation'));
  return {
    counter: (row, counter) => sum(row, counterColumn(counter)),
    drops: (row, reason) => sum(row, dropColumn(reason)),
    gauge: (row, gauge) =>
      gauge === 'last_ingress_ms'
        ? Math.max(...files.map((values) => at(values, row, gaugeColumn(gauge))))
        : at(first, row, gaugeColumn(gauge)),
    process: (gauge) =>
      gauge === 'generation'
        ? Math.min(...files.slice(0, workers).map(generationOf))
        : at(first, NO_PEER_ROW, processGaugeColumn(gauge)),
    byWorker: (counter) =>
      files.map((values) => {
        let total = 0;
        for (let index = statsIndex(0, counterColumn(counter)); index < values.length; index += ROW_COLUMNS) {
          total += values[index] ?? 0;
        }
        return total;
      }),
  };
}

/** Probe intervals without a word after which a peer counts as failed. */
const PATIENCE_INTERVALS = 3;

export interface ConnectionOptions {
  readonly slot: number;
  /** False for a peer that answers no probes (a kernel VXLAN device): nothing can be said against it. */
  readonly probes: boolean;
  readonly nowMs: number;
  readonly probeIntervalMs: number;
}

/** established: it answered or sent something lately; pending: never yet; failed: it did once, and no longer does. */
export function connectionState(stats: StatsSnapshot, options: ConnectionOptions): ConnectionState {
  if (!options.probes) return 'established';
  const heardAtMs = lastHeardMs(stats, options.slot);
  if (heardAtMs === 0) return 'pending';
  return options.nowMs - heardAtMs <= PATIENCE_INTERVALS * options.probeIntervalMs ? 'established' : 'failed';
}

/** 0 = never. */
export const lastHeardMs = (stats: StatsSnapshot, slot: number): number =>
  Math.max(stats.gauge(peerRow(slot), 'last_ingress_ms'), stats.gauge(peerRow(slot), 'last_probe_answer_ms'));

export interface Connection {
  readonly name: string;
  readonly slot: number;
  readonly state: ConnectionState;
  /** Since when, as far as we looked. */
  readonly sinceMs: number;
  /** Undefined: never measured. */
  readonly roundTripSeconds: number | undefined;
  /** Largest inner packet that the path takes. Undefined: the data plane has not said. */
  readonly pathMtu: number | undefined;
  /** 0 = never. */
  readonly lastHeardMs: number;
}

export interface ConnectionTracker {
  /** To be called often (each probe interval): a change that nobody looks at is not counted. */
  observe(peers: Iterable<ConnectionPeer>, stats: StatsSnapshot, nowMs: number): readonly Connection[];
  /** The last observation. */
  current(): readonly Connection[];
  /** Connections that were established and failed while the peer was a member. A restart of this agent or of the peer's is none: it is over before the patience ends. */
  terminations(): number;
}

export interface ConnectionPeer {
  readonly name: string;
  readonly slot: number;
  readonly probes: boolean;
}

export function createConnectionTracker(options: {
  probeIntervalMs: number;
  /** Told of every change, and of a peer that answers when it is first seen; not of one that does not, or answers no probes. */
  changed?: (connection: Connection, before: ConnectionState) => void;
}): ConnectionTracker {
  let connections = new Map<string, Connection>();
  let terminations = 0;
  return {
    observe(peers, stats, nowMs) {
      const observed = new Map<string, Connection>();
      for (const { name, slot, probes } of peers) {
        const { probeIntervalMs } = options;
        const state = connectionState(stats, { slot, probes, nowMs, probeIntervalMs });
        const before = connections.get(name);
        const roundTripUs = stats.gauge(peerRow(slot), 'probe_rtt_us');
        const pathMtu = stats.gauge(peerRow(slot), 'path_mtu');
        const connection: Connection = {
          name,
          slot,
          state,
          sinceMs: before?.state === state ? before.sinceMs : nowMs,
          roundTripSeconds: roundTripUs > 0 ? roundTripUs / 1e6 : undefined,
          pathMtu: pathMtu > 0 ? pathMtu : undefined,
          lastHeardMs: lastHeardMs(stats, slot),
        };
        observed.set(name, connection);
        // A peer that answered before the first look has come up like any other. What was heard of it before we started says nothing.
        const was = before?.state ?? (probes && state === 'established' ? 'pending' : state);
        if (was === state) continue;
        if (was === 'established') terminations += 1;
        options.changed?.(connection, was);
      }
      connections = observed;
      return [...observed.values()];
    },
    current: () => [...connections.values()],
    terminations: () => terminations,
  };
}
