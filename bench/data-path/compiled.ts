// The programs of the benchmark that are compiled: its load and the C loop by the machine's gcc, wireguard-go from its pinned module.
import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

import { buildOptionalPrograms, optionalProgram } from '../../test/cluster/build.ts';
import { ENCLOSURE, runCommand } from '../../test/lab/command.ts';

/** Of the enclosure, so gone with it; nodes see it too. Not the lab's own, which each lab empties. */
const FOLDER = '/run/bench';
const WARNINGS = '-std=gnu17 -D_GNU_SOURCE -Wall -Wextra -Werror -Wshadow';
const WIREGUARD = 'wireguard';

export const LOAD_PROGRAM: string = join(FOLDER, 'load');
export const LIMIT_PROGRAM: string = join(FOLDER, 'userspace-limit');
export const WIREGUARD_PROGRAM: string = optionalProgram(WIREGUARD);

/** Inside the enclosure. */
export async function compile(): Promise<void> {
  mkdirSync(FOLDER, { recursive: true });
  const load = join(import.meta.dirname, 'load');
  const sources = readdirSync(load).filter((name) => name.endsWith('.c'));
  await gcc(
    LOAD_PROGRAM,
    sources.map((name) => join(load, name)),
  );
  await gcc(LIMIT_PROGRAM, [join(import.meta.dirname, 'userspace-limit.c')]);
}

const gcc = async (program: string, sources: readonly string[]): Promise<void> =>
  void (await runCommand(ENCLOSURE, ['gcc', '-O2', ...WARNINGS.split(' '), '-o', program, ...sources]));

/** Throws with the remedy where Go is missing. Outside the enclosure, which has no network. */
export const buildWireguard = (): Promise<void> => buildOptionalPrograms([WIREGUARD]);
