// The WASM kernel against its plain twin, over an arena's memory. Needs checksum.wasm (the set-up step makes it).
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { loadChecksum } from '../../agent/dataplane/checksum.ts';
import { Arena } from '../../agent/linux/arena.ts';
import { sumWords } from '../../proto/checksum.ts';
import { randomInt, seededRandom, testSeed } from '../support/random.ts';

const seed = testSeed();

test(`checksum kernel: equals the plain sum at any offset and length (seed ${seed})`, () => {
  const random = seededRandom(seed);
  const arena = new Arena(1 << 18);
  const sum = loadChecksum(arena.memory);
  for (let at = 0; at < arena.bytes.length; at++) arena.bytes[at] = randomInt(random, 256);
  for (let length = 0; length < 200; length++) {
    assert.equal(
      sum(1000 + length, length),
      sumWords(arena.bytes, 1000 + length, length),
      `length ${length}`,
    );
  }
  for (let round = 0; round < 2000; round++) {
    const length = randomInt(random, round % 10 === 0 ? 65_536 : 1600);
    const offset = randomInt(random, arena.bytes.length - length);
    assert.equal(sum(offset, length), sumWords(arena.bytes, offset, length), `${length} B at ${offset}`);
  }
});

test('checksum kernel: 65,535 bytes of 0xff do not overflow', () => {
  const arena = new Arena(1 << 17);
  const sum = loadChecksum(arena.memory);
  arena.bytes.fill(0xff);
  assert.equal(sum(1, 65_535), sumWords(arena.bytes, 1, 65_535));
});

test('checksum kernel: reads up to the last byte of the memory and not beyond', () => {
  const arena = new Arena(65_536);
  const sum = loadChecksum(arena.memory);
  arena.bytes.fill(1);
  for (let length = 1; length < 130; length++) {
    assert.equal(sum(65_536 - length, length), sumWords(arena.bytes, 65_536 - length, length));
  }
});
