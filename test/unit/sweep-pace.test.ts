import assert from 'node:assert/strict';
import { test } from 'node:test';

import { authorWords, createContest, MOST_REPAIRS, WINDOW_MS } from '../../agent/control/node/contest.ts';
import {
  createSweepPace,
  LONGEST_PAUSE_MS,
  PAUSE_SHARE,
  SETTLE_MS,
  type SweepPace,
} from '../../agent/control/node/sweep-pace.ts';
import { FakeClock } from './kube-fakes.ts';

interface Stand {
  readonly clock: FakeClock;
  readonly pace: SweepPace;
  /** When it looked. */
  readonly looks: number[];
  /** A look that takes so much CPU time. */
  readonly look: (cpuMs: number) => void;
}

function stand(): Stand {
  const clock = new FakeClock();
  const looks: number[] = [];
  let cpu = 0;
  const pace = createSweepPace({
    clock,
    cpuTimeMs: () => cpu,
    look: () => looks.push(clock.now()),
  });
  return {
    clock,
    pace,
    looks,
    look: (cpuMs) => {
      pace.started();
      cpu += cpuMs;
      pace.ended();
    },
  };
}

test('a disturbance is looked at soon, and several at once', async () => {
  const { clock, pace, looks } = stand();
  const start = clock.now();
  pace.disturbed();
  await clock.advance(SETTLE_MS / 2);
  pace.disturbed();
  await clock.advance(SETTLE_MS);
  assert.deepEqual(looks, [start + SETTLE_MS]);
  await clock.advance(60_000);
  assert.equal(looks.length, 1);
});

test('after a look it pauses a multiple of the CPU time that it took, and never long', async () => {
  const { clock, pace, looks, look } = stand();
  look(30);
  const start = clock.now();
  pace.disturbed();
  await clock.advance(30 * PAUSE_SHARE - 1);
  assert.deepEqual(looks, []);
  await clock.advance(1);
  assert.deepEqual(looks, [start + 30 * PAUSE_SHARE]);
  look(10_000);
  pace.disturbed();
  await clock.advance(LONGEST_PAUSE_MS);
  assert.equal(looks.length, 2);
});

test('what disturbs during a look is looked at after it, and a look that somebody else asked for is enough', async () => {
  const { clock, pace, looks } = stand();
  pace.disturbed();
  pace.started();
  await clock.advance(1000);
  assert.deepEqual(looks, [], 'it looks already');
  pace.disturbed();
  await clock.advance(1000);
  assert.deepEqual(looks, []);
  pace.ended();
  await clock.advance(SETTLE_MS);
  assert.equal(looks.length, 1);
});

test('a contest is told once, and again only after calm', () => {
  const contest = createContest();
  const tells = (from: number, times: number): number =>
    Array.from({ length: times }, (_, at) => contest.repaired(1, from + at)).filter(Boolean).length;
  assert.equal(tells(0, MOST_REPAIRS - 1), 0);
  assert.equal(tells(WINDOW_MS + 1000, MOST_REPAIRS - 1), 0, 'slowly is no contest');
  assert.equal(tells(3 * WINDOW_MS, 500), 1);
  assert.equal(tells(4 * WINDOW_MS + 1000, 500), 0);
  assert.equal(tells(60 * WINDOW_MS, 500), 1);
});

test('the author is named as far as the kernel tells', () => {
  assert.match(authorWords({ portId: 77, program: 'nft' }), /"nft" with process id 77/);
  assert.match(authorWords({ portId: 77 }), /a program with process id 77/);
  assert.match(authorWords(undefined), /^NetworkManager/);
});
