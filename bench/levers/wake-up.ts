// How long a datagram waits for a receiver that sleeps in poll(2) and for one that looks again and again, on a core of its own and on one
// that a busy process shares: wake-up.c, once per mode in turns. The receiver is on core 1, the sender on core 0.
import { fileURLToPath } from 'node:url';

import { ENCLOSURE, runCommand } from '../../test/lab/command.ts';
import { LAB_DIRECTORY } from '../../test/lab/enclosure.ts';
import { formatTable } from '../figures.ts';
import { makeWire } from './wire-lab.ts';

const TURNS = 6;
const SOURCE = fileURLToPath(new URL('wake-up.c', import.meta.url));
const PROGRAM = `${LAB_DIRECTORY}/wake-up`;
const MODES = [
  ['poll', 'poll(), sleeping (product)'],
  ['poll0', 'poll() with time-out 0'],
  ['yield', 'poll() with time-out 0, sched_yield()'],
  ['recv', 'recv() without poll()'],
  ['busy', 'poll(), sleeping, SO_BUSY_POLL'],
] as const;

interface Where {
  readonly name: string;
  readonly isShared: boolean;
  readonly gapUs: number;
}

const PLACES: readonly Where[] = [
  { name: 'a core of its own, every 250 µs', isShared: false, gapUs: 250 },
  { name: 'a core of its own, every 30 µs', isShared: false, gapUs: 30 },
  { name: 'a core that a busy process shares, every 250 µs', isShared: true, gapUs: 250 },
];

export async function measureWakeUps(): Promise<void> {
  await makeWire();
  const flags = '-O2 -std=gnu17 -Wall -Wextra -Werror';
  await runCommand(ENCLOSURE, ['gcc', ...flags.split(' '), '-o', PROGRAM, SOURCE]);
  for (const { name: where, isShared, gapUs } of PLACES) {
    const figures = MODES.map((): number[][] => []);
    for (let turn = 0; turn < TURNS; turn += 1) {
      for (const [index, [mode]] of MODES.entries()) {
        const output = await runCommand(ENCLOSURE, [
          PROGRAM,
          mode,
          isShared ? '1' : '0',
          String(gapUs),
          '/run/netns/far',
        ]);
        figures[index]?.push(output.trim().split(' ').map(Number));
      }
    }
    const row = ([, name]: (typeof MODES)[number], index: number): string[] => {
      // What else the machine does only adds: the turn with the least p99 is the one that it disturbed least.
      const [quietest = []] = (figures[index] ?? []).toSorted(([, a = 0], [, b = 0]) => a - b);
      const [p50 = 0, p99 = 0, p999 = 0, most = 0, cpu = 0] = quietest;
      return [
        name,
        ...[p50, p99, p999, most].map((ns) => (ns / 1000).toFixed(1)),
        `${(cpu * 100).toFixed(1)} %`,
      ];
    };
    process.stdout.write(`\nFrom send to receive, on ${where} (µs, quietest of ${TURNS} turns)\n`);
    process.stdout.write(formatTable([['', 'p50', 'p99', 'p99.9', 'most', 'CPU'], ...MODES.map(row)]));
  }
}
