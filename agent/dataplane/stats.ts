// The counters and gauges of proto/dataplane-stats.ts over a mapped file. Row 0 belongs to no peer, row 1 is the node, row 2 + slot a
// peer: the numbering of ForwardingTable.owners. Counters only grow; they outlive this process.
import {
  COUNTERS,
  GAUGES,
  NO_PEER_ROW,
  PROCESS_GAUGES,
  ROW_COLUMNS,
  STATS_ROWS,
  counterColumn,
  dropColumn,
  gaugeColumn,
  processGaugeColumn,
} from '../../proto/dataplane-stats.ts';
import type { Counter, Gauge, ProcessGauge } from '../../proto/dataplane-stats.ts';
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

export class DataplaneStats {
  readonly cells: Float64Array;

  /** `cells` has at least STATS_ROWS × ROW_COLUMNS entries. */
  constructor(cells: Float64Array = new Float64Array(STATS_ROWS * ROW_COLUMNS)) {
    this.cells = cells;
  }

  /** `column` of COUNTER or DROP. */
  add(row: number, column: number, amount: number): void {
    this.cells[row * ROW_COLUMNS + column]! += amount; // !: rows and columns are within the layout
  }

  /** `column` of GAUGE. */
  set(row: number, column: number, value: number): void {
    this.cells[row * ROW_COLUMNS + column] = value;
  }

  get(row: number, column: number): number {
    return this.cells[row * ROW_COLUMNS + column] ?? 0;
  }

  /** `column` of PROCESS_GAUGE. */
  setProcess(column: number, value: number): void {
    this.set(NO_PEER_ROW, column, value);
  }
}
