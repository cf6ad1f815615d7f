import assert from 'node:assert/strict';
import { test } from 'node:test';

import { startBlockClaims } from '../../agent/control/blocks/block-claim-loop.ts';
import { type BlockClaims, createBlockClaims } from '../../agent/control/blocks/block-claims.ts';
import { ORDER_ANNOTATION } from '../../agent/control/blocks/own-blocks.ts';
import { formatCidr } from '../../proto/address.ts';
import { parseCidr } from '../../proto/address-text.ts';
import { QUARANTINE, QUIET, SimulatedApi, SimulatedPool } from './claim-fakes.ts';

interface Rig {
  readonly claims: BlockClaims;
  readonly api: SimulatedApi;
  readonly pool: SimulatedPool;
  readonly events: string[];
  readonly time: { now: number };
  /** Steps until nothing is due at once; returns when to look again. */
  readonly settle: () => Promise<number | undefined>;
}

function createRig(
  options: {
    range?: string;
    prepare?: (api: SimulatedApi, pool: SimulatedPool) => void;
    source?: 'snapshot' | 'api';
  } = {},
): Rig & { view: { source: 'snapshot' | 'api' } } {
  const time = { now: 1_000_000 };
  const api = new SimulatedApi(() => time.now);
  const pool = new SimulatedPool();
  options.prepare?.(api, pool);
  const events: string[] = [];
  const view = { source: options.source ?? ('api' as const) };
  const claims = createBlockClaims({
    node: { name: 'a', uid: 'a-uid' },
    range: parseCidr(options.range ?? '10.32.0.0/12'),
    blockPrefixLength: 26,
    quarantineMs: QUARANTINE,
    quietMs: QUIET,
    api,
    view: () => ({ source: view.source, blocks: new Map(api.objects), freedBlocks: api.freed }),
    pool,
    now: () => time.now,
    random: () => 0.5,
    log: {
      info: (event) => void events.push(event),
      warn: (event) => void events.push(event),
    },
  });
  const settle = async (): Promise<number | undefined> => {
    for (let count = 0; count < 50; count++) {
      const delay = await claims.step();
      if (delay !== 0) return delay;
    }
    throw new Error('does not settle');
  };
  return { claims, api, pool, events, time, settle, view };
}

test('join: first block and a spare, two writes, and then nothing while idle', async () => {
  const { claims, api, pool, time, settle } = createRig();
  await settle();
  assert.deepEqual(api.writes, ['create 10.40.0.0-26', 'create 10.40.0.64-26']);
  assert.deepEqual(pool.blocks.map(formatCidr), ['10.40.0.0/26', '10.40.0.64/26']);
  assert.deepEqual(api.objects.get('10.40.0.0-26')?.metadata, {
    name: '10.40.0.0-26',
    annotations: { 'weft.dev/order': '1' },
    ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name: 'a', uid: 'a-uid' }],
    uid: 'uid-1',
  });
  assert.deepEqual(api.objects.get('10.40.0.0-26')?.spec, {
    cidr: '10.40.0.0/26',
    node: 'a',
    nodeUid: 'a-uid',
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

test('reserved parts of the range, and blocks of another size, are left alone', async () => {
  const { pool, settle } = createRig({
    range: '10.32.0.0/24',
    prepare: (api) => api.give('10.32.0.128/25', 'b'),
  });
  await settle();
  assert.deepEqual(pool.blocks.map(formatCidr), ['10.32.0.64/26', '10.32.0.0/26']);
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
      api.give('10.32.9.0/26', 'a', 'a-uid', 2);
      api.give('10.32.10.0/26', 'a', 'a-uid', 1);
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

test('blocks of an earlier incarnation of the node: taken over where there are pods, else left to Kubernetes', async () => {
  const { api, pool, settle } = createRig({
    prepare: (api, pool) => {
      api.give('10.32.9.0/26', 'a', 'old-uid', 1);
      api.give('10.32.9.64/26', 'a', 'old-uid', 2);
      pool.fill(parseCidr('10.32.9.0/26'), 5);
    },
  });
  await settle();
  assert.equal(formatCidr(pool.blocks[0]!), '10.32.9.0/26');
  assert.ok(!pool.blocks.some((block) => formatCidr(block) === '10.32.9.64/26'));
  // The garbage collector removes what belonged to the old Node.
  api.remove('10.32.9.0-26');
  await settle();
  assert.equal(api.objects.get('10.32.9.0-26')?.spec.nodeUid, 'a-uid');
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

test('an unavailable API is asked at growing intervals', async () => {
  const { api, settle, time } = createRig();
  api.failure = 'UNAVAILABLE';
  const delays: number[] = [];
  for (let attempt = 0; attempt < 8; attempt++) {
    const delay = await settle();
    delays.push(delay ?? 0);
    time.now += delay ?? 0;
  }
  assert.deepEqual(delays, [750, 1500, 3000, 6000, 12_000, 22_500, 22_500, 22_500]);
  assert.equal(api.writes.length, 8);
});

test('a give-back that was not answered is repeated until it is known; the block is not used meanwhile', async () => {
  const { api, pool, settle, time } = createRig();
  await settle();
  pool.fill(pool.blocks[0]!, 62);
  pool.fill(pool.blocks[1]!, 1);
  await settle();
  pool.used.clear();
  await settle();
  time.now += QUIET;
  api.failure = 'UNAVAILABLE';
  const delay = await settle();
  assert.equal(pool.blocks.length, 2);
  api.failure = undefined;
  time.now += delay!;
  await settle();
  assert.equal(api.objects.size, 2);
});

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
