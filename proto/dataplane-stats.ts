// Layout of the data plane's counters: one fixed file of little-endian float64 (exact to 2^53), mapped shared by the data plane and
// read by control. It outlives both, so counters survive a killed data plane. Row 0 counts what belongs to no peer, row 1 the node
// itself, row 2 + slot the peer in that slot (the numbering of ForwardingTable.owners). Histograms of the process come before row 0.
//
//   histogram: | one counter per bound | above all bounds | sum |
//   row:  | 0 … COUNTERS-1: counters | COUNTERS …: one counter per DROP_REASONS entry | GAUGES |
import { crc32 } from './crc32.ts';
import { DROP_REASONS, type DropReason } from './drop-reason.ts';

/** Peers that one table can hold: every node of a /12 with 110 pods each. */
export const PEER_SLOTS = 8192;
export const NO_PEER_ROW = 0;
export const SELF_ROW = 1;
export const FIRST_PEER_ROW = 2;

/** Monotonic per row. Packets and bytes are inner IPv4 packets as they are on the wire (after segmentation). */
export const COUNTERS = [
  'egress_packets',
  'egress_bytes',
  'ingress_packets',
  'ingress_bytes',
  'probes_sent',
  'probes_answered',
] as const;

/** Last value per row; times are CLOCK_MONOTONIC milliseconds, 0 = never. */
export const GAUGES = [
  'last_ingress_ms',
  'last_probe_answer_ms',
  'first_unanswered_probe_ms', // 0 = nothing outstanding
  'probe_rtt_us',
  'path_mtu', // largest inner packet to the peer, 0 = not known
  'last_request_ms', // when the peer's own probe was heard
] as const;

/** Of the whole data plane; they live in row 0's gauge columns. */
export const PROCESS_GAUGES = [
  'generation',
  'started_ms',
  'loops',
  'process_id',
  'longest_pause_us', // of the loop (dataplane/loop-pace.ts): of the minute that is under way, and of the one before
  'longest_pause_before_us',
] as const;

/** Distributions of the process: upper bounds of the buckets, included. A value counts in one bucket alone. */
export const HISTOGRAMS = {
  probe_round_trip_us: [50, 100, 200, 300, 500, 1000, 2000, 5000, 10_000, 50_000, 100_000, 500_000],
  // Passes of the loop with packets.
  pass_us: [50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000, 500_000],
  // What a pass took: packets from the TUN, datagrams from the socket; what the kernel has merged is one.
  egress_batch: [1, 2, 4, 8, 16, 32, 64],
  ingress_batch: [1, 2, 4, 8, 16, 32, 64],
} as const;

export type HistogramName = keyof typeof HISTOGRAMS;
export type Counter = (typeof COUNTERS)[number];
export type Gauge = (typeof GAUGES)[number];
export type ProcessGauge = (typeof PROCESS_GAUGES)[number];

const HISTOGRAM_NAMES = Object.keys(HISTOGRAMS) as HistogramName[]; // as: keys() forgets the names
const cellsOf = (name: HistogramName): number => HISTOGRAMS[name].length + 2;

/** Index of a histogram's first cell in a Float64Array over the file. */
export const histogramIndex = (name: HistogramName): number =>
  HISTOGRAM_NAMES.slice(0, HISTOGRAM_NAMES.indexOf(name)).reduce((sum, other) => sum + cellsOf(other), 0);

const GAUGE_BASE = COUNTERS.length + DROP_REASONS.length;

/** Columns of a row, padded to a cache line of eight float64. */
export const ROW_COLUMNS: number = Math.ceil((GAUGE_BASE + GAUGES.length) / 8) * 8;
export const STATS_ROWS: number = FIRST_PEER_ROW + PEER_SLOTS;
/** Where row 0 begins: behind the histograms, at a cache line. */
const ROW_BASE: number = Math.ceil(HISTOGRAM_NAMES.reduce((sum, name) => sum + cellsOf(name), 0) / 8) * 8;
/** Index of a cell in a Float64Array over the file. Column 0 of the row behind the last is how many cells the rows before it take. */
export const statsIndex = (row: number, column: number): number => ROW_BASE + row * ROW_COLUMNS + column;
export const STATS_CELLS: number = statsIndex(STATS_ROWS, 0);
/** A multiple of the page size, so that it can be mapped. */
export const STATS_BYTES: number = Math.ceil((STATS_CELLS * 8) / 65536) * 65536;

/** Name of the file under the run directory. It tells the layout, so that agents of two versions never map one file in two ways. */
export const STATS_FILE: string = `dataplane.stats.${crc32(
  new TextEncoder().encode(
    [
      PEER_SLOTS,
      ...COUNTERS,
      ...DROP_REASONS,
      ...GAUGES,
      ...PROCESS_GAUGES,
      JSON.stringify(HISTOGRAMS),
    ].join(),
  ),
)
  .toString(16)
  .padStart(8, '0')}`;

/** Column of each name, from `base` on. */
function columnsOf<Name extends string>(names: readonly Name[], base: number): (name: Name) => number {
  const columns = Object.fromEntries(names.map((name, at) => [name, base + at])) as Record<Name, number>; // as: fromEntries forgets the names
  return (name) => columns[name];
}

export const counterColumn: (counter: Counter) => number = columnsOf(COUNTERS, 0);
export const dropColumn: (reason: DropReason) => number = columnsOf(DROP_REASONS, COUNTERS.length);
export const gaugeColumn: (gauge: Gauge) => number = columnsOf(GAUGES, GAUGE_BASE);
export const processGaugeColumn: (gauge: ProcessGauge) => number = columnsOf(PROCESS_GAUGES, GAUGE_BASE);
