// How many blocks a node asks for when they are few.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { type Cidr, formatCidr } from '../../proto/address.ts';
import { QUARANTINE, type SimulatedPool } from './claim-fakes.ts';
import { createRig } from './claim-rig.ts';

test('a freed block is not claimed before its quarantine is over', async () => {
  const { api, pool, time, settle, events, claims } = createRig({
    range: '10.32.0.0/25',
    prepare: (api) => {
      api.give('10.32.0.0/26', 'b');
      api.give('10.32.0.64/26', 'c');
    },
  });
  await settle();
  assert.deepEqual(api.writes, []);
  assert.deepEqual(events, ['range_exhausted']);
  assert.equal(claims.pendingClaims(), 1);
  api.remove('10.32.0.64-26');
  const wait = await settle();
  assert.ok(wait !== undefined && wait <= 60_000);
  time.now += QUARANTINE - 1;
  await settle();
  assert.deepEqual(api.writes, []);
  time.now += 1;
  await settle();
  assert.deepEqual(pool.blocks.map(formatCidr), ['10.32.0.64/26']);
});

function fillWhole(pool: SimulatedPool, block: Cidr): void {
  pool.fill(block, 62);
  pool.used.add(block.base);
}

test('the last blocks are left to nodes that have none; a spare is given back for one', async () => {
  const { api, claims, pool, settle, time } = createRig({ range: '10.32.0.0/25' });
  await settle();
  assert.equal(claims.usable().length, 2, 'nobody waits');
  api.waiting = 1;
  await settle();
  assert.equal(claims.usable().length, 1, 'given back at once');
  time.now += QUARANTINE;
  await settle();
  assert.equal(claims.usable().length, 1, 'not taken again');
  assert.equal(claims.pendingClaims(), 0);
  fillWhole(pool, pool.blocks[0]!);
  await settle();
  assert.equal(claims.usable().length, 2, 'no address was free');
});

test('what a person has to know: the range is used up, or this node has all that it may have', async () => {
  const { api, claims, pool, settle } = createRig({
    range: '10.32.0.0/25',
    prepare: (api) => api.give('10.32.0.64/26', 'b'),
  });
  await settle();
  assert.equal(claims.trouble(), undefined, 'addresses are left');
  fillWhole(pool, pool.blocks[0]!);
  await settle();
  assert.equal(claims.trouble()?.code, 'RANGE_EXHAUSTED');
  assert.match(claims.trouble()?.message ?? '', /No block of 10\.32\.0\.0\/25 is left to claim: 2 are held/);
  api.remove('10.32.0.64-26');
  pool.used.clear();
  await settle();
  assert.equal(claims.trouble(), undefined);
});
