// Running programs in a place of the lab: the enclosure itself, a node, or a pod. A place is entered by nsenter, which execs the
// program directly, so that its process id is the one that spawn reports and signals reach it.
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import process from 'node:process';

/** Where a program runs: the words that go before its own. */
export interface Place {
  readonly name: string;
  readonly enter: readonly string[];
}

export const ENCLOSURE: Place = { name: 'underlay', enter: [] };

/** The namespaces of a process: its network, its mounts and its host name. */
export const placeOfProcess = (name: string, pid: number): Place => ({
  name,
  enter: ['nsenter', `--net=/proc/${pid}/ns/net`, `--mount=/proc/${pid}/ns/mnt`, `--uts=/proc/${pid}/ns/uts`],
});

/** A named network namespace of a node (in /run/netns of its mounts). */
export const placeOfNetns = (name: string, nodePid: number, netns: string): Place => ({
  name,
  enter: [
    'nsenter',
    `--net=/proc/${nodePid}/root/run/netns/${netns}`,
    `--mount=/proc/${nodePid}/ns/mnt`,
    `--uts=/proc/${nodePid}/ns/uts`,
  ],
});

/** Programs of the place, and what they start, run on this processor core only. */
export const onCore = ({ name, enter }: Place, core: number | undefined): Place => ({
  name,
  enter: core === undefined ? enter : ['taskset', '--cpu-list', String(core), ...enter],
});

export interface CommandResult {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CommandOptions {
  readonly stdin?: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** Environment of what the lab starts: nothing of the caller's but PATH and the locale, so that runs are alike. */
export const baseEnvironment = (): Record<string, string> => ({
  PATH: process.env['PATH'] ?? '/usr/sbin:/usr/bin:/sbin:/bin',
  LANG: 'C.UTF-8',
  HOME: '/root',
});

export function spawnIn(place: Place, command: readonly string[], options: SpawnOptions): ChildProcess {
  const [program = '', ...words] = [...place.enter, ...command];
  return spawn(program, words, { ...options, env: { ...baseEnvironment(), ...options.env } });
}

/** Runs a command to its end; never throws for its exit status. Throws when it cannot be started. */
export function tryCommand(
  place: Place,
  command: readonly string[],
  options: CommandOptions = {},
): Promise<CommandResult> {
  const child = spawnIn(place, command, { stdio: 'pipe', env: options.env });
  const output = { stdout: '', stderr: '' };
  child.stdout?.setEncoding('utf8').on('data', (text: string) => (output.stdout += text));
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (output.stderr += text));
  child.stdin?.on('error', () => undefined); // a program that does not read its input
  child.stdin?.end(options.stdin ?? '');
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ status: code ?? (signal === null ? 1 : 128), ...output }));
  });
}

/** Runs a command to its end and returns its output. Throws with its error output when it fails. */
export async function runCommand(
  place: Place,
  command: readonly string[],
  options: CommandOptions = {},
): Promise<string> {
  const result = await tryCommand(place, command, options);
  if (result.status !== 0) {
    throw new Error(
      `"${command.join(' ')}" failed in ${place.name} with status ${result.status}: ${result.stderr.trim() || result.stdout.trim()}`,
    );
  }
  return result.stdout;
}

/** Runs shell lines; the first that fails ends it. */
export const runScript = (place: Place, lines: readonly string[]): Promise<string> =>
  runCommand(place, ['sh', '-ec', lines.join('\n')]);
