// Reads the arguments of one command by its table of flags, and lists the flags in its help. What does not fit is a WRONG_USE that names
// the flag and what to write instead. Pure but for the parser of Node.
import { parseArgs } from 'node:util';

import { OperationError } from '../operation-error.ts';
import type { Command, Flag, Invocation } from './command.ts';
import { nearest } from './nearest.ts';

export const HELP: Flag = { type: 'boolean', short: 'h', meaning: 'what the command does' };

export const wrongUse = (message: string): OperationError =>
  new OperationError(message, { code: 'WRONG_USE' });

type Parsed = Pick<Invocation, 'positionals' | 'flags'>;

/** Throws OperationError WRONG_USE. */
export function parseArguments(args: readonly string[], command: Pick<Command, 'name' | 'flags'>): Parsed {
  const options: Readonly<Record<string, Flag>> = { ...command.flags, help: HELP };
  const { values, positionals, tokens } = parseArgs({
    args: withImplied(args, options),
    options,
    allowPositionals: true,
    strict: false, // what strict refuses is refused below, in our words
    tokens: true,
  });
  for (const token of tokens) {
    if (token.kind !== 'option') continue;
    const flag = Object.hasOwn(options, token.name) ? options[token.name] : undefined;
    if (flag === undefined) throw unknownFlag(token.rawName, { command, known: options });
    if (flag.type === 'boolean' && token.value !== undefined) {
      throw wrongUse(`Cannot read "${token.rawName}=${token.value}": it takes no value`);
    }
    if (flag.type === 'string' && token.value === undefined) {
      throw wrongUse(`Cannot read "${token.rawName}": a value is missing${choice(flag)}`);
    }
    if (flag.words !== undefined && token.value !== undefined && !flag.words.includes(token.value)) {
      throw wrongUse(`Cannot read "${token.rawName}=${token.value}": the value is not known${choice(flag)}`);
    }
  }
  return { flags: values, positionals };
}

const choice = ({ words, value }: Flag): string =>
  words === undefined ? (value === undefined ? '' : `, give ${value}`) : `; there is: ${words.join(', ')}`;

function unknownFlag(
  typed: string,
  { command, known }: { command: Pick<Command, 'name'>; known: Readonly<Record<string, Flag>> },
): OperationError {
  const near = typed.startsWith('--') ? nearest(typed.slice(2), Object.keys(known)) : undefined;
  const guess = near === undefined ? '' : ` did you mean "--${near}"?`;
  return wrongUse(
    `Cannot read "${typed}": "weft ${command.name}" has no such flag;${guess} "weft ${command.name} --help" lists them`,
  );
}

/** A flag with an implied value and none given, with that value: the parser would take the next argument for it. */
function withImplied(args: readonly string[], options: Readonly<Record<string, Flag>>): string[] {
  const end = args.indexOf('--');
  return args.map((argument, at) => {
    if (end >= 0 && at > end) return argument;
    const found = Object.entries(options).find(
      ([name, { implied, short }]) =>
        implied !== undefined &&
        (argument === `--${name}` || (short !== undefined && argument === `-${short}`)),
    );
    return found === undefined ? argument : `--${found[0]}=${found[1].implied}`;
  });
}

/** The lines of the help on the flags that have a meaning; empty when none has. */
export function flagLines(flags: Readonly<Record<string, Flag>>): string {
  const told = Object.entries({ ...flags, help: HELP }).filter(([, { meaning }]) => meaning !== undefined);
  if (told.length < 2) return '';
  const names = told.map(([name, flag]) => flagName(name, flag));
  const width = Math.max(...names.map((name) => name.length));
  return told.map(([, { meaning }], at) => `  ${(names[at] ?? '').padEnd(width)}  ${meaning}\n`).join('');
}

/** `-o, --output json|yaml`, `-w, --watch[=SECONDS]`. */
export function flagName(name: string, { type, short, value, words, implied }: Flag): string {
  const sample = value ?? words?.join('|') ?? 'VALUE';
  const tail = type === 'boolean' ? '' : implied === undefined ? ` ${sample}` : `[=${sample}]`;
  return `${short === undefined ? '' : `-${short}, `}--${name}${tail}`;
}
