// Compiles the cluster's programs (programs.ts) into $XDG_CACHE_HOME/weft/cluster-<hash of the pins>, once: sixteen minutes on two cores
// from nothing, nothing at all when they are there. Each program is renamed into place when it is whole, so an interrupted build goes
// on where it stopped. Says on stderr what it is doing. By itself: node test/cluster/build.ts
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';

import { ENCLOSURE, runScript, tryCommand } from '../lab/command.ts';
import { GO_DIRECTORY, PROGRAMS, type Program, programsHash } from './programs.ts';

const PROGRESS_INTERVAL_MS = 20_000;
/** Not in the way of what else the machine does. */
const NICE_BUILD = 'nice -n 19 go build -v -trimpath -buildvcs=false -mod=readonly';
const KEPT_LINES = 40;

const say = (text: string): void => {
  process.stderr.write(`cluster: ${text}\n`);
};

/** Folder of the programs, whether they are there or not. */
export const programFolder = (): string =>
  join(process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'weft', `cluster-${programsHash()}`);

/** Resolves to the folder that has all programs. Throws with the compiler's message, or with what must be installed. */
export async function buildPrograms(): Promise<string> {
  const folder = programFolder();
  mkdirSync(folder, { recursive: true });
  await fetchBusybox(folder);
  const missing = PROGRAMS.filter(({ name }) => !existsSync(join(folder, name)));
  if (missing.length === 0) return folder;
  await checkCompilers(missing);
  say(
    `compiling ${missing.length} programs of Kubernetes into ${folder}; this happens once, and takes about 16 minutes on two cores if Go has none of it yet`,
  );
  for (const [index, program] of missing.entries()) {
    const start = performance.now();
    say(`${program.name} (${index + 1} of ${missing.length})`);
    await compile(program, folder);
    say(`${program.name} compiled in ${seconds(start)} s`);
  }
  return folder;
}

const seconds = (start: number): string => ((performance.now() - start) / 1000).toFixed(0);

/** For test pods: Debian's, linked dynamically (its static twin crashes when it resolves a name). */
async function fetchBusybox(folder: string): Promise<void> {
  const kept = join(folder, 'busybox');
  if (existsSync(kept)) return;
  say('fetching the Debian package busybox');
  const work = join(folder, `.busybox-${process.pid}`);
  try {
    await runScript(ENCLOSURE, [
      `mkdir '${work}' && cd '${work}'`,
      'apt-get -q -o APT::Sandbox::User=root download busybox',
      'dpkg-deb -x busybox_*.deb .',
    ]);
    renameSync(join(work, 'bin/busybox'), kept);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

async function checkCompilers(programs: readonly Program[]): Promise<void> {
  const works = async (command: readonly string[]): Promise<boolean> => {
    try {
      return (await tryCommand(ENCLOSURE, command)).status === 0;
    } catch {
      return false; // it is not there
    }
  };
  if (!(await works(['go', 'version']))) {
    throw new Error(
      'Cannot compile Kubernetes: Go is missing; install Go 1.26 or later (it fetches the right one itself)',
    );
  }
  if (programs.some(({ cgo }) => cgo === true) && !(await works(['pkg-config', '--exists', 'libseccomp']))) {
    throw new Error(
      'Cannot compile runc: libseccomp is missing; install it, on Debian with "apt-get install libseccomp-dev pkg-config gcc"',
    );
  }
}

async function compile({ name, module, package: path, ...program }: Program, folder: string): Promise<void> {
  const partial = join(folder, `.${name}-${process.pid}`);
  const words = [
    ...NICE_BUILD.split(' '),
    '-ldflags',
    `-s -w ${program.linkerFlags ?? ''}`.trim(),
    ...(program.tags === undefined ? [] : ['-tags', program.tags]),
    '-o',
    partial,
    path,
  ];
  await follow(words, { directory: join(GO_DIRECTORY, module), cgo: program.cgo === true });
  renameSync(partial, join(folder, name));
}

/** Runs the compiler and tells from time to time how far it is (with -v it names each package that it compiles). */
async function follow(
  [command = '', ...words]: readonly string[],
  { directory, cgo }: { directory: string; cgo: boolean },
): Promise<void> {
  const child = spawn(command, words, {
    cwd: directory,
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, CGO_ENABLED: cgo ? '1' : '0', GOWORK: 'off' },
  });
  const lines: string[] = [];
  let packages = 0;
  let rest = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    const whole = (rest + text).split('\n');
    rest = whole.pop() ?? '';
    packages += whole.length;
    lines.push(...whole);
    lines.splice(0, Math.max(0, lines.length - KEPT_LINES));
  });
  const progress = setInterval(
    () => say(`  … ${packages} packages, now ${lines.at(-1) ?? 'looking'}`),
    PROGRESS_INTERVAL_MS,
  );
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', resolve);
  }).finally(() => clearInterval(progress));
  if (code !== 0) {
    throw new Error(
      `"${[command, ...words].join(' ')}" failed in ${directory}:\n${[...lines, rest].join('\n')}`,
    );
  }
}

if (import.meta.main) {
  try {
    say(`all programs are in ${await buildPrograms()}`);
  } catch (error) {
    say(error instanceof Error ? error.message : String(error));
    process.exitCode = 1;
  }
}
