import assert from 'node:assert/strict';
import { test } from 'node:test';

import { ORDER_ANNOTATION } from '../../agent/control/blocks/own-blocks.ts';
import { OperationError } from '../../agent/operation-error.ts';
import { formatCidr } from '../../proto/address.ts';
import { parseCidr, parseIpv4 } from '../../proto/address-text.ts';
import { QUIET } from './claim-fakes.ts';
import { type Rig, STATE, createRig } from './claim-rig.ts';

test('join: first block and a spare, two writes, and then nothing while idle', async () => {
  const { claims, api, pool, time, settle } = createRig();
  await settle();
  assert.deepEqual(api.writes, ['create 10.40.0.0-26', 'create 10.40.0.64-26']);
  assert.deepEqual(pool.blocks.map(formatCidr), ['10.40.0.0/26', '10.40.0.64/26']);
  assert.deepEqual(api.objects.get('10.40.0.0-26')?.metadata, {
    name: '10.40.0.0-26',
    annotations: { 'weft.dev/order': '1' },
    uid: 'uid-1',
    resourceVersion: '1',
  });
  assert.deepEqual(api.objects.get('10.40.0.0-26')?.spec, {
    cidr: '10.40.0.0/26',
    node: 'a',
    nodeUid: 'a-uid',
    stateId: STATE,
  });
  for (let hour = 0; hour < 24; hour++) {
    time.now += 3_600_000;
    await settle();
  }
  assert.equal(api.writes.length, 2);
  assert.equal(claims.pendingClaims(), 0);
});

test('growth: one spare ahead of need, next to the others; shrinking: back after the quiet time, the spare stays', async () => {
  const { claims, api, pool, time, settle, events } = createRig();
  await settle();
  pool.fill(pool.blocks[0]!, 62);
  await settle();
  assert.equal(pool.blocks.length, 2, 'one block is free: enough');
  pool.fill(pool.blocks[1]!, 1);
  await settle();
  pool.fill(pool.blocks[1]!, 62);
  await settle();
  pool.fill(pool.blocks[2]!, 2);
  await settle();
  assert.deepEqual(claims.usable().map(formatCidr), [
    '10.40.0.0/26',
    '10.40.0.64/26',
    '10.40.0.128/26',
    '10.40.0.192/26',
  ]);
  const before = api.writes.length;
  pool.used.clear();
  const wait = await settle();
  assert.equal(api.writes.length, before, 'not at once');
  time.now += wait! - 1;
  await settle();
  assert.equal(api.writes.length, before);
  time.now += 1;
  await settle();
  assert.deepEqual(api.writes.slice(before), ['delete 10.40.0.192-26', 'delete 10.40.0.128-26']);
  assert.deepEqual(pool.blocks.map(formatCidr), ['10.40.0.0/26', '10.40.0.64/26']);
  time.now += 10 * QUIET;
  await settle();
  assert.equal(api.writes.length, before + 2);
  assert.deepEqual(events.filter((event) => event === 'block_released').length, 2);
});

test('blocks of another size are left alone', async () => {
  const { pool, settle } = createRig({
    range: '10.32.0.0/24',
    prepare: (api) => api.give('10.32.0.128/25', 'b'),
  });
  await settle();
  assert.deepEqual(pool.blocks.map(formatCidr), ['10.32.0.64/26', '10.32.0.0/26']);
});

test('a block size that was raised: what overlaps blocks of the old size is not made, also under pods', async () => {
  for (const source of ['api', 'snapshot'] as const) {
    const { api, pool, settle, view, events } = createRig({
      prepare: (api, pool) => {
        pool.used.add(parseIpv4('10.32.9.5'));
        api.give('10.32.9.0/27', 'a', { stateId: STATE });
        api.give('10.32.9.32/27', 'b');
      },
      source,
    });
    view.source = 'api';
    await settle();
    assert.ok(!pool.blocks.some(({ base }) => base === parseIpv4('10.32.9.0')));
    assert.ok(!api.writes.includes('create 10.32.9.0-26'));
    assert.ok(events.includes('block_fenced'));
  }
});

test('a conflict: another block, and the lost one is not asked for again', async () => {
  const rig = createRig();
  const { api, settle } = rig;
  api.give('10.40.0.0/26', 'b');
  const hidden = api.objects.get('10.40.0.0-26')!;
  // The view does not show it yet.
  const original = api.createBlock.bind(api);
  api.objects.delete('10.40.0.0-26');
  api.createBlock = async (block) => {
    api.objects.set('10.40.0.0-26', hidden);
    try {
      return await original(block);
    } finally {
      api.objects.delete('10.40.0.0-26');
    }
  };
  await settle();
  assert.deepEqual(api.writes, ['create 10.40.0.0-26', 'create 10.39.255.192-26', 'create 10.39.255.128-26']);
  assert.deepEqual(rig.events, ['block_contested', 'block_claimed', 'block_claimed']);
  assert.deepEqual(rig.attempts, ['contested 0', 'claimed 0', 'claimed 0']);
});

test('each attempt to claim is told with the time since a block was wanted', async () => {
  const rig = createRig();
  const { api, time, settle } = rig;
  const original = api.createBlock.bind(api);
  api.createBlock = () => Promise.reject(new OperationError('Cannot claim', { code: 'UNAVAILABLE' }));
  const pauseMs = await settle();
  assert.deepEqual(rig.attempts.splice(0), ['failed 0']);
  assert.ok(pauseMs !== undefined);
  time.now += pauseMs;
  api.createBlock = original;
  await settle();
  assert.deepEqual(rig.attempts, [`claimed ${pauseMs / 1000}`, 'claimed 0']);
});

test('a block of ours that vanished is created again at once, in its old place', async () => {
  const { claims, api, pool, settle, events } = createRig();
  await settle();
  pool.fill(pool.blocks[0]!, 3);
  await settle();
  api.remove('10.40.0.0-26');
  await settle();
  assert.deepEqual(api.writes.slice(2), ['create 10.40.0.0-26']);
  assert.ok(events.includes('block_restored'));
  assert.deepEqual(claims.usable().map(formatCidr), ['10.40.0.0/26', '10.40.0.64/26']);
  assert.equal(api.objects.get('10.40.0.0-26')?.metadata.annotations?.[ORDER_ANNOTATION], '1');
});

test("a block of ours that vanished gives out nothing until it is there again: it may be another node's by now", async () => {
  const { claims, api, pool, settle, time } = createRig();
  await settle();
  pool.fill(pool.blocks[0]!, 3);
  await settle();
  api.remove('10.40.0.0-26');
  api.failure = 'UNAVAILABLE';
  claims.look();
  assert.deepEqual(pool.blocks.map(formatCidr), ['10.40.0.64/26']);
  const delay = await settle();
  api.failure = undefined;
  time.now += delay!;
  await settle();
  assert.deepEqual(pool.blocks.map(formatCidr), ['10.40.0.0/26', '10.40.0.64/26']);
});

test('a block that another node holds is fenced: said once, no new addresses, forgotten when its pods are gone', async () => {
  const { claims, api, pool, settle, events } = createRig();
  await settle();
  pool.fill(pool.blocks[0]!, 3);
  await settle();
  api.remove('10.40.0.0-26');
  api.give('10.40.0.0/26', 'b');
  await settle();
  await settle();
  assert.equal(events.filter((event) => event === 'block_fenced').length, 1);
  assert.ok(!pool.blocks.some((block) => formatCidr(block) === '10.40.0.0/26'));
  assert.deepEqual(
    claims.state().find(({ state }) => state === 'fenced'),
    {
      cidr: parseCidr('10.40.0.0/26'),
      state: 'fenced',
      used: 3,
    },
  );
  assert.equal(api.objects.get('10.40.0.0-26')?.spec.node, 'b');
  pool.used.clear();
  await settle();
  assert.ok(!claims.state().some(({ state }) => state === 'fenced'));
});

test('another node creates it between the vanishing and ours: fenced, never both', async () => {
  const { claims, api, settle } = createRig();
  await settle();
  api.remove('10.40.0.0-26');
  const original = api.createBlock.bind(api);
  api.createBlock = async (block) => {
    if (!api.objects.has('10.40.0.0-26')) api.give('10.40.0.0/26', 'b');
    return original(block);
  };
  await settle();
  assert.ok(!claims.usable().some((block) => formatCidr(block) === '10.40.0.0/26'));
});

test('without the API: what is known is kept, nothing is claimed, absence means nothing', async () => {
  const { claims, api, pool, settle, view } = createRig({
    source: 'snapshot',
    prepare: (api) => {
      api.give('10.32.9.0/26', 'a', { order: 2 });
      api.give('10.32.10.0/26', 'a', { order: 1 });
    },
  });
  assert.deepEqual(
    pool.blocks.map(formatCidr),
    ['10.32.10.0/26', '10.32.9.0/26'],
    'in the order of claim, before any step',
  );
  api.objects.clear();
  assert.equal(await settle(), undefined);
  assert.deepEqual(api.writes, []);
  assert.equal(claims.usable().length, 2);
  view.source = 'api';
  await settle();
  assert.deepEqual(api.writes, ['create 10.32.10.0-26', 'create 10.32.9.0-26']);
});

test('what the view shows is taken in at once, while a request is under way', async () => {
  const { api, claims, pool, settle } = createRig();
  await settle();
  pool.fill(pool.blocks[1]!, 1);
  let answer: () => void = () => undefined;
  api.createBlock = () => new Promise((_, reject) => (answer = () => reject(new Error('late'))));
  const step = claims.step();
  api.remove('10.40.0.0-26');
  api.give('10.40.0.0/26', 'b');
  claims.look();
  assert.deepEqual(pool.blocks.map(formatCidr), ['10.40.0.64/26']);
  answer();
  await step;
});

test('an answer that got lost: the same block is asked for again, and found to be ours', async () => {
  const { claims, api, settle, time, events } = createRig();
  api.loseAnswer = true;
  const delay = await settle();
  assert.ok(delay !== undefined && delay > 0);
  api.loseAnswer = false;
  time.now += delay;
  await settle();
  assert.deepEqual(api.writes, ['create 10.40.0.0-26', 'create 10.40.0.64-26']);
  assert.equal(claims.usable().length, 2);
  assert.ok(events.includes('block_claim_failed'));
});

test('an unavailable API is asked at growing intervals; the failure is told once, and once more after a success', async () => {
  const { api, settle, time, events } = createRig();
  api.failure = 'UNAVAILABLE';
  const delays: number[] = [];
  for (let attempt = 0; attempt < 8; attempt++) {
    const delay = await settle();
    delays.push(delay ?? 0);
    time.now += delay ?? 0;
  }
  assert.deepEqual(delays, [750, 1500, 3000, 6000, 12_000, 22_500, 22_500, 22_500]);
  assert.equal(api.writes.length, 8);
  api.failure = 'FORBIDDEN';
  for (let attempt = 0; attempt < 3; attempt++) time.now += (await settle()) ?? 0;
  api.failure = undefined;
  time.now += 60_000;
  await settle();
  assert.deepEqual(events, ['block_claim_failed', 'block_claim_failed', 'block_claimed', 'block_claimed']);
});

/** Three blocks, two of them for longer than the node needs. */
async function leaveOneTooMany({ pool, settle, time }: Rig): Promise<void> {
  await settle();
  pool.fill(pool.blocks[0]!, 62);
  pool.fill(pool.blocks[1]!, 1);
  await settle();
  pool.used.clear();
  await settle();
  time.now += QUIET;
}

test('a block is not given back before the disk knows that it is not ours any more', async () => {
  const rig = createRig();
  const { api, claims, pool, settle, time, disk } = rig;
  await leaveOneTooMany(rig);
  disk.writable = false;
  const before = [...api.objects.keys()];
  const delay = await settle();
  assert.deepEqual([...api.objects.keys()], before);
  assert.equal(pool.blocks.length, 2);
  assert.equal(before.filter((name) => claims.isGivenBack(name)).length, 1);
  disk.writable = true;
  time.now += delay!; // !: it failed
  await settle();
  assert.equal(api.objects.size, 2);
});

test('a give-back that was not answered is repeated until it is known; the block is not used meanwhile', async () => {
  const rig = createRig();
  const { api, pool, settle, time } = rig;
  await leaveOneTooMany(rig);
  api.failure = 'UNAVAILABLE';
  const delay = await settle();
  assert.equal(pool.blocks.length, 2);
  api.failure = undefined;
  time.now += delay!;
  await settle();
  assert.equal(api.objects.size, 2);
});
