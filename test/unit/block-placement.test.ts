import assert from 'node:assert/strict';
import { test } from 'node:test';

import { blocksTouching, chooseBlock } from '../../agent/ipam/block-placement.ts';
import { decodeBlockName, formatBlockName } from '../../agent/ipam/block-name.ts';
import { type BlockIndex, blockIndex } from '../../proto/address.ts';
import { parseCidr } from '../../proto/address-text.ts';
import { randomInt, seededRandom, testSeed } from '../support/random.ts';

const indexes = (...values: number[]): Set<BlockIndex> => new Set(values.map(blockIndex));
const middle = (): number => 0.5;

test('chooseBlock: first blocks split the range evenly', (t) => {
  const seed = testSeed();
  t.diagnostic(`seed ${seed}`);
  const random = seededRandom(seed);
  const count = 16_384;
  const claimed = new Set<BlockIndex>();
  for (let node = 0; node < 64; node++) {
    const chosen = chooseBlock({ count, own: [], claimed, barred: new Set(), random });
    assert.ok(chosen !== undefined && !claimed.has(chosen));
    claimed.add(chosen);
  }
  const sorted = [...claimed].sort((a, b) => a - b);
  const gaps = sorted.map((index, at) => index - (sorted[at - 1] ?? -1));
  // 64 nodes: 252 blocks each if it were perfect; everybody has room for a good part of that.
  assert.ok(Math.min(...gaps) > 60, `smallest gap ${Math.min(...gaps)}`);
  assert.ok(Math.max(...gaps) < 900, `largest gap ${Math.max(...gaps)}`);
});

test('chooseBlock: two nodes that join an empty cluster at once rarely choose the same', (t) => {
  const seed = testSeed();
  t.diagnostic(`seed ${seed}`);
  const random = seededRandom(seed);
  const choose = (): BlockIndex | undefined =>
    chooseBlock({ count: 16_384, own: [], claimed: new Set(), barred: new Set(), random });
  let same = 0;
  for (let round = 0; round < 1000; round++) if (choose() === choose()) same += 1;
  assert.ok(same < 10, `${same} of 1000`);
});

test('chooseBlock: without jitter the first block is the middle of the largest gap', () => {
  assert.equal(
    chooseBlock({ count: 64, own: [], claimed: new Set(), barred: new Set(), random: middle }),
    32,
  );
  assert.equal(
    chooseBlock({ count: 64, own: [], claimed: indexes(32), barred: new Set(), random: middle }),
    48,
  );
  assert.equal(
    chooseBlock({ count: 64, own: [], claimed: indexes(10, 48), barred: new Set(), random: middle }),
    29,
  );
});

test('chooseBlock: a further block is the next one, the one before, or the nearest', () => {
  const own = [blockIndex(10)];
  const next = (claimed: Set<BlockIndex>, barred = indexes()): number | undefined =>
    chooseBlock({ count: 64, own, claimed, barred, random: middle });
  assert.equal(next(indexes(10)), 11);
  assert.equal(next(indexes(10, 11)), 9);
  assert.equal(next(indexes(10), indexes(11)), 9);
  assert.equal(next(indexes(10, 11, 9)), 8);
  assert.equal(next(indexes(10, 11, 9, 8, 7)), 12);
  assert.equal(
    chooseBlock({
      count: 64,
      own: [blockIndex(63)],
      claimed: indexes(63),
      barred: indexes(),
      random: middle,
    }),
    62,
  );
});

test('chooseBlock: never a claimed or barred block, and one as long as there is any', (t) => {
  const seed = testSeed();
  t.diagnostic(`seed ${seed}`);
  const random = seededRandom(seed);
  for (let round = 0; round < 300; round++) {
    const count = 1 + randomInt(random, 40);
    const all = Array.from({ length: count }, (_, index) => blockIndex(index));
    const claimed = new Set(all.filter(() => random() < 0.5));
    const barred = new Set(all.filter(() => random() < 0.3));
    const own = [...claimed].filter(() => random() < 0.3);
    const chosen = chooseBlock({ count, own, claimed, barred, random });
    const free = all.filter((index) => !claimed.has(index) && !barred.has(index));
    if (free.length === 0) assert.equal(chosen, undefined);
    else assert.ok(chosen !== undefined && free.includes(chosen), `${chosen} of ${free.join(' ')}`);
  }
});

test('blocksTouching: smaller, larger, partly outside and foreign prefixes', () => {
  const range = parseCidr('10.32.0.0/24');
  const touching = (cidr: string): readonly number[] => blocksTouching(range, 26, parseCidr(cidr));
  assert.deepEqual(touching('10.32.0.64/26'), [1]);
  assert.deepEqual(touching('10.32.0.130/32'), [2]);
  assert.deepEqual(touching('10.32.0.0/25'), [0, 1]);
  assert.deepEqual(touching('10.0.0.0/8'), [0, 1, 2, 3]);
  assert.deepEqual(touching('10.33.0.0/16'), []);
});

test('block names: one spelling, and back', () => {
  const block = parseCidr('10.32.4.0/26');
  assert.equal(formatBlockName(block), '10.32.4.0-26');
  assert.deepEqual(decodeBlockName('10.32.4.0-26'), { ok: true, value: block });
  for (const name of [
    '',
    '10.32.4.0',
    '10.32.4.0/26',
    '10.32.4.1-26',
    '10.32.4.0-026',
    '010.32.4.0-26',
    'x-26',
  ]) {
    assert.equal(decodeBlockName(name).ok, false, name);
  }
});
