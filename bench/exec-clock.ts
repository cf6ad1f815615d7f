// What the shim takes of its own, measured by exec-clock.c: without Node's process library, and against a peer that answers at once.
import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';

import { ENCLOSURE, runCommand } from '../test/lab/command.ts';
import type { LabNode } from '../test/lab/lab.ts';
import { SHIM } from '../test/lab/pod.ts';
import { type Plugin, cniEnvironment } from './attachment-storm.ts';

const SOURCE = fileURLToPath(new URL('exec-clock.c', import.meta.url));
const PROGRAM = fileURLToPath(new URL('../node_modules/.cache/weft/exec-clock', import.meta.url));

export async function compileExecClock(): Promise<void> {
  mkdirSync(dirname(PROGRAM), { recursive: true });
  const words = `-static -O2 -s -std=gnu17 -D_GNU_SOURCE -Wall -Wextra -Werror -o ${PROGRAM} ${SOURCE}`;
  await runCommand(ENCLOSURE, [process.env['MUSL_CC'] ?? 'musl-gcc', ...words.split(' ')]);
}

export interface OwnTimes {
  /** fork, exec and exit of a program that does nothing. */
  readonly startMs: readonly number[];
  /** Of an ADD beyond that. */
  readonly ownMs: readonly number[];
}

export async function timeShim(node: LabNode, plugin: Plugin, turns: number): Promise<OwnTimes> {
  const [sandbox] = plugin.sandboxes;
  if (sandbox === undefined) throw new Error('No sandbox');
  const output = await runCommand(node.namespace.place, [PROGRAM, String(turns), SHIM], {
    stdin: plugin.config,
    env: {
      ...cniEnvironment(plugin, { command: 'ADD', sandbox, cycle: 0 }),
      WEFT_CNI_SOCKET: '/run/weft/exec-clock.sock',
    },
  });
  const pairs = output
    .trim()
    .split('\n')
    .map((line) => line.split(' ').map((microseconds) => Number(microseconds) / 1000));
  return {
    startMs: pairs.map(([start = Number.NaN]) => start),
    ownMs: pairs.map(([start = Number.NaN, whole = Number.NaN]) => whole - start),
  };
}
