// Reads the data plane's counters (proto/dataplane-stats.ts): one read of each worker's file, a typed view on their sum. And what they say
// about a peer: whether it is there. Times are CLOCK_MONOTONIC milliseconds, a parameter.
import { closeSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';

import {
  type Counter,
  FIRST_PEER_ROW,
  HISTOGRAMS,
  type HistogramName,
  type Gauge,
  type ProcessGauge,
  NO_PEER_ROW,
  ROW_COLUMNS,
  STATS_ROWS,
  counterColumn,
  dropColumn,
  gaugeColumn,
  histogramIndex,
  processGaugeColumn,
  statsIndex,
} from '../../proto/dataplane-stats.ts';
import { DROP_REASONS, type DropReason } from '../../proto/drop-reason.ts';
import type { ConnectionState } from '../../proto/node-report.ts';
import { QUIET_PEERS_A_ROUND } from '../../proto/probe.ts';
import { MOST_WORKERS, statsFileOf } from '../../proto/worker-files.ts';
import type { Cells } from './busiest-peers.ts';

/** Of all workers together. Rows that were not read, or not written yet, are zero. */
export interface StatsSnapshot {
  counter(row: number, counter: Counter): number;
  drops(row: number, reason: DropReason): number;
  /** Writes them in the order of DROP_REASONS, behind their sum. */
  allDrops(row: number, cells: Cells): void;
  /** When a peer, or its own probe, was heard: by whichever worker heard it last. What probes tell: the first worker's, who alone sends them. */
  gauge(row: number, gauge: Gauge): number;
  /** The first worker's; `generation` is that of the table which all use. */
  process(gauge: ProcessGauge): number;
  /** Of the workers that there are now. */
  processByWorker(gauge: ProcessGauge): readonly number[];
  /** The counter's sum over the rows, by worker. */
  byWorker(counter: Counter): readonly number[];
  /** Of all workers, since counting began. */
  histogram(name: HistogramName): HistogramCounts;
}

export interface HistogramCounts {
  readonly bounds: readonly number[];
  /** By bucket, not cumulative; one more than bounds: what is above all of them. */
  readonly counts: readonly number[];
  readonly sum: number;
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

/** The highest slot of which there is a count: peers that left have still their part in the sums over the rows. Reads all there is, some MB. */
export function highestSlotCounted(runDirectory: string): number {
  let cells = 0;
  for (let worker = 0; worker < MOST_WORKERS; worker++) {
    const values = readRows(join(runDirectory, statsFileOf(worker)), STATS_ROWS);
    if (values === undefined) break;
    cells = Math.max(cells, values.findLastIndex((value) => value !== 0) + 1);
  }
  return Math.max(0, Math.ceil((cells - statsIndex(FIRST_PEER_ROW, 0)) / ROW_COLUMNS) - 1);
}

function readRows(path: string, rows: number): Float64Array | undefined {
  const values = new Float64Array(statsIndex(rows, 0));
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

/** They are one behind the other. */
const FIRST_DROP_COLUMN = Math.min(...DROP_REASONS.map(dropColumn));

/** `files`: one for each worker that there was; the first `workers` of them work now. */
export function statsSnapshot(files: readonly Float64Array[], workers = 1): StatsSnapshot {
  const [first = new Float64Array(0)] = files;
  const at = (values: Float64Array, row: number, column: number): number =>
    values[statsIndex(row, column)] ?? 0;
  // Loops: these are asked many thousand times a second where there are thousands of peers.
  const sum = (row: number, column: number): number => {
    let total = 0;
    for (const values of files) total += at(values, row, column);
    return total;
  };
  const latest = (row: number, column: number): number => {
    let most = 0;
    for (const values of files) most = Math.max(most, at(values, row, column));
    return most;
  };
  const generationOf = (values: Float64Array): number =>
    at(values, NO_PEER_ROW, processGaugeColumn('generation'));
  return {
    counter: (row, counter) => sum(row, counterColumn(counter)),
    drops: (row, reason) => sum(row, dropColumn(reason)),
    allDrops(row, { values, at: first }) {
      let total = 0;
      for (let index = 0; index < DROP_REASONS.length; index++) {
        const count = sum(row, FIRST_DROP_COLUMN + index);
        values[first + 1 + index] = count;
        total += count;
      }
      values[first] = total;
    },
    gauge: (row, gauge) =>
      gauge === 'last_ingress_ms' || gauge === 'last_request_ms'
        ? latest(row, gaugeColumn(gauge))
        : at(first, row, gaugeColumn(gauge)),
    process: (gauge) =>
      gauge === 'generation'
        ? Math.min(...files.slice(0, workers).map(generationOf))
        : at(first, NO_PEER_ROW, processGaugeColumn(gauge)),
    processByWorker: (gauge) =>
      files.slice(0, workers).map((values) => at(values, NO_PEER_ROW, processGaugeColumn(gauge))),
    byWorker: (counter) =>
      files.map((values) => {
        let total = 0;
        for (let index = statsIndex(0, counterColumn(counter)); index < values.length; index += ROW_COLUMNS) {
          total += values[index] ?? 0;
        }
        return total;
      }),
    histogram(name) {
      const bounds = HISTOGRAMS[name];
      const cells = Array.from({ length: bounds.length + 2 }, (_, cell) =>
        files.reduce((total, values) => total + (values[histogramIndex(name) + cell] ?? 0), 0),
      );
      return { bounds, counts: cells.slice(0, -1), sum: cells.at(-1) ?? 0 };
    },
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
  /** Peers that are probed. Many are asked in turn (dataplane/probe-round.ts), so that more time passes between two answers. */
  readonly probedPeers: number;
}

/** A new peer answers within a second, where it has the time to start. */
const NEW_PEER_PATIENCE_MS = 10_000;

/** established: it answered or sent something lately; pending: it is new, and has not yet; failed: it does not any more, or never did. */
export function connectionState(stats: StatsSnapshot, options: ConnectionOptions): ConnectionState {
  const { slot, nowMs, probeIntervalMs, probedPeers } = options;
  if (!options.probes) return 'established';
  const heardAtMs = lastHeardMs(stats, slot);
  const unansweredMs = stats.gauge(peerRow(slot), 'first_unanswered_probe_ms');
  if (heardAtMs === 0) {
    return unansweredMs !== 0 && nowMs - unansweredMs > NEW_PEER_PATIENCE_MS ? 'failed' : 'pending';
  }
  const patienceMs = PATIENCE_INTERVALS * probeIntervalMs;
  const turnMs = Math.max(0, Math.ceil(probedPeers / QUIET_PEERS_A_ROUND) - 1) * probeIntervalMs;
  const owesAnswer = unansweredMs !== 0 && nowMs - unansweredMs > patienceMs;
  return nowMs - heardAtMs <= (owesAnswer ? patienceMs : patienceMs + turnMs) ? 'established' : 'failed';
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
  const connections = new Map<string, Connection>();
  let terminations = 0;
  return {
    observe(peers, stats, nowMs) {
      const { probeIntervalMs } = options;
      const known = [...peers];
      const probedPeers = known.filter(({ probes }) => probes).length;
      for (const { name, slot, probes } of known) {
        const state = connectionState(stats, { slot, probes, nowMs, probeIntervalMs, probedPeers });
        const before = connections.get(name);
        const connection = connectionOf(stats, { name, slot, state, nowMs, before });
        if (connection !== before) connections.set(name, connection);
        // A peer that answered before the first look has come up like any other. What was heard of it before we started says nothing.
        const was = before?.state ?? (probes && state === 'established' ? 'pending' : state);
        if (was === state) continue;
        if (was === 'established') terminations += 1;
        options.changed?.(connection, was);
      }
      if (connections.size > known.length) {
        const names = new Set(known.map(({ name }) => name));
        for (const name of connections.keys()) if (!names.has(name)) connections.delete(name);
      }
      return [...connections.values()];
    },
    current: () => [...connections.values()],
    terminations: () => terminations,
  };
}

/** `before` itself when nothing changed: in a large cluster that is most of them, each second. */
function connectionOf(
  stats: StatsSnapshot,
  options: {
    name: string;
    slot: number;
    state: ConnectionState;
    nowMs: number;
    before: Connection | undefined;
  },
): Connection {
  const { name, slot, state, nowMs, before } = options;
  const roundTripUs = stats.gauge(peerRow(slot), 'probe_rtt_us');
  const roundTripSeconds = roundTripUs > 0 ? roundTripUs / 1e6 : undefined;
  const pathMtu = stats.gauge(peerRow(slot), 'path_mtu') || undefined;
  const heardMs = lastHeardMs(stats, slot);
  if (
    before?.state === state &&
    before.slot === slot &&
    before.lastHeardMs === heardMs &&
    before.pathMtu === pathMtu &&
    before.roundTripSeconds === roundTripSeconds
  ) {
    return before;
  }
  const sinceMs = before?.state === state ? before.sinceMs : nowMs;
  return { name, slot, state, sinceMs, roundTripSeconds, pathMtu, lastHeardMs: heardMs };
}
