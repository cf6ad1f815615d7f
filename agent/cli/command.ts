// What a subcommand of `weft` is: a name, the words of its help, its flags, and what it does. Everything that a command needs of its
// surroundings is in the invocation, so that a test runs it in its own process.
import type { ParseArgsOptionDescriptor } from 'node:util';

export interface Command {
  /** As typed: status. */
  readonly name: string;
  /** What follows the name in the usage line: [peers|ipam] [flags]. */
  readonly usage: string;
  /** One line, for `weft --help`. */
  readonly summary: string;
  /** What `weft NAME --help` says after the usage line: what it is for, an example or two. Flags with a `meaning` are listed after it. */
  readonly help: string;
  readonly flags: Readonly<Record<string, Flag>>;
  /** Words that may stand at the place of an argument, for the shell's completion; none: free text. */
  readonly words?: readonly string[];
  /** Whether it ends well when the invocation's signal says so; else SIGINT and SIGTERM end the program at once. */
  hearsSignals?(flags: Invocation['flags']): boolean;
  /** Resolves to the exit code: 0 well, 1 something is wrong with the node, 2 wrong use. Throws OperationError. */
  run(invocation: Invocation): Promise<number>;
}

export interface Flag extends ParseArgsOptionDescriptor {
  /** For the help. */
  readonly meaning?: string;
  /** What stands for its value there: SECONDS. */
  readonly value?: string;
  /** The values that it takes, for the completion; none: free text. */
  readonly words?: readonly string[];
  /** The value of a string flag that is given without one (--watch); a value is then given as --watch=5 only. */
  readonly implied?: string;
}

export interface Invocation {
  /** Without the command's own name. */
  readonly positionals: readonly string[];
  readonly flags: Readonly<Record<string, string | boolean | readonly (string | boolean)[] | undefined>>;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdout: Output;
  readonly stderr: Output;
  /** Aborted by SIGINT and SIGTERM, where the command hears them: what runs until then ends well. */
  readonly signal: AbortSignal;
}

export interface Output {
  write(text: string | Uint8Array): void;
  readonly isTerminal: boolean;
  /** Of the terminal, at this moment. */
  readonly columns?: number | undefined;
  readonly rows?: number | undefined;
}
