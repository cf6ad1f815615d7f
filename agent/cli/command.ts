// What a subcommand of `weft` is: a name, the words of its help, the flags that node:util's parseArgs reads, and what it does. Everything
// that a command needs of its surroundings is in the invocation, so that a test runs it in its own process.
import type { ParseArgsOptionsConfig } from 'node:util';

export interface Command {
  /** As typed: status. */
  readonly name: string;
  /** What follows the name in the usage line: [peers|ipam] [flags]. */
  readonly usage: string;
  /** One line, for `weft --help`. */
  readonly summary: string;
  /** What `weft NAME --help` says after the usage line: what it is for, each flag, an example or two. */
  readonly help: string;
  readonly flags: ParseArgsOptionsConfig;
  /** Words that may stand at the place of an argument, for the shell's completion; none: free text. */
  readonly words?: readonly string[];
  /** Resolves to the exit code: 0 well, 1 something is wrong with the node, 2 wrong use. Throws OperationError. */
  run(invocation: Invocation): Promise<number>;
}

export interface Invocation {
  /** Without the command's own name. */
  readonly positionals: readonly string[];
  readonly flags: Readonly<Record<string, string | boolean | readonly (string | boolean)[] | undefined>>;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdout: Output;
  readonly stderr: Output;
  /** Aborted by SIGINT and SIGTERM: what runs until then ends well. */
  readonly signal: AbortSignal;
}

export interface Output {
  write(text: string | Uint8Array): void;
  readonly isTerminal: boolean;
}
