// Randomness for tests: a seed that is printed, everything else follows from it. WEFT_TEST_SEED=… repeats a run.
import { getRandomValues } from 'node:crypto';

/** What an input's surroundings hold, so that a read or write outside of it shows. */
export const POISON = 0xa5;

/** mulberry32: the same sequence for the same seed, 0 ≤ x < 1. Not for secrets. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** The seed of this run: WEFT_TEST_SEED where it is set, otherwise a fresh one. The caller prints it. */
export function testSeed(): number {
  const text = process.env['WEFT_TEST_SEED'];
  if (text === undefined || text === '') return getRandomValues(new Uint32Array(1))[0]!; // !: length 1
  if (!/^\d{1,10}$/.test(text) || Number(text) > 0xffff_ffff) {
    throw new Error(`WEFT_TEST_SEED "${text}" is not a seed: write an integer from 0 to 4294967295`);
  }
  return Number(text);
}

/** An integer, 0 ≤ x < bound ≤ 2^32. */
export const randomInt = (random: () => number, bound: number): number => Math.floor(random() * bound);

export function randomBytes(random: () => number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at += 1) bytes[at] = randomInt(random, 256);
  return bytes;
}

/** A poisoned buffer and the place in it where a test's bytes are. */
export interface Placed {
  readonly buffer: Uint8Array;
  readonly offset: number;
  readonly length: number;
  /** The bytes themselves: a view at `offset`, which is never 0. */
  readonly view: Uint8Array;
}

/** Copies `bytes` to `offset` (odd by default, so that nothing is aligned by luck) of a buffer filled with POISON. */
export function placed(bytes: Uint8Array, offset: number = 7): Placed {
  const buffer = new Uint8Array(offset + bytes.length + 9).fill(POISON);
  buffer.set(bytes, offset);
  return { buffer, offset, length: bytes.length, view: buffer.subarray(offset, offset + bytes.length) };
}

/** Whether everything around the place is still POISON: nothing was written outside. */
export const surroundingsIntact = ({ buffer, offset, length }: Placed): boolean =>
  isPoison(buffer.subarray(0, offset)) && isPoison(buffer.subarray(offset + length));

const isPoison = (bytes: Uint8Array): boolean => bytes.every((byte) => byte === POISON);
