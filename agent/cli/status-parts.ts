// What `weft status` shows: the screen, and the parts as tables. Apart from the command, which asks the agent while this is loaded.
import type { NodeReport, RefusedReport } from '../../proto/node-report.ts';
import { sortedByName, sortedByUrgency } from '../report/peer-urgency.ts';
import { type Screen, statusScreen } from '../report/status-screen.ts';
import {
  attachmentsTable,
  connectionsTable,
  ipamTables,
  peersTable,
  sortedAllocations,
} from '../report/tables.ts';
import type { TableOptions } from '../report/text.ts';
import { faultsOf } from '../report/verdict.ts';
import type { Told } from './told-forms.ts';
import type { PartName } from './commands/status.ts';

interface Part {
  readonly table: (report: NodeReport, options: TableOptions) => string;
  readonly value: (report: NodeReport) => object;
}

const PARTS: Readonly<Record<PartName, Part>> = {
  peers: { table: peersTable, value: ({ peers }) => sortedByName(peers) },
  connections: { table: connectionsTable, value: sortedByUrgency },
  ipam: { table: ipamTables, value: ({ ipam }) => ipam },
  attachments: { table: attachmentsTable, value: ({ ipam }) => sortedAllocations(ipam) },
};

export const toldPart = (
  name: PartName,
  { report, ...options }: TableOptions & { readonly report: NodeReport },
): Told => ({
  text: () => PARTS[name].table(report, options),
  value: PARTS[name].value(report),
});

export const toldScreen = (report: NodeReport | RefusedReport, screen: Screen): Told => ({
  text: () => statusScreen(report, screen),
  value: report,
});

export const isWell = (report: NodeReport | RefusedReport): boolean =>
  'peers' in report && faultsOf(report).length === 0;
