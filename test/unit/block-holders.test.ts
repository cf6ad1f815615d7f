// Whose a block is when Nodes and machines come and go: confirmation, other state directories, blocks whose node is gone.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { ORDER_ANNOTATION } from '../../agent/control/blocks/own-blocks.ts';
import { formatCidr } from '../../proto/address.ts';
import { parseCidr, parseIpv4 } from '../../proto/address-text.ts';
import { QUARANTINE } from './claim-fakes.ts';
import { OTHER_STATE, STATE, createRig } from './claim-rig.ts';

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

test('after a start each block is asked for once: of one that a list still shows, and another node has by now, nothing is given out', async () => {
  const { api, claims, pool, view, settle, time, events } = createRig({
    prepare: (api) => {
      api.give('10.32.9.0/26', 'a', { order: 1, stateId: STATE });
      api.give('10.32.9.64/26', 'a', { order: 2, stateId: STATE });
    },
    source: 'snapshot',
  });
  assert.deepEqual(claims.usable().map(formatCidr), ['10.32.9.0/26', '10.32.9.64/26']);
  api.listed = new Map(api.objects);
  api.give('10.32.9.0/26', 'b', { stateId: OTHER_STATE });
  view.source = 'api';
  claims.look();
  assert.deepEqual(pool.blocks, [], 'heard, and not asked yet');
  assert.equal(claims.isSettled(), false);
  await settle();
  assert.ok(!claims.usable().some(({ base }) => base === parseCidr('10.32.9.0/26').base));
  assert.equal(claims.isSettled(), false);
  api.listed = undefined;
  time.now += 60_000;
  await settle();
  assert.deepEqual(pool.blocks.map(formatCidr)[0], '10.32.9.64/26');
  assert.equal(claims.isSettled(), true);
  assert.ok(events.includes('block_fenced'));
  const reads = api.reads.filter((name) => name === '10.32.9.64-26').length;
  assert.equal(reads, 1);
});

test('an API that goes away between the list and the question: the list is believed when that was in vain', async () => {
  const { api, claims, pool, view, settle, time } = createRig({
    prepare: (api) => {
      api.give('10.32.9.0/26', 'a', { order: 1, stateId: STATE });
      api.give('10.32.9.64/26', 'a', { uid: 'old-uid', order: 2, stateId: STATE });
    },
    source: 'snapshot',
  });
  view.source = 'api';
  api.readFailure = 'UNAVAILABLE';
  await settle();
  assert.deepEqual(pool.blocks, []);
  claims.believe();
  assert.deepEqual(pool.blocks.map(formatCidr), ['10.32.9.0/26'], 'not the one of an earlier Node');
  api.readFailure = undefined;
  time.now += 60_000;
  await settle();
  assert.deepEqual(pool.blocks.map(formatCidr), ['10.32.9.0/26', '10.32.9.64/26']);
  assert.equal(claims.isSettled(), true);
});

test('what the API says of a block is believed before what it listed, of each block', async () => {
  const { api, claims, pool, view, settle } = createRig({
    prepare: (api) => {
      const all = ['10.32.9.0/26', '10.32.9.64/26'] as const;
      for (const cidr of all) api.give(cidr, 'a', { stateId: STATE });
      api.listed = new Map(api.objects);
      for (const cidr of all) api.give(cidr, 'b', { stateId: OTHER_STATE });
    },
    source: 'snapshot',
  });
  view.source = 'api';
  await settle();
  assert.deepEqual(api.reads.slice(0, 2), ['10.32.9.0-26', '10.32.9.64-26']);
  claims.believe();
  assert.deepEqual(pool.blocks, []);
});

test('a block that is written anew is asked for once, however long the view shows it as it was', async () => {
  const { api, pool, settle } = createRig({
    prepare: (api) => {
      api.give('10.32.9.0/26', 'a', { uid: 'old-uid', order: 1, stateId: STATE });
      api.listed = new Map(api.objects);
    },
  });
  await settle();
  assert.equal(pool.blocks.map(formatCidr)[0], '10.32.9.0/26');
  await settle();
  assert.deepEqual(
    api.writes.filter((write) => write.includes('10.32.9.0-26')),
    ['replace 10.32.9.0-26'],
  );
});

test('a block with pods that had vanished before a restart without the API gives out nothing', () => {
  const { pool } = createRig({
    prepare: (api, pool) => {
      pool.used.add(parseIpv4('10.32.9.5'));
      api.freed.set('10.32.9.0-26', 0);
    },
    source: 'snapshot',
  });
  assert.deepEqual(pool.blocks, []);
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
    if (back === 'peer') {
      api.peers.set('b', OTHER_STATE);
      api.listedPeers = new Map();
    }
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

test('what an earlier machine of a node that is there had is not asked for by others', async () => {
  const { api, settle, time } = createRig({
    prepare: (api) => api.give('10.32.9.0/26', 'b', { stateId: STATE }),
  });
  await settle();
  api.peers.set('b', OTHER_STATE);
  api.abandoned.set('10.32.9.0-26', time.now);
  time.now += QUARANTINE + 60_000;
  await settle();
  assert.deepEqual(api.reads, []);
  api.peers.delete('b');
  await settle();
  assert.ok(!api.objects.has('10.32.9.0-26'));
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
