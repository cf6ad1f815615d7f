// What a system call costs from TypeScript: koffi, node:ffi and, as the floor, Node-API functions in C; in Node 24 and in Node 26, whose
// program is given by WEFT_NODE_26 (left out where it is not). Processes run in turns, each reports its least batch.
import { fileURLToPath } from 'node:url';

import { ENCLOSURE, runCommand } from '../../test/lab/command.ts';
import { LAB_DIRECTORY } from '../../test/lab/enclosure.ts';
import { formatTable, percentile } from '../figures.ts';

const TURNS = 5;
const SITE = fileURLToPath(new URL('foreign-call-site.ts', import.meta.url));
const SOURCE = fileURLToPath(new URL('foreign-call.c', import.meta.url));
const ADDON = `${LAB_DIRECTORY}/foreign-call.node`;

interface Site {
  readonly name: string;
  readonly node: string;
  readonly kind: string;
  readonly turns: Record<string, number>[];
}

export async function measureForeignCalls(): Promise<void> {
  const flags = '-O2 -shared -fPIC -std=gnu17 -Wall -Wextra -Werror';
  await runCommand(ENCLOSURE, ['gcc', ...flags.split(' '), '-o', ADDON, SOURCE]);
  const node26 = process.env['WEFT_NODE_26'];
  const site = (name: string, node: string, kind: string): Site => ({ name, node, kind, turns: [] });
  const sites = [
    site('Node 24, koffi (product)', process.execPath, 'koffi'),
    site('Node 24, N-API in C', process.execPath, 'napi'),
  ];
  if (node26 === undefined) process.stdout.write('Node 26 is left out: WEFT_NODE_26 names no program\n');
  else {
    sites.push(site('Node 26, koffi', node26, 'koffi'), site('Node 26, node:ffi', node26, 'node-ffi'));
    sites.push(site('Node 26, N-API in C', node26, 'napi'));
  }
  for (let turn = 0; turn < TURNS; turn += 1) {
    for (const { node, kind, turns } of sites) {
      const output = await runCommand(ENCLOSURE, [
        node,
        '--disable-warning=ExperimentalWarning',
        SITE,
        kind,
        ADDON,
      ]);
      turns.push(JSON.parse(output) as Record<string, number>); // as: foreign-call-site.ts prints it
    }
  }
  const calls = Object.keys(sites[0]?.turns[0] ?? {});
  const row = ({ name, turns }: Site): string[] => [
    name,
    ...calls.map((call) =>
      percentile(
        turns.map((turn) => turn[call] ?? Number.NaN),
        0.5,
      ).toFixed(0),
    ),
  ];
  process.stdout.write(
    `\nA system call from TypeScript (ns of thread CPU, least batch of 4,000 calls, median of ${TURNS} processes)\n`,
  );
  process.stdout.write(formatTable([['', ...calls], ...sites.map(row)]));
}
