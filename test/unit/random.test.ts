import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';

import {
  placed,
  randomBytes,
  randomInt,
  seededRandom,
  surroundingsIntact,
  testSeed,
} from '../support/random.ts';

describe('seededRandom', () => {
  it('repeats its sequence for a seed and differs for another', () => {
    const sequence = (seed: number): number[] => Array.from({ length: 20 }, seededRandom(seed));
    assert.deepEqual(sequence(7), sequence(7));
    assert.notDeepEqual(sequence(7), sequence(8));
  });

  it('stays in 0 ≤ x < 1 and fills the range evenly', () => {
    const random = seededRandom(1);
    const counts = new Uint32Array(16);
    for (let draw = 0; draw < 16_000; draw += 1) counts[randomInt(random, 16)]! += 1;
    assert.equal(
      counts.reduce((sum, count) => sum + count),
      16_000,
    );
    assert.ok(
      counts.every((count) => count > 850 && count < 1150),
      counts.join(' '),
    );
  });
});

describe('testSeed', () => {
  const before = process.env['WEFT_TEST_SEED'];
  afterEach(() => {
    if (before === undefined) delete process.env['WEFT_TEST_SEED'];
    else process.env['WEFT_TEST_SEED'] = before;
  });

  it('takes WEFT_TEST_SEED and refuses what is no seed', () => {
    process.env['WEFT_TEST_SEED'] = '4294967295';
    assert.equal(testSeed(), 0xffff_ffff);
    for (const text of ['4294967296', '-1', '1.5', 'abc', '0x10']) {
      process.env['WEFT_TEST_SEED'] = text;
      assert.throws(() => testSeed(), new RegExp(`WEFT_TEST_SEED "${text}" is not a seed`));
    }
  });
});

describe('placed', () => {
  it('puts the bytes at an offset, and surroundingsIntact sees a write on either side', () => {
    const bytes = randomBytes(seededRandom(1), 10);
    for (const at of [-1, 10]) {
      const place = placed(bytes, 3);
      assert.deepEqual(place.view, bytes);
      assert.equal(place.view.byteOffset, 3);
      place.view.fill(0);
      assert.ok(surroundingsIntact(place));
      place.buffer[place.offset + at] = 0;
      assert.equal(surroundingsIntact(place), false);
    }
  });
});
