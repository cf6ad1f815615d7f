// The counters, gauges and histograms of proto/dataplane-stats.ts over a mapped file. Row 0 belongs to no peer, row 1 is the node, row 2 + slot a
// peer: the numbering of ForwardingTable.owners. Counters only grow; they outlive this process.
import {
  COUNTERS,
  GAUGES,
  HISTOGRAMS,
  NO_PEER_ROW,
  PROCESS_GAUGES,
  STATS_CELLS,
  counterColumn,
  dropColumn,
  gaugeColumn,
  histogramIndex,
  processGaugeColumn,
  statsIndex,
} from '../../proto/dataplane-stats.ts';
import type { Counter, Gauge, HistogramName, ProcessGauge } from '../../proto/dataplane-stats.ts';
import { DROP_REASONS, type DropReason } from '../../proto/drop-reason.ts';

type Columns<Name extends string> = { readonly [Key in Name]: number };

const columns = <Name extends string>(
  names: readonly Name[],
  column: (name: Name) => number,
): Columns<Name> => Object.fromEntries(names.map((name) => [name, column(name)])) as Columns<Name>; // as: fromEntries forgets the names

export const COUNTER: Columns<Counter> = columns(COUNTERS, counterColumn);
export const DROP: Columns<DropReason> = columns(DROP_REASONS, dropColumn);
export const GAUGE: Columns<Gauge> = columns(GAUGES, gaugeColumn);
export const PROCESS_GAUGE: Columns<ProcessGauge> = columns(PROCESS_GAUGES, processGaugeColumn);

export interface Histogram {
  /** Of its first cell. */
  readonly index: number;
  readonly bounds: readonly number[];
}

const histogram = (name: HistogramName): Histogram => ({
  index: histogramIndex(name),
  bounds: HISTOGRAMS[name],
});
export const HISTOGRAM: { readonly [Name in HistogramName]: Histogram } = {
  probe_round_trip_us: histogram('probe_round_trip_us'),
  pass_us: histogram('pass_us'),
  egress_batch: histogram('egress_batch'),
  ingress_batch: histogram('ingress_batch'),
};

export class DataplaneStats {
  readonly cells: Float64Array;

  /** `cells` has at least STATS_CELLS entries. */
  constructor(cells: Float64Array = new Float64Array(STATS_CELLS)) {
    this.cells = cells;
  }

  /** `column` of COUNTER or DROP. */
  add(row: number, column: number, amount: number): void {
    this.cells[statsIndex(row, column)]! += amount; // !: rows and columns are within the layout
  }

  /** `column` of GAUGE. */
  set(row: number, column: number, value: number): void {
    this.cells[statsIndex(row, column)] = value;
  }

  get(row: number, column: number): number {
    return this.cells[statsIndex(row, column)] ?? 0;
  }

  /** `column` of PROCESS_GAUGE. */
  setProcess(column: number, value: number): void {
    this.set(NO_PEER_ROW, column, value);
  }

  observe({ index, bounds }: Histogram, value: number): void {
    let bucket = 0;
    while (bucket < bounds.length && value > bounds[bucket]!) bucket++; // !: below the length
    this.cells[index + bucket]! += 1; // !: within the layout
    this.cells[index + bounds.length + 1]! += value; // !: likewise
  }
}
