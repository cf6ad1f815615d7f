import assert from 'node:assert/strict';
import { test } from 'node:test';

import { startBlockClaims } from '../../agent/control/blocks/block-claim-loop.ts';
import { type BlockClaims, createBlockClaims } from '../../agent/control/blocks/block-claims.ts';
import { ORDER_ANNOTATION } from '../../agent/control/blocks/own-blocks.ts';
import { type Cidr, formatCidr } from '../../proto/address.ts';
import { parseCidr } from '../../proto/address-text.ts';
import { QUARANTINE, QUIET, SimulatedApi, SimulatedPool } from './claim-fakes.ts';

const STATE = 'a'.repeat(32);
const OTHER_STATE = 'b'.repeat(32);

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
    node: { name: 'a', uid: 'a-uid', stateId: STATE },
    range: parseCidr(options.range ?? '10.32.0.0/12'),
    blockPrefixLength: 26,
    quarantineMs: QUARANTINE,
    quietMs: QUIET,
    api,
    view: () => ({
      source: view.source,
      blocks: new Map(api.objects),
      freedBlocks: api.freed,
      abandonedBlocks: api.abandoned,
      nodesWithoutBlock: api.waiting,
    }),
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

test('the Node was made anew: blocks are confirmed before anything of them is given out', async () => {
  const { api, claims, pool, settle, events } = createRig({
    prepare: (api) => {
      api.give('10.32.9.0/26', 'a', { uid: 'old-uid', order: 1, stateId: STATE });
      api.give('10.32.9.64/26', 'a', { uid: 'old-uid', order: 2, stateId: STATE });
    },
  });
  assert.deepEqual(claims.usable(), []);
  await settle();
  assert.deepEqual(pool.blocks.map(formatCidr), ['10.32.9.0/26', '10.32.9.64/26']);
  assert.deepEqual(api.writes, ['replace 10.32.9.0-26', 'replace 10.32.9.64-26']);
  assert.equal(api.objects.get('10.32.9.0-26')?.spec.nodeUid, 'a-uid');
  assert.equal(api.objects.get('10.32.9.64-26')?.metadata.annotations?.[ORDER_ANNOTATION], '2');
  assert.deepEqual(events, ['block_confirmed', 'block_confirmed']);
});

test('a block of another state directory of this node name is left alone; one with pods of ours gives out nothing more', async () => {
  const { api, claims, pool, settle, events } = createRig({
    prepare: (api, pool) => {
      api.give('10.32.9.0/26', 'a', { order: 1, stateId: OTHER_STATE });
      api.give('10.32.9.64/26', 'a', { order: 2, stateId: OTHER_STATE });
      pool.fill(parseCidr('10.32.9.0/26'), 5);
    },
  });
  await settle();
  assert.ok(!pool.blocks.map(formatCidr).some((cidr) => cidr.startsWith('10.32.9.')));
  assert.deepEqual(claims.state()[0], { cidr: parseCidr('10.32.9.0/26'), state: 'fenced', used: 5 });
  assert.deepEqual(
    api.writes.filter((write) => !write.startsWith('create')),
    [],
  );
  assert.ok(events.includes('block_fenced'));
});

/** A cluster where node "b" is gone and its block is seen to be abandoned. */
const withAbandoned = (): ReturnType<typeof createRig> => {
  const rig = createRig({ prepare: (api) => api.give('10.32.9.0/26', 'b', { stateId: OTHER_STATE }) });
  rig.api.peers.set('a', STATE);
  rig.api.abandoned.set('10.32.9.0-26', rig.time.now);
  return rig;
};

test('a block whose Node is gone is taken back after the quarantine, by whoever comes first', async () => {
  const { api, time, settle, events } = withAbandoned();
  await settle();
  const before = api.writes.length;
  time.now += QUARANTINE - 1;
  await settle();
  assert.equal(api.writes.length, before);
  time.now += 1;
  const wait = await settle();
  assert.equal(wait, 30_000, 'not all agents at once');
  time.now += wait;
  await settle();
  assert.deepEqual(api.writes.slice(before), ['delete 10.32.9.0-26']);
  assert.ok(events.includes('block_reclaimed'));
});

test('a node that finds no block to claim looks after an abandoned one as soon as it is due', async () => {
  const { api, time, settle } = createRig({
    range: '10.32.9.0/26',
    prepare: (api) => api.give('10.32.9.0/26', 'b', { stateId: OTHER_STATE }),
  });
  api.abandoned.set('10.32.9.0-26', time.now - QUARANTINE);
  assert.equal(await settle(), 30_000, 'sooner than it asks for a block again');
});

test('a block is not taken back from a Node that is there, nor from a peer, nor one that was confirmed meanwhile', async () => {
  for (const back of ['node', 'peer', 'confirmation'] as const) {
    const { api, time, settle } = withAbandoned();
    await settle();
    const before = api.writes.length;
    if (back === 'node') api.nodes.add('b');
    if (back === 'peer') api.peers.set('b', OTHER_STATE);
    if (back === 'confirmation') {
      const getNode = api.getNode.bind(api);
      api.getNode = async (name) => {
        const block = await api.getBlock('10.32.9.0-26');
        await api.replaceBlock(block); // between the question and the deletion
        return await getNode(name);
      };
    }
    time.now += QUARANTINE + 60_000;
    await settle();
    assert.ok(api.objects.has('10.32.9.0-26'), back);
    const deletions = api.writes.slice(before).filter((write) => write.startsWith('delete'));
    assert.equal(deletions.length, back === 'confirmation' ? 1 : 0, back);
  }
});

test('a block of an earlier machine of this node name is taken back by this one alone, and only while it is the peer', async () => {
  for (const isPeer of [true, false]) {
    const rig = createRig({ prepare: (api) => api.give('10.32.9.0/26', 'a', { stateId: OTHER_STATE }) });
    rig.api.peers.set('a', isPeer ? STATE : OTHER_STATE);
    rig.api.abandoned.set('10.32.9.0-26', rig.time.now);
    rig.time.now += QUARANTINE + 60_000;
    await rig.settle();
    assert.equal(rig.api.objects.has('10.32.9.0-26'), !isPeer);
  }
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
