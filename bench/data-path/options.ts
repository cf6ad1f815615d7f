// The command line of `npm run bench`. Every refusal is one sentence with the remedy.
import { parseArgs } from 'node:util';

import { MEASURES } from './measures.ts';
import { SIDE_NAMES, type SideName } from './side.ts';

export interface BenchOptions {
  readonly rounds: number;
  /** Of one run of the load. */
  readonly seconds: number;
  readonly measures: readonly string[];
  readonly sides: readonly SideName[];
  readonly crowd: number;
  readonly json: string | undefined;
  readonly svg: string | undefined;
  readonly profile: boolean;
  readonly urgent: boolean;
  readonly steered: boolean;
}

export type ParsedOptions =
  | { readonly run: BenchOptions }
  | { readonly help: true }
  | { readonly refused: string };

const MEASURE_NAMES = MEASURES.map(({ name }) => name);

export const HELP: string = `npm run bench -- [flags]

Two nodes in network namespaces, each with one processor core for all its programs, and on each pair of nodes something else that
carries the pods' packets: ${SIDE_NAMES.join(', ')}. Measures them in turns and prints medians, spreads and ratios. Needs root, two
idle cores and nothing else running; wireguard-go needs Go, and is left out without it.

  --only A,B      measures: ${MEASURE_NAMES.join(', ')} (default all)
  --sides A,B     sides: ${SIDE_NAMES.join(', ')} (default all)
  --rounds N      samples of each (default 3)
  --seconds S     of one run of the load (default 1.5)
  --peers N       peers that nobody is, in Weft's table (default 998)
  --json FILE     all samples and the facts of the machine
  --svg FILE      a plot
  --profile       instead: where the time goes, of Weft alone under one TCP stream and under UDP of 64 B
  --steered       receive work of each node on its own core (RPS), as a network card's interrupts would have it
  --urgent        everything at the highest priority (nice -19), where the machine is shared with others
  --help          this text
`;

export function parseOptions(argv: readonly string[]): ParsedOptions {
  try {
    const { values } = parseArgs({
      args: [...argv],
      strict: true,
      options: {
        only: { type: 'string', default: MEASURE_NAMES.join(',') },
        sides: { type: 'string', default: SIDE_NAMES.join(',') },
        rounds: { type: 'string', default: '3' },
        seconds: { type: 'string', default: '1.5' },
        peers: { type: 'string', default: '998' },
        json: { type: 'string' },
        svg: { type: 'string' },
        profile: { type: 'boolean', default: false },
        urgent: { type: 'boolean', default: false },
        steered: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    });
    if (values.help) return { help: true };
    return {
      run: {
        rounds: numberIn('rounds', values.rounds, [1, 1000]),
        seconds: numberIn('seconds', values.seconds, [0.2, 600]),
        crowd: numberIn('peers', values.peers, [0, 10_000]),
        measures: chosen('only', values.only, MEASURE_NAMES),
        sides: chosen('sides', values.sides, SIDE_NAMES),
        json: values.json,
        svg: values.svg,
        profile: values.profile,
        urgent: values.urgent,
        steered: values.steered,
      },
    };
  } catch (error) {
    const reason = error instanceof Error ? (error.message.split(/\.\s/)[0] ?? '') : String(error);
    return { refused: `${reason}; "npm run bench -- --help" lists the flags` };
  }
}

function chosen<T extends string>(flag: string, text: string, known: readonly T[]): readonly T[] {
  const wanted = text.split(',').map((name) => name.trim());
  const unknown = wanted.find((name) => !known.some((each) => each === name));
  if (unknown !== undefined) {
    throw new Error(`Cannot use --${flag} "${unknown}": choose among ${known.join(', ')}`);
  }
  return known.filter((name) => wanted.includes(name));
}

function numberIn(flag: string, text: string, [least, most]: readonly [number, number]): number {
  const value = Number(text);
  if (text.trim() === '' || !(value >= least && value <= most)) {
    throw new Error(`Cannot use --${flag} "${text}": write a number from ${least} to ${most}`);
  }
  return value;
}
