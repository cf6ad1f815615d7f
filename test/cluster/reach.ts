// Two pods reach each other, whatever was done to the cluster before: by UDP (small, whole, in fragments) and TCP, from both sides.
import assert from 'node:assert/strict';

import { until } from '../lab/condition.ts';
import type { ProbePod } from './probe-pods.ts';

const SIZES = [1, 1000, 4000];
const REACH_BOUND_MS = 60_000;

/** The first answer is waited for; after it nothing may be missing. */
export async function reachEachOther(one: ProbePod, other: ProbePod): Promise<void> {
  const expected = SIZES.map((bytes) => ({ bytes, intact: true }));
  for (const [from, to] of [
    [one, other],
    [other, one],
  ] as const) {
    const endpoint = await from.endpoint();
    await to.endpoint();
    await until(async () => (await endpoint.udpEcho(to.address, [1])).length === 1, {
      what: `${to.name} to answer ${from.name}`,
      boundMs: REACH_BOUND_MS,
    });
    const answers = await endpoint.udpEcho(to.address, SIZES);
    assert.deepEqual(
      answers.map(({ bytes, intact }) => ({ bytes, intact })),
      expected,
      `${from.name} to ${to.name}`,
    );
    await endpoint.tcpEcho(to.address);
  }
}
