// 64 agents' claim logic and API client against the embedded API server, for 16 blocks, a thousand times: requests are carried out and
// answered in random order, some answers get lost. The same against the real API server: test/cluster/block-race.test.ts.
import { once } from 'node:events';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';

import type { RaceResult } from '../support/block-race.ts';
import { testSeed } from '../support/random.ts';
import type { RaceOrder } from './block-race-rounds.ts';

const ROUNDS = 1000;
const AGENTS = 64;
const WORKERS = 2;

async function race(order: RaceOrder): Promise<readonly RaceResult[]> {
  const worker = new Worker(new URL('block-race-rounds.ts', import.meta.url), { workerData: order });
  const [results] = (await once(worker, 'message')) as [readonly RaceResult[]]; // as: what it posts
  return results;
}

test(`${AGENTS} agents race for 16 blocks, ${ROUNDS} times: every block has exactly one owner`, async (t) => {
  const seed = testSeed();
  t.diagnostic(`WEFT_TEST_SEED=${seed}`);
  const rounds = ROUNDS / WORKERS;
  const orders = Array.from({ length: WORKERS }, (_, at) => ({
    seed: (seed + at * rounds) >>> 0,
    rounds,
    agents: AGENTS,
  }));
  const results = (await Promise.all(orders.map(race))).flat();
  const mean = (of: (result: RaceResult) => number): string =>
    (results.reduce((sum, result) => sum + of(result), 0) / results.length).toFixed(1);
  t.diagnostic(
    `${results.length} rounds, ${mean(({ creates }) => creates)} requests and ${mean(({ owners }) => owners)} owners a round`,
  );
});
