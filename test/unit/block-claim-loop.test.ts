import assert from 'node:assert/strict';
import { test } from 'node:test';

import { startBlockClaims } from '../../agent/control/blocks/block-claim-loop.ts';
import { createRig } from './claim-rig.ts';

test('startBlockClaims: steps do not overlap and a wake-up during one is not lost', async () => {
  let inside = 0;
  let steps = 0;
  let release: () => void = () => undefined;
  const loop = startBlockClaims({
    claims: {
      step: async () => {
        assert.equal(inside++, 0);
        steps += 1;
        await new Promise<void>((resolve) => (release = resolve));
        inside--;
        return undefined;
      },
      state: () => [],
    },
    clock: { setTimer: () => () => undefined },
  });
  loop.wake();
  loop.wake();
  release();
  for (let turn = 0; turn < 5; turn++) await Promise.resolve();
  assert.equal(steps, 2);
  release();
  await loop.stop();
  loop.wake();
  assert.equal(steps, 2);
});

test('startBlockClaims: is told of blocks that come, not of the steps that follow each allocation', async () => {
  const { claims, pool } = createRig();
  let told = 0;
  const loop = startBlockClaims({
    claims,
    clock: { setTimer: () => () => undefined },
    changed: () => (told += 1),
  });
  const step = async (): Promise<void> => {
    loop.wake();
    for (let turn = 0; turn < 100; turn++) await Promise.resolve();
  };
  await step();
  const [first, ...spare] = claims.state();
  assert.ok(first !== undefined && spare.length === 1);
  const toldBefore = told;
  for (let pods = 1; pods <= 60; pods++) {
    pool.fill(first.cidr, pods);
    await step();
  }
  assert.equal(told, toldBefore);
  pool.fill(first.cidr, 62);
  pool.fill(spare[0]!.cidr, 1); // !: one, above
  await step();
  assert.equal(claims.state().length, 3);
  assert.equal(told, toldBefore + 1);
  await loop.stop();
});
