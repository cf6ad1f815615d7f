// The embedded API server over HTTP: deletes, their preconditions, and the collection of what a deleted owner leaves.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import {
  BLOCKS,
  type Loose,
  MERGE,
  NODES,
  PEERS,
  type TestServer,
  block,
  createOn,
  namesOf,
  node,
  ownedBy,
  peer,
  startServer,
} from './embedded-api-server.ts';

let server: TestServer;
before(async () => {
  server = await startServer({});
});
after(() => server.close());

const create = (path: string, body: Loose): Promise<Loose> => createOn(server, path, body);

describe('delete', () => {
  test('answers a Status with the UID; a second one is 404', async () => {
    const { metadata } = await create(PEERS, peer('gone'));
    const { code, body } = await server.call('DELETE', `${PEERS}/gone`);
    assert.equal(code, 200);
    assert.deepEqual([body.status, body.details.uid], ['Success', metadata.uid]);
    const again = await server.call('DELETE', `${PEERS}/gone`);
    assert.equal(again.code, 404);
    assert.equal(again.body.message, 'peers.weft.dev "gone" not found');
  });

  test('keeps its preconditions', async () => {
    const { metadata } = await create(PEERS, peer('guarded'));
    for (const preconditions of [
      { uid: 'other' },
      { resourceVersion: '1' },
      { uid: metadata.uid, resourceVersion: '1' },
    ]) {
      const refused = await server.call('DELETE', `${PEERS}/guarded`, { body: { preconditions } });
      assert.deepEqual([refused.code, refused.body.reason], [409, 'Conflict']);
    }
    const { uid, resourceVersion } = metadata;
    const body = { preconditions: { uid, resourceVersion } };
    assert.equal((await server.call('DELETE', `${PEERS}/guarded`, { body })).code, 200);
  });

  test('dryRun deletes nothing', async () => {
    await create(PEERS, peer('kept'));
    assert.equal((await server.call('DELETE', `${PEERS}/kept?dryRun=All`)).code, 200);
    assert.equal((await server.call('GET', `${PEERS}/kept`)).code, 200);
  });

  test('a finalizer holds the object until it is removed', async () => {
    const body = peer('held');
    body.metadata.finalizers = ['weft.dev/test'];
    await create(PEERS, body);
    const marked = await server.call('DELETE', `${PEERS}/held`);
    assert.ok(marked.body.metadata.deletionTimestamp);
    assert.equal((await server.call('GET', `${PEERS}/held`)).code, 200);
    const patch = { metadata: { finalizers: null } };
    assert.equal((await server.call('PATCH', `${PEERS}/held`, { body: patch, headers: MERGE })).code, 200);
    assert.equal((await server.call('GET', `${PEERS}/held`)).code, 404);
  });

  test('of a node takes what only it owns, and what that owns', async () => {
    const { metadata } = await create(NODES, node('owner'));
    const other = (await create(NODES, node('co-owner'))).metadata;
    const owner = ownedBy('Node', 'owner', metadata.uid);
    const owned = await create(PEERS, {
      ...peer('owned'),
      metadata: { name: 'owned', ownerReferences: [owner] },
    });
    const chain = ownedBy('Peer', 'owned', owned.metadata.uid);
    await create(BLOCKS, block('10.43.0.0/26', 'owner', { ownerReferences: [chain] }));
    const both = [owner, ownedBy('Node', 'co-owner', other.uid)];
    await create(BLOCKS, block('10.43.0.64/26', 'owner', { ownerReferences: both }));
    const foreign = [owner, { apiVersion: 'apps/v1', kind: 'DaemonSet', name: 'd', uid: 'unknown-kind' }];
    await create(BLOCKS, block('10.43.0.128/26', 'owner', { ownerReferences: foreign }));

    await server.call('DELETE', `${NODES}/owner`);
    assert.equal((await server.call('GET', `${PEERS}/owned`)).code, 404);
    assert.equal((await server.call('GET', `${BLOCKS}/10.43.0.0-26`)).code, 404);
    const shared = (await server.call('GET', `${BLOCKS}/10.43.0.64-26`)).body;
    assert.deepEqual(shared.metadata.ownerReferences, [both[1]]);
    assert.equal((await server.call('GET', `${BLOCKS}/10.43.0.128-26`)).code, 200);
  });

  test('with Orphan leaves the dependents', async () => {
    const { metadata } = await create(NODES, node('orphaner'));
    const ownerReferences = [ownedBy('Node', 'orphaner', metadata.uid)];
    await create(PEERS, { ...peer('orphan'), metadata: { name: 'orphan', ownerReferences } });
    await server.call('DELETE', `${NODES}/orphaner`, { body: { propagationPolicy: 'Orphan' } });
    assert.equal((await server.call('GET', `${PEERS}/orphan`)).body.metadata.ownerReferences, undefined);
  });

  test('what is created with an owner that is gone is collected', async () => {
    const { metadata } = await create(NODES, node('late'));
    await server.call('DELETE', `${NODES}/late`);
    const ownerReferences = [ownedBy('Node', 'late', metadata.uid)];
    const { resourceVersion } = (
      await create(PEERS, { ...peer('late'), metadata: { name: 'late', ownerReferences } })
    ).metadata;
    const stream = await server.watch(`${PEERS}?watch=1&resourceVersion=${resourceVersion}`);
    const event = await stream.next();
    assert.deepEqual([event.type, event.object.metadata.name], ['DELETED', 'late']);
    stream.close();
  });

  test('of a collection takes what the selector finds', async () => {
    const labelled = (name: string, value: string): Loose => ({
      ...peer(name),
      metadata: { name, labels: { set: value } },
    });
    await create(PEERS, labelled('collection-a', 'x'));
    await create(PEERS, labelled('collection-b', 'x'));
    await create(PEERS, labelled('collection-c', 'y'));
    const { body } = await server.call('DELETE', `${PEERS}?labelSelector=set%3Dx`);
    assert.deepEqual(namesOf(body), ['collection-a', 'collection-b']);
    assert.deepEqual(namesOf((await server.call('GET', `${PEERS}?labelSelector=set`)).body), [
      'collection-c',
    ]);
  });
});
