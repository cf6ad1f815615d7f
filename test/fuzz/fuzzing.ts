// Runs a decoder on a million cases. A case is its seed: the run's seed plus its number, so WEFT_TEST_SEED=… repeats a failed one as the
// first of its run. A seed is worth as much as the generator behind it stays the same: what was found once is kept as a test of its own
// in test/unit. WEFT_FUZZ_CASES makes runs longer.
import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';

import { seededRandom, testSeed } from '../support/random.ts';

export const FUZZ_CASES: number = Number(process.env['WEFT_FUZZ_CASES'] ?? 1_000_000);

/** What takes so long for one small input is a hang. */
const HANG_MS = 5000;

export interface FuzzTarget {
  /** One case, all of it out of `random`. Returns what became of it; throws when something is wrong. */
  readonly attempt: (random: () => number) => string;
  /** Each must be met: a run that misses one did not try it. */
  readonly outcomes: readonly string[];
  readonly cases?: number;
}

export function fuzz(context: TestContext, { attempt, outcomes, cases = FUZZ_CASES }: FuzzTarget): void {
  const seed = testSeed();
  context.diagnostic(`WEFT_TEST_SEED=${seed}`);
  const met = new Map<string, number>();
  const run = (caseSeed: number): void => {
    const start = performance.now();
    try {
      const outcome = attempt(seededRandom(caseSeed));
      met.set(outcome, (met.get(outcome) ?? 0) + 1);
    } catch (error) {
      throw new Error(`WEFT_TEST_SEED=${caseSeed} repeats this case first`, { cause: error });
    }
    const spentMs = performance.now() - start;
    assert.ok(spentMs < HANG_MS, `case ${caseSeed} took ${spentMs.toFixed(0)} ms`);
  };
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0; // decoders meet exceptions of parsers by the hundred thousand; a failed case is repeated to see more
  context.after(() => (Error.stackTraceLimit = stackTraceLimit));
  for (let at = 0; at < cases; at++) run((seed + at) >>> 0);
  const counts = [...met].toSorted(([, a], [, b]) => b - a).map(([outcome, count]) => `${count} ${outcome}`);
  context.diagnostic(`${cases} cases: ${counts.join(', ')}`);
  for (const outcome of outcomes) assert.ok(met.has(outcome), `no case ended with "${outcome}"`);
}
