#!/usr/bin/env node
// Program: `weft`, what an operator asks a node with. It reads what the agent tells at its status address, and the kernel; it runs in the
// agent's container (kubectl -n weft exec ds/weft -- weft status) or on the node. Exit codes: command.ts.
import { parseArgs } from 'node:util';

import { OperationError } from '../operation-error.ts';
import type { Command, Invocation, Output } from './command.ts';
import { statusCommand } from './commands/status.ts';

const COMMANDS: readonly Command[] = [statusCommand];

const WRONG_USE = 2;

function overview(): string {
  const width = Math.max(...COMMANDS.map(({ name }) => name.length));
  const lines = COMMANDS.map(({ name, summary }) => `  ${name.padEnd(width)}  ${summary}`);
  return `Usage: weft COMMAND [flags]\n\n${lines.join('\n')}\n\nweft COMMAND --help says more.\n`;
}

export async function weft(args: readonly string[], surroundings: Surroundings): Promise<number> {
  const { stdout, stderr } = surroundings;
  const [name, ...rest] = args;
  if (name === undefined || name === '--help' || name === '-h' || name === 'help') {
    stdout.write(overview());
    return name === undefined ? WRONG_USE : 0;
  }
  const command = COMMANDS.find((candidate) => candidate.name === name);
  if (command === undefined) {
    stderr.write(
      `There is no command "${name}"; there is: ${COMMANDS.map((known) => known.name).join(', ')}\n`,
    );
    return WRONG_USE;
  }
  try {
    const { values, positionals } = parseArgs({
      args: rest,
      options: { ...command.flags, help: { type: 'boolean', short: 'h' } },
      allowPositionals: true,
    });
    if (values['help'] === true) {
      stdout.write(`Usage: weft ${command.name} ${command.usage}\n\n${command.help}`);
      return 0;
    }
    return await command.run({ ...surroundings, positionals, flags: values });
  } catch (error) {
    if (error instanceof OperationError) {
      stderr.write(`${error.message}\n`);
      return 1;
    }
    if (error instanceof TypeError && 'code' in error && String(error.code).startsWith('ERR_PARSE_ARGS')) {
      stderr.write(`${error.message}\nweft ${command.name} --help lists the flags\n`);
      return WRONG_USE;
    }
    throw error;
  }
}

export type Surroundings = Omit<Invocation, 'positionals' | 'flags'>;

function outputOf(stream: NodeJS.WriteStream): Output {
  return { write: (text) => void stream.write(text), isTerminal: stream.isTTY };
}

if (import.meta.main) {
  const ended = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => ended.abort());
  process.exitCode = await weft(process.argv.slice(2), {
    env: process.env,
    stdout: outputOf(process.stdout),
    stderr: outputOf(process.stderr),
    signal: ended.signal,
  });
}
