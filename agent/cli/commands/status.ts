// `weft status`: is this node well? And its parts as tables.
import type { NodeReport, RefusedReport } from '../../../proto/node-report.ts';
import { sortedByName, sortedByUrgency } from '../../report/peer-urgency.ts';
import { type Screen, statusScreen } from '../../report/status-screen.ts';
import {
  attachmentsTable,
  connectionsTable,
  ipamTables,
  peersTable,
  sortedAllocations,
} from '../../report/tables.ts';
import type { TableOptions } from '../../report/text.ts';
import { faultsOf } from '../../report/verdict.ts';
import { askAnyReport, askReport } from '../agent-client.ts';
import type { Command } from '../command.ts';
import { wrongUse } from '../flags.ts';
import { nearest } from '../nearest.ts';
import { OUTPUT, type Told, formatTold } from '../told-forms.ts';
import { type Shown, type Timing, WATCH, systemTiming, watching } from '../watching.ts';

interface Part {
  readonly table: (report: NodeReport, options: TableOptions) => string;
  readonly value: (report: NodeReport) => object;
}

const PARTS: Readonly<Record<string, Part>> = {
  peers: { table: peersTable, value: ({ peers }) => sortedByName(peers) },
  connections: { table: connectionsTable, value: sortedByUrgency },
  ipam: { table: ipamTables, value: ({ ipam }) => ipam },
  attachments: { table: attachmentsTable, value: ({ ipam }) => sortedAllocations(ipam) },
};

export const createStatusCommand = (timing: Timing): Command => ({
  name: 'status',
  usage: '[peers|connections|ipam|attachments] [flags]',
  summary: 'whether this node is well; its peers, blocks and attachments in one screen',
  help: `Without an argument: one screen. The first line says whether the node is well, or what is wrong; then what it is
and has, the peers that need a look first, and the last warnings and errors, each with what to do.

  peers        every peer: underlay address, VTEP MAC, blocks, largest packet of its path, version
  connections  every peer by how much it needs a look: state and for how long, round trip, loss of the last
               minute, path MTU, last heard, packets sent and received
  ipam         the range, this node's blocks, every node's share, the addresses of this node's pods
  attachments  this node's pods: address, interface on both sides, container, age

Exit code: 0 the node is well (of a part: it could be told), 1 something is wrong.

Examples:
  weft status --watch
  weft status connections | head
  weft status attachments -o json
`,
  flags: {
    output: OUTPUT,
    watch: WATCH,
    'no-headers': { type: 'boolean', meaning: 'tables without the names of their columns' },
  },
  words: Object.keys(PARTS),
  hearsSignals: ({ watch }) => watch !== undefined,
  async run(invocation) {
    const { positionals, flags, env, stdout } = invocation;
    const [name, unexpected] = positionals;
    if (unexpected !== undefined)
      throw wrongUse(`Cannot read "${unexpected}": one part can be told at a time`);
    const part = name === undefined ? undefined : partOf(name);
    if (part === undefined && flags['no-headers'] === true)
      throw wrongUse('--no-headers belongs to a part, as in "weft status peers --no-headers"');
    const show = async (): Promise<Shown> => {
      if (part === undefined) {
        const report = await askAnyReport(env);
        const told = screenOf(report, { columns: stdout.columns, rows: stdout.rows });
        return { text: formatTold(told, flags), exitCode: isWell(report) ? 0 : 1 };
      }
      const report = await askReport(env);
      const options = { headers: flags['no-headers'] !== true };
      const told = { text: () => part.table(report, options), value: part.value(report) };
      return { text: formatTold(told, flags), exitCode: 0 };
    };
    return watching(invocation, { show, timing });
  },
});

export const statusCommand: Command = createStatusCommand(systemTiming);

const screenOf = (report: NodeReport | RefusedReport, screen: Screen): Told => ({
  text: () => statusScreen(report, screen),
  value: report,
});

const isWell = (report: NodeReport | RefusedReport): boolean =>
  'peers' in report && faultsOf(report).length === 0;

function partOf(name: string): Part {
  const part = Object.hasOwn(PARTS, name) ? PARTS[name] : undefined;
  if (part !== undefined) return part;
  const near = nearest(name, Object.keys(PARTS));
  throw wrongUse(
    `Cannot tell "${name}": ${near === undefined ? '' : `did you mean "${near}"? `}there is: ${Object.keys(PARTS).join(', ')}`,
  );
}
