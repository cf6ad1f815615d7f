#!/usr/bin/env node
// Program: `weft`, what an operator asks a node with. It reads what the agent tells at its status address, and the kernel; it runs in the
// agent's container (kubectl -n weft exec ds/weft -- weft status) or on the node. Exit codes: command.ts.
import { isatty } from 'node:tty';

import { codeOf, OperationError } from '../operation-error.ts';
import type { Invocation, Output } from './command.ts';
import { COMMANDS } from './commands.ts';
import { flagLines, parseArguments, wrongUse } from './flags.ts';
import { nearest } from './nearest.ts';

const WRONG_USE = 2;

export interface Surroundings extends Omit<Invocation, 'positionals' | 'flags'> {
  /** Lets SIGINT and SIGTERM abort the signal from now on. */
  hearSignals?(): void;
}

/** Resolves to the exit code. */
export async function weft(args: readonly string[], surroundings: Surroundings): Promise<number> {
  try {
    return await run(args, surroundings);
  } catch (error) {
    if (!(error instanceof OperationError)) throw error;
    surroundings.stderr.write(`${error.message}\n`);
    return error.code === 'WRONG_USE' ? WRONG_USE : 1;
  }
}

async function run([name, ...rest]: readonly string[], surroundings: Surroundings): Promise<number> {
  const { stdout, stderr } = surroundings;
  if (name === undefined) {
    stderr.write(await overview());
    return WRONG_USE;
  }
  if (name === 'help' && rest[0] !== undefined) return run([rest[0], '--help'], surroundings);
  if (name === '--help' || name === '-h' || name === 'help') {
    stdout.write(await overview());
    return 0;
  }
  const command = await loadCommand(name === '--version' ? 'version' : name);
  const { positionals, flags } = parseArguments(rest, command);
  if (flags['help'] === true) {
    const flagText = flagLines(command.flags);
    stdout.write(
      `Usage: weft ${command.name} ${command.usage}`.trimEnd() +
        `\n\n${command.help}${flagText === '' ? '' : `\nFlags:\n${flagText}`}`,
    );
    return 0;
  }
  if (command.hearsSignals?.(flags) === true) surroundings.hearSignals?.();
  return command.run({ ...surroundings, positionals, flags });
}

function loadCommand(name: string): ReturnType<(typeof COMMANDS)[number]['load']> {
  const entry = COMMANDS.find((candidate) => candidate.name === name);
  if (entry !== undefined) return entry.load();
  const near = nearest(
    name,
    COMMANDS.map((known) => known.name),
  );
  const guess = near === undefined ? '' : ` did you mean "${near}"?`;
  throw wrongUse(`Cannot run "${name}": there is no such command;${guess} "weft --help" lists them`);
}

async function overview(): Promise<string> {
  const commands = await Promise.all(COMMANDS.map((entry) => entry.load()));
  const width = Math.max(...commands.map(({ name }) => name.length));
  const lines = commands.map(({ name, summary }) => `  ${name.padEnd(width)}  ${summary}`);
  return `Usage: weft COMMAND [flags]

Asks the agent of this node. In a cluster: kubectl -n weft exec ds/weft -- weft status

${lines.join('\n')}

Exit code: 0 well, 1 something is wrong with the node, 2 wrong use. "weft COMMAND --help" says more.
`;
}

function outputOf(stream: NodeJS.WriteStream & { readonly fd: 1 | 2 }): Output {
  const isTerminal = isatty(stream.fd);
  return {
    write: (text) => void stream.write(text),
    isTerminal,
    get columns() {
      return isTerminal ? stream.columns : undefined;
    },
    get rows() {
      return isTerminal ? stream.rows : undefined;
    },
  };
}

if (import.meta.main) {
  const ended = new AbortController();
  process.stdout.on('error', (error) => process.exit(codeOf(error) === 'EPIPE' ? 0 : 1)); // weft status | head
  process.exitCode = await weft(process.argv.slice(2), {
    env: process.env,
    stdout: outputOf(process.stdout),
    stderr: outputOf(process.stderr),
    signal: ended.signal,
    hearSignals() {
      for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => ended.abort());
    },
  });
}
