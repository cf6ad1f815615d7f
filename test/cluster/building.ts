// What the builds of the cluster's parts share: the folder outside the checkout that keeps them, one build at a time on the machine,
// and commands that take minutes and say meanwhile that they go on. They run with the caller's environment: proxies, Go's and npm's settings.
import { spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';

const PROGRESS_INTERVAL_MS = 20_000;
const KEPT_LINES = 40;
const TOLD_CHARACTERS = 120;

export const say = (text: string): void => {
  process.stderr.write(`cluster: ${text}\n`);
};

export const seconds = (start: number): string => ((performance.now() - start) / 1000).toFixed(0);

/** Folder of all that is kept, $XDG_CACHE_HOME/weft, or one in it. */
export const cacheFolder = (...names: readonly string[]): string =>
  join(process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'weft', ...names);

/** Runs it while no other process on the machine does. The lock ends with the process, however that ends. */
export async function whileLocked<T>(work: () => Promise<T>): Promise<T> {
  mkdirSync(cacheFolder(), { recursive: true });
  const holder = spawn('flock', [cacheFolder('lock'), 'sh', '-c', 'echo locked; cat'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const ended = new Promise<void>((resolve) => holder.once('close', () => resolve()));
  const waiting = setInterval(() => say('  … waiting for another build to end'), PROGRESS_INTERVAL_MS);
  try {
    await new Promise<void>((resolve, reject) => {
      holder.stdout.once('data', () => resolve());
      holder.once('error', reject);
      holder.once('exit', (code) =>
        reject(new Error(`Cannot lock ${cacheFolder('lock')}: flock ended (${code})`)),
      );
    }).finally(() => clearInterval(waiting));
    return await work();
  } finally {
    holder.stdin.end();
    await ended;
  }
}

export interface FollowOptions {
  readonly directory?: string;
  /** Beside the caller's environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** What is said from time to time; by default the last line that was printed. */
  readonly progress?: (lines: number, last: string) => string;
}

/** Runs a command to its end and returns its output, both streams together. Throws with the last lines when it fails. */
export async function follow(
  [command = '', ...words]: readonly string[],
  { directory, env, progress = (_lines, last) => last }: FollowOptions = {},
): Promise<string> {
  const child = spawn(command, words, {
    ...(directory === undefined ? {} : { cwd: directory }),
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => (output += text));
  }
  const lines = (): readonly string[] => output.trimEnd().split('\n');
  const timer = setInterval(() => {
    const all = lines();
    say(`  … ${progress(all.length, all.at(-1) ?? '').slice(0, TOLD_CHARACTERS)}`);
  }, PROGRESS_INTERVAL_MS);
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', resolve);
  }).finally(() => clearInterval(timer));
  if (code !== 0) {
    const last = lines().slice(-KEPT_LINES).join('\n');
    throw new Error(`"${[command, ...words].join(' ')}" failed with status ${code}:\n${last}`);
  }
  return output;
}
