// The demo's command line. Every refusal is one sentence with the remedy.
import { parseArgs } from 'node:util';

export interface DemoOptions {
  readonly nodes: number;
  readonly pods: number;
  readonly keep: boolean;
  readonly json: boolean;
}

export type ParsedOptions =
  | { readonly run: DemoOptions }
  | { readonly help: true }
  | { readonly refused: string };

const LIMITS = { nodes: [2, 16], pods: [1, 20] } as const;
const MAX_PODS_IN_ALL = 96;

export const HELP: string = `npm run demo -- [flags]

Brings up a cluster in network namespaces: nodes with the real agent, pods attached by the real CNI plugin, an API server. Shows that
every pod reaches every other, measures throughput beside the kernel's own VXLAN device, kills the data plane, control and the API
server under running traffic, and cleans up. Needs root. Nothing appears outside its namespaces.

  --nodes N   nodes, ${LIMITS.nodes.join(' to ')} (default 3)
  --pods N    pods on each node, ${LIMITS.pods.join(' to ')} (default 4)
  --keep      do not clean up: say how to look around, until Ctrl-C
  --json      print one JSON object at the end instead (npm run --silent demo -- --json)
  --help      this text
`;

export function parseDemoOptions(argv: readonly string[]): ParsedOptions {
  try {
    const { values } = parseArgs({
      args: [...argv],
      strict: true,
      options: {
        nodes: { type: 'string', default: '3' },
        pods: { type: 'string', default: '4' },
        keep: { type: 'boolean', default: false },
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    });
    if (values.help) return { help: true };
    const nodes = count('nodes', values.nodes);
    const pods = count('pods', values.pods);
    if (nodes * pods > MAX_PODS_IN_ALL) {
      return {
        refused: `Cannot run ${nodes * pods} pods in all: choose --nodes and --pods with a product of at most ${MAX_PODS_IN_ALL}`,
      };
    }
    return { run: { nodes, pods, keep: values.keep, json: values.json } };
  } catch (error) {
    const reason = error instanceof Error ? (error.message.split(/\.\s/)[0] ?? '') : String(error);
    return { refused: `${reason}; "npm run demo -- --help" lists the flags` };
  }
}

function count(name: keyof typeof LIMITS, text: string): number {
  const [least, most] = LIMITS[name];
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < least || value > most) {
    throw new Error(`Cannot use --${name} "${text}": write a whole number from ${least} to ${most}`);
  }
  return value;
}
