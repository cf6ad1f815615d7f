// Differential: whatever ingress makes of random batches is, cut again by the naive implementation, exactly what was accepted, per flow in
// the order of arrival (segment ∘ coalesce = identity). Any merging that keeps this is right; how much must be merged is in
// offload-merging.test.ts. WEFT_OFFLOAD_CASES makes the run longer (npm run soak:offload).
import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { TunWrite } from '../support/dataplane-rig.ts';
import { checkWrites, expectationOf } from '../support/merging-oracle.ts';
import { type Datagram, createIngressRig } from '../support/offload-rig.ts';
import { Chance } from '../support/random-packets.ts';
import { randomArrivals } from '../support/random-arrivals.ts';
import { testSeed } from '../support/random.ts';

const CASES = Number(process.env['WEFT_OFFLOAD_CASES'] ?? 1_000_000);
const REGRESSIONS: readonly (readonly [seed: number, once: string])[] = [
  [3_228_288_003, 'a segment whose complete checksum equals its pseudo header’s sum'],
  // The batch that seed 3347749082 comes to after 301144 frames, as the first.
  [306_305_528, 'an uncut datagram with a damaged length, of which only the first piece has overlay headers'],
];
const REGRESSION_CASES = 20_000;

interface Outcome {
  readonly frames: number;
  readonly merged: number;
  readonly refused: number;
}

function run(seed: number, cases: number): Outcome {
  const chance = new Chance(seed);
  const rig = createIngressRig();
  let frames = 0;
  let merged = 0;
  let refused = 0;
  while (frames < cases) {
    const datagrams = randomArrivals(chance);
    const expected = expectationOf(datagrams, rig.mtu);
    const { writes, refusals, intact } = rig.receive(datagrams);
    try {
      merged += checkWrites(writes, expected);
      assert.deepEqual(refusals, expected.refusals);
      assert.ok(intact, 'the receive buffers are not changed');
    } catch (error) {
      throw new Error(`WEFT_TEST_SEED=${seed}, the batch after ${frames} frames`, { cause: error });
    }
    frames += expected.frames;
    refused += Object.values(refusals).reduce((sum, count) => sum + count, 0);
  }
  return { frames, merged, refused };
}

test('what ingress writes, cut again, is what arrived', (t) => {
  const seed = testSeed();
  t.diagnostic(`WEFT_TEST_SEED=${seed}`);
  const start = performance.now();
  const { frames, merged, refused } = run(seed, CASES);
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  t.diagnostic(`${frames} frames in ${seconds} s: ${merged} merged into another's write, ${refused} refused`);
  assert.ok(merged > frames / 20 && refused > 0, 'both happen');
});

for (const [seed, once] of REGRESSIONS) {
  test(`what ingress writes, cut again, is what arrived: seed ${seed}, ${once}`, () => {
    run(seed, REGRESSION_CASES);
  });
}

/** A batch with two merged writes and one alone, at least, and what came of it. */
function merging(): { datagrams: Datagram[]; writes: TunWrite[] } {
  const chance = new Chance(7);
  const rig = createIngressRig();
  for (;;) {
    const datagrams = randomArrivals(chance);
    const { writes } = rig.receive(datagrams);
    const gso = writes.filter(({ header }) => header[1] !== 0);
    if (gso.length >= 2 && writes.length >= 4) return { datagrams, writes };
  }
}

test('the oracle sees lost, doubled, reordered, changed and mended writes', () => {
  const { datagrams, writes } = merging();
  const expected = expectationOf(datagrams, 1450);
  checkWrites(writes, expected);
  const merged = writes.findIndex(({ header }) => header[1] !== 0);
  const changed = (change: (write: { header: Uint8Array; packet: Uint8Array }) => void): TunWrite[] =>
    writes.map((write, index) => {
      if (index !== merged) return write;
      const copy = { ...write, header: write.header.slice(), packet: write.packet.slice() };
      change(copy);
      return copy;
    });
  const wrong: readonly (readonly [what: string, writes: readonly TunWrite[]])[] = [
    ['lost', writes.toSpliced(merged, 1)],
    ['doubled', [...writes, ...writes.slice(merged, merged + 1)]],
    ['another gso size', changed(({ header }) => (header[4]! ^= 1))], // !: ten bytes
    ['no checksum asked for', changed(({ header }) => (header[0] = 0))],
    ['another identification', changed(({ packet }) => (packet[5]! ^= 1))], // !: a whole header
    ['a changed payload', changed(({ packet }) => (packet[packet.length - 1]! ^= 1))], // !: not empty
    [
      'a field that is not the pseudo sum',
      changed(({ packet }) => (packet[packet[9] === 6 ? 36 : 26]! ^= 1)),
    ], // !: as above
    ['another header length', changed(({ header }) => (header[2]! ^= 4))], // !: ten bytes
  ];
  for (const [what, those] of wrong)
    assert.throws(() => checkWrites(those, expected), assert.AssertionError, what);
});
