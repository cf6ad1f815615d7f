// Layout of the data plane's counters: one fixed file of little-endian float64 (exact to 2^53), mapped shared by the data plane and
// read by control. It outlives both, so counters survive a killed data plane. Row 0 counts what belongs to no peer, row 1 the node
// itself, row 2 + slot the peer in that slot (the numbering of ForwardingTable.owners).
//
//   row:  | 0 … COUNTERS-1: counters | COUNTERS …: one counter per DROP_REASONS entry | GAUGES |
import { crc32 } from './crc32.ts';
import { DROP_REASONS } from './drop-reason.ts';

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
] as const;

/** Of the whole data plane; they live in row 0's gauge columns. */
export const PROCESS_GAUGES = ['generation', 'started_ms', 'loops', 'process_id'] as const;

export type Counter = (typeof COUNTERS)[number];
export type Gauge = (typeof GAUGES)[number];
export type ProcessGauge = (typeof PROCESS_GAUGES)[number];

const GAUGE_BASE = COUNTERS.length + DROP_REASONS.length;

/** Columns of a row, padded to a cache line of eight float64. */
export const ROW_COLUMNS: number = Math.ceil((GAUGE_BASE + GAUGES.length) / 8) * 8;
export const STATS_ROWS: number = FIRST_PEER_ROW + PEER_SLOTS;
/** A multiple of the page size, so that it can be mapped. */
export const STATS_BYTES: number = Math.ceil((STATS_ROWS * ROW_COLUMNS * 8) / 65536) * 65536;

/** Name of the file under the run directory. It tells the layout, so that agents of two versions never map one file in two ways. */
export const STATS_FILE: string = `dataplane.stats.${crc32(
  new TextEncoder().encode([PEER_SLOTS, ...COUNTERS, ...DROP_REASONS, ...GAUGES, ...PROCESS_GAUGES].join()),
)
  .toString(16)
  .padStart(8, '0')}`;

export const counterColumn = (counter: Counter): number => COUNTERS.indexOf(counter);
export const dropColumn = (reason: (typeof DROP_REASONS)[number]): number =>
  COUNTERS.length + DROP_REASONS.indexOf(reason);
export const gaugeColumn = (gauge: Gauge): number => GAUGE_BASE + GAUGES.indexOf(gauge);
export const processGaugeColumn = (gauge: ProcessGauge): number => GAUGE_BASE + PROCESS_GAUGES.indexOf(gauge);
/** Index into a Float64Array over the file. */
export const statsIndex = (row: number, column: number): number => row * ROW_COLUMNS + column;
