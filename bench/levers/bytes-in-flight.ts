// Whether pods should send super-packets that are exactly one train: gso_max_size or gso_max_segs on the pod's interface, so that one TUN
// read is one sendmsg of 44 frames and not 44 and 2. Two nodes with the real agent, one TCP stream; what is compared is the throughput,
// the CPU of both data planes, and the super-packets that tcpdump sees leave the pod.
import { readFileSync } from 'node:fs';

import { type Lab, type LabNode, createLab } from '../../test/lab/lab.ts';
import type { Pod } from '../../test/lab/pod.ts';
import { measureThroughput } from '../../test/lab/throughput.ts';
import { formatTable, percentile } from '../figures.ts';

const TURNS = 11;
const SECONDS = 2;
const TICKS_A_SECOND = 100;
/** What Linux TCP takes off gso_max_size before it counts segments: MAX_TCP_HEADER + 1, here with room for the kernels' differences. */
const TCP_HEADER_ROOM = 400;
const SEGMENT_BYTES = 1398;
const UNLIMITED = 'gso_max_size 65536 gso_max_segs 65535';

const SETTINGS: readonly (readonly [name: string, words: string])[] = [
  ['as it is (product)', UNLIMITED],
  ['gso_max_size for 44 segments', `gso_max_size ${44 * SEGMENT_BYTES + TCP_HEADER_ROOM} gso_max_segs 65535`],
  ['gso_max_segs 44', 'gso_max_size 65536 gso_max_segs 44'],
];

export async function measureBytesInFlight(): Promise<void> {
  const lab = await createLab();
  try {
    await compare(lab);
  } finally {
    await lab.close();
  }
}

async function compare(lab: Lab): Promise<void> {
  const nodes = await lab.addNodes(['node-1', 'node-2']);
  const [first, second] = nodes;
  if (first === undefined || second === undefined) throw new Error('No nodes');
  const pair = { from: await first.addPod('left'), to: await second.addPod('right') };
  const taken = SETTINGS.map((): { throughput: number; cpu: number }[] => []);
  const sizes: string[] = [];
  for (let turn = -1; turn < TURNS; turn += 1) {
    for (const [index, [, words]] of SETTINGS.entries()) {
      await pair.from.exec(['ip', 'link', 'set', 'eth0', ...words.split(' ')]);
      if (turn < 0) sizes.push(await commonSizes(pair));
      else taken[index]?.push(await stream(nodes, pair));
    }
  }
  const row = ([name]: readonly [string, string], index: number): string[] => {
    const cell = (key: 'throughput' | 'cpu'): string => {
      const values = (taken[index] ?? []).map((each) => each[key]);
      const [least, most] = [Math.min(...values).toFixed(2), Math.max(...values).toFixed(2)];
      return `${percentile(values, 0.5).toFixed(2)} (${least}–${most})`;
    };
    return [name, cell('throughput'), cell('cpu'), sizes[index] ?? ''];
  };
  process.stdout.write(`\nOne TCP stream through two agents (median of ${TURNS} turns of ${SECONDS} s)\n`);
  process.stdout.write(
    formatTable([
      ['', 'Gbit/s', 'data planes, CPU s/GB', 'payloads that leave the pod'],
      ...SETTINGS.map(row),
    ]),
  );
}

async function stream(
  nodes: readonly LabNode[],
  pair: { from: Pod; to: Pod },
): Promise<{ throughput: number; cpu: number }> {
  const before = dataplaneSeconds(nodes);
  const throughput = await measureThroughput({ ...pair, seconds: SECONDS });
  return { throughput, cpu: (dataplaneSeconds(nodes) - before) / ((throughput * SECONDS) / 8) };
}

/** User and system time of the active data planes. */
const dataplaneSeconds = (nodes: readonly LabNode[]): number =>
  nodes.reduce((sum, { agent }) => {
    const [, , ...fields] = readFileSync(`/proc/${agent.pidOf('dataplane')}/stat`, 'utf8').split(/\) | /);
    return sum + (Number(fields[11]) + Number(fields[12])) / TICKS_A_SECOND;
  }, 0);

/** The most common payload lengths of a stream's packets, in segments. */
async function commonSizes(pair: { from: Pod; to: Pod }): Promise<string> {
  const capture = pair.from.exec([
    'timeout',
    '5',
    'tcpdump',
    '-i',
    'eth0',
    '-nn',
    '-q',
    '-s',
    '96',
    '-c',
    '3000',
    'tcp',
    'and',
    'dst',
    'port',
    '5201',
    'and',
    'greater',
    '1000',
  ]);
  const [output] = await Promise.all([capture, measureThroughput({ ...pair, seconds: 1 })]);
  const counts = new Map<number, number>();
  for (const [, length] of output.matchAll(/tcp (\d+)$/gm)) {
    const segments = Math.round((Number(length) / SEGMENT_BYTES) * 10) / 10;
    counts.set(segments, (counts.get(segments) ?? 0) + 1);
  }
  const total = [...counts.values()].reduce((sum, count) => sum + count, 0);
  return [...counts]
    .toSorted(([, a], [, b]) => b - a)
    .slice(0, 2)
    .map(([segments, count]) => `${segments} (${((count / total) * 100).toFixed(0)} %)`)
    .join(', ');
}
