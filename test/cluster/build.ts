// Compiles the cluster's programs (programs.ts) into $XDG_CACHE_HOME/weft/cluster-<hash of the pins>, once: sixteen minutes on two cores
// from nothing, nothing at all when they are there. Each program is renamed into place when it is whole, so an interrupted build goes
// on where it stopped. Says on stderr what it is doing. By itself: node test/cluster/build.ts [OPTIONAL PROGRAM…]
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import process from 'node:process';

import { cacheFolder, follow, say, seconds, whileLocked } from './building.ts';
import { GO_DIRECTORY, OPTIONAL_PROGRAMS, PROGRAMS, type Program, programsHash } from './programs.ts';

const BUSYBOX = 'busybox';
const OLDEST_GO = 26;
const GO_REMEDY =
  'unpack https://go.dev/dl/ of this processor into /usr/local and put /usr/local/go/bin first on PATH; Go from 1.21 on fetches a newer one itself';
/** Not in the way of what else the machine does. */
const NICE_BUILD = 'nice -n 19 go build -v -trimpath -buildvcs=false -mod=readonly';

/** Folder of the programs, whether they are there or not. */
export const programFolder = (): string => cacheFolder(`cluster-${programsHash()}`);

/** Path of one of OPTIONAL_PROGRAMS. */
export function optionalProgram(wanted: string): string {
  const program = OPTIONAL_PROGRAMS.find(({ name }) => name === wanted);
  if (program === undefined)
    throw new Error(`Cannot compile "${wanted}": programs.ts has no such optional program`);
  return join(cacheFolder(`cluster-${wanted}-${programsHash([program])}`), wanted);
}

/** Compiles what is missing of the cluster's programs, and of the optional ones that are named. Throws with the compiler's message. */
export const buildPrograms = (more: readonly string[] = []): Promise<void> => build(PROGRAMS, more);

/** As buildPrograms, for tests that need no cluster. */
export const buildOptionalPrograms = (names: readonly string[]): Promise<void> => build([], names);

async function build(programs: readonly Program[], more: readonly string[]): Promise<void> {
  const folder = programFolder();
  const wanted = [
    ...programs.map((program) => ({ program, path: join(folder, program.name) })),
    ...OPTIONAL_PROGRAMS.filter(({ name }) => more.includes(name)).map((program) => ({
      program,
      path: optionalProgram(program.name),
    })),
  ];
  const missing = (): typeof wanted => wanted.filter(({ path }) => !existsSync(path));
  const hasBusybox = programs.length === 0 || existsSync(join(folder, BUSYBOX));
  if (hasBusybox && missing().length === 0) return;
  await whileLocked(async () => {
    mkdirSync(folder, { recursive: true });
    if (!hasBusybox) await fetchBusybox(folder);
    const rest = missing(); // another process may have made them meanwhile
    if (rest.length === 0) return;
    await checkCompilers(rest.map(({ program }) => program));
    say(
      `compiling ${rest.map(({ program }) => program.name).join(', ')} into ${cacheFolder()}; this happens once, and all of Kubernetes takes about 16 minutes on two cores if Go has none of it yet`,
    );
    for (const [index, { program, path }] of rest.entries()) {
      const start = performance.now();
      say(`${program.name} (${index + 1} of ${rest.length})`);
      await compile(program, path);
      say(`${program.name} compiled in ${seconds(start)} s`);
    }
  });
}

/** For test pods: Debian's, linked dynamically (its static twin crashes when it resolves a name). */
async function fetchBusybox(folder: string): Promise<void> {
  const kept = join(folder, BUSYBOX);
  if (existsSync(kept)) return;
  say('fetching the Debian package busybox');
  const work = join(folder, `.busybox-${process.pid}`);
  mkdirSync(work);
  try {
    await follow('apt-get -q -o APT::Sandbox::User=root download busybox'.split(' '), { directory: work });
    const [archive = ''] = readdirSync(work);
    await follow(['dpkg-deb', '-x', archive, '.'], { directory: work });
    renameSync(join(work, 'bin/busybox'), kept);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

async function checkCompilers(programs: readonly Program[]): Promise<void> {
  const version = await go(['env', 'GOVERSION']);
  if (version === undefined) {
    throw new Error(`Cannot compile Kubernetes: Go is missing; ${GO_REMEDY}`);
  }
  const [, major = 0, minor = 0] = /^go(\d+)\.(\d+)/.exec(version)?.map(Number) ?? [];
  if (major < 1 || (major === 1 && minor < OLDEST_GO)) {
    throw new Error(
      `Cannot compile Kubernetes: it needs Go 1.${OLDEST_GO} and this is "${version}"; ${GO_REMEDY}`,
    );
  }
  const libseccomp = await follow(['pkg-config', '--exists', 'libseccomp']).catch(() => undefined);
  if (programs.some(({ cgo }) => cgo === true) && libseccomp === undefined) {
    throw new Error(
      'Cannot compile runc: libseccomp is missing; install it, on Debian with "apt-get install libseccomp-dev pkg-config gcc"',
    );
  }
}

/** What Go says where it must compile: one that is too old, but not very old, fetches the right one itself. */
async function go(words: readonly string[]): Promise<string | undefined> {
  try {
    return (await follow(['go', ...words], { directory: join(GO_DIRECTORY, 'kubernetes') })).trim();
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}

async function compile({ module, package: path, ...program }: Program, target: string): Promise<void> {
  const partial = `${target}.${process.pid}`;
  mkdirSync(dirname(target), { recursive: true });
  const words = [
    ...NICE_BUILD.split(' '),
    '-ldflags',
    `-s -w ${program.linkerFlags ?? ''}`.trim(),
    ...(program.tags === undefined ? [] : ['-tags', program.tags]),
    '-o',
    partial,
    path,
  ];
  await follow(words, {
    directory: join(GO_DIRECTORY, module),
    env: { CGO_ENABLED: program.cgo === true ? '1' : '0', GOWORK: 'off' },
    progress: (packages, last) => `${packages} packages, now ${last || 'looking'}`, // -v names each that it compiles
  });
  renameSync(partial, target);
}

if (import.meta.main) {
  try {
    await buildPrograms(process.argv.slice(2));
    say(`all programs are in ${programFolder()}`);
  } catch (error) {
    say(error instanceof Error ? error.message : String(error));
    process.exitCode = 1;
  }
}
