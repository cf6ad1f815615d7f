import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { parseIpv4 } from '../../proto/address-text.ts';
import {
  complement,
  fold,
  loadWord,
  protocolLengthSum,
  pseudoHeaderSum,
  storeWord,
  sumWords,
  swapBytes,
  transportChecksum,
  transportChecksumState,
  updateChecksum,
} from '../../proto/checksum.ts';
import { placed, randomBytes, randomInt, seededRandom, testSeed } from '../support/random.ts';

/** Independent of the code under test: big-endian words, modulo 2^16 - 1, one byte at a time. Never 0 but for all-zero input. */
function slowSum(bytes: Uint8Array): number {
  let sum = 0;
  bytes.forEach((byte, at) => {
    sum += at % 2 === 0 ? byte * 256 : byte;
  });
  return sum === 0 ? 0 : ((sum - 1) % 0xffff) + 1;
}

const pseudoHeader = {
  source: parseIpv4('10.32.0.1'),
  destination: parseIpv4('10.32.0.65'),
  protocol: 17,
  transportBytes: 9,
};

describe('checksum', () => {
  it('sumWords, fold and complement give the example of RFC 1071 section 3', () => {
    const { buffer, offset } = placed(Uint8Array.of(0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7));
    const sum = sumWords(buffer, offset, 8);
    assert.equal(swapBytes(fold(sum)), 0xddf2);
    assert.equal(swapBytes(complement(sum)), 0x220d);
  });

  it('sumWords agrees with a slow sum at random offsets and lengths, odd ones included', (t) => {
    const seed = testSeed();
    t.diagnostic(`WEFT_TEST_SEED=${seed}`);
    const random = seededRandom(seed);
    for (let round = 0; round < 500; round += 1) {
      const { buffer, offset, view } = placed(
        randomBytes(random, randomInt(random, 200)),
        1 + randomInt(random, 8),
      );
      const folded = swapBytes(fold(sumWords(buffer, offset, view.length)));
      assert.equal(folded, slowSum(view), `offset ${offset}, ${view.length} bytes`);
    }
  });

  it('fold takes the largest packet: the sum stays below 2^32', () => {
    const sum = sumWords(new Uint8Array(65_535).fill(0xff), 0, 65_535) + 6 * 0xffff;
    assert.ok(sum < 2 ** 32);
    assert.equal(fold(sum), ((sum - 1) % 0xffff) + 1);
    assert.equal(fold(2 ** 32 - 1), 0xffff);
    assert.equal(fold(0x1_fffe), 0xffff);
  });

  it('storeWord and loadWord keep a word and touch two bytes', () => {
    const bytes = Uint8Array.of(0xa5, 0xa5, 0xa5, 0xa5);
    storeWord(bytes, 1, 0x220d);
    assert.deepEqual([...bytes], [0xa5, 0x0d, 0x22, 0xa5]);
    assert.equal(loadWord(bytes, 1), 0x220d);
  });

  it('pseudoHeaderSum equals the sum of the pseudo header as bytes', () => {
    const bytes = Uint8Array.of(10, 32, 0, 1, 10, 32, 0, 65, 0, 17, 0, 9);
    assert.equal(pseudoHeaderSum(pseudoHeader), sumWords(bytes, 0, 12));
    assert.equal(sumWords(bytes, 0, 8) + protocolLengthSum(17, 9), sumWords(bytes, 0, 12));
    assert.equal(protocolLengthSum(6, 0x1234), sumWords(Uint8Array.of(0, 6, 0x12, 0x34), 0, 4));
  });

  it('updateChecksum gives the example of RFC 1624 section 4', () => {
    assert.equal(updateChecksum(0xdd2f, 0x5555, 0x3285), 0x0000);
  });

  it('updateChecksum agrees with computing anew for random changes', (t) => {
    const seed = testSeed();
    t.diagnostic(`WEFT_TEST_SEED=${seed}`);
    const random = seededRandom(seed);
    for (let round = 0; round < 500; round += 1) {
      const bytes = randomBytes(random, 40);
      const before = loadWord(bytes, 6);
      const checksum = complement(sumWords(bytes, 0, 40));
      const after = randomInt(random, 0x10000);
      storeWord(bytes, 6, after);
      assert.equal(updateChecksum(checksum, before, after), complement(sumWords(bytes, 0, 40)));
    }
  });

  it('transportChecksum ignores what the field holds, and transportChecksumState tells the three states', () => {
    const { view: segment } = placed(Uint8Array.of(0x80, 0, 0, 9, 0, 9, 0xa5, 0xa5, 0x5a));
    const checksummed = { pseudoHeader, segment, checksumOffset: 6 };
    assert.equal(transportChecksumState(checksummed), 'wrong');
    storeWord(segment, 6, fold(pseudoHeaderSum(pseudoHeader)));
    assert.equal(transportChecksumState(checksummed), 'partial');
    storeWord(segment, 6, transportChecksum(checksummed));
    assert.equal(transportChecksumState(checksummed), 'complete');
    const sum = slowSum(Uint8Array.of(10, 32, 0, 1, 10, 32, 0, 65, 0, 17, 0, 9, ...segment, 0));
    assert.equal(sum, 0xffff);
  });
});
