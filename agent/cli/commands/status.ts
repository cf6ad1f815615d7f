// `weft status`: is this node well? And its parts as tables.
import { askAnyReport, askReport } from '../agent-client.ts';
import type { Command } from '../command.ts';
import { wrongUse } from '../flags.ts';
import { nearest } from '../nearest.ts';
import { OUTPUT, formatTold } from '../told-forms.ts';
import { type Shown, type Timing, WATCH, systemTiming, watching } from '../watching.ts';

const PART_NAMES = ['peers', 'connections', 'ipam', 'attachments'] as const;
export type PartName = (typeof PART_NAMES)[number];

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
  words: PART_NAMES,
  async run(invocation) {
    const { positionals, flags, env, stdout } = invocation;
    const [name, unexpected] = positionals;
    if (unexpected !== undefined)
      throw wrongUse(`Cannot read "${unexpected}": one part can be told at a time`);
    const part = name === undefined ? undefined : partOf(name);
    // The agent makes its report while this process loads what shows it.
    const show = async (): Promise<Shown> => {
      if (part === undefined) {
        const [report, parts] = await Promise.all([askAnyReport(env), import('../status-parts.ts')]);
        const told = parts.toldScreen(report, { columns: stdout.columns, rows: stdout.rows });
        return { text: await formatTold(told, flags), exitCode: parts.isWell(report) ? 0 : 1 };
      }
      const [report, parts] = await Promise.all([askReport(env), import('../status-parts.ts')]);
      const told = parts.toldPart(part, { report, headers: flags['no-headers'] !== true });
      return { text: await formatTold(told, flags), exitCode: 0 };
    };
    return watching(invocation, { show, timing });
  },
});

export const statusCommand: Command = createStatusCommand(systemTiming);

function partOf(name: string): PartName {
  const part = PART_NAMES.find((known) => known === name);
  if (part !== undefined) return part;
  const near = nearest(name, PART_NAMES);
  throw wrongUse(
    `Cannot tell "${name}": ${near === undefined ? '' : `did you mean "${near}"? `}there is: ${PART_NAMES.join(', ')}`,
  );
}
