// Watches of the embedded API server: order, replay, filters, bookmarks, expiry, forms; many watchers; pages of thousands.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import {
  EVENTS,
  MERGE,
  type Loose,
  PEERS,
  type TestServer,
  type WatchStream,
  peer,
  startServer,
} from './embedded-api-server.ts';

let server: TestServer;
before(async () => {
  server = await startServer({ arguments: ['--enable-faults', '--bookmark-interval-ms', '50'] });
});
after(() => server.close());

const labelled = (name: string, labels: Loose): Loose => ({ ...peer(name), metadata: { name, labels } });

async function create(name: string, labels: Loose = {}): Promise<Loose> {
  const { code, body } = await server.call('POST', PEERS, { body: labelled(name, labels) });
  assert.equal(code, 201);
  return body;
}
const patch = (name: string, body: Loose): Promise<Loose> =>
  server.call('PATCH', `${PEERS}/${name}`, { body, headers: MERGE });
const remove = (name: string): Promise<Loose> => server.call('DELETE', `${PEERS}/${name}`);
const now = async (): Promise<string> =>
  (await server.call('GET', `${PEERS}?limit=1`)).body.metadata.resourceVersion;

/** Type and name of the next events that are no bookmarks. */
async function take(stream: WatchStream, count: number): Promise<string[]> {
  const events: string[] = [];
  while (events.length < count) {
    const event = await stream.next();
    if (event === undefined) return [...events, 'end'];
    if (event.type !== 'BOOKMARK') events.push(`${event.type} ${event.object.metadata.name}`);
  }
  return events;
}

describe('what a watch shows', () => {
  test('from a version: what happened since, in order, then what happens', async () => {
    const version = await now();
    await create('a');
    await patch('a', { spec: { port: 1 } });
    const stream = await server.watch(`${PEERS}?watch=true&resourceVersion=${version}`);
    assert.equal(stream.code, 200);
    await remove('a');
    assert.deepEqual(await take(stream, 3), ['ADDED a', 'MODIFIED a', 'DELETED a']);
    stream.close();
  });

  test('a deletion carries its own resourceVersion', async () => {
    const { metadata } = await create('deleted');
    const stream = await server.watch(`${PEERS}?watch=1&resourceVersion=${metadata.resourceVersion}`);
    await remove('deleted');
    const event = await stream.next();
    assert.ok(Number(event.object.metadata.resourceVersion) > Number(metadata.resourceVersion));
    stream.close();
  });

  for (const query of ['', '&resourceVersion=0']) {
    test(`without a version ("${query}"): everything that exists comes first`, async () => {
      await create('existing');
      const stream = await server.watch(`${PEERS}?watch=1${query}`);
      assert.deepEqual(await take(stream, 1), ['ADDED existing']);
      stream.close();
      await remove('existing');
    });
  }

  test('sendInitialEvents ends them with a bookmark', async () => {
    await create('initial');
    const options = 'sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true';
    const stream = await server.watch(`${PEERS}?watch=1&${options}`);
    assert.equal((await stream.next()).object.metadata.name, 'initial');
    const bookmark = await stream.next();
    assert.equal(bookmark.object.metadata.annotations['k8s.io/initial-events-end'], 'true');
    stream.close();
    const without = await server.watch(`${PEERS}?watch=1&${options.replace('=true', '=false')}`);
    await create('after-initial');
    assert.deepEqual(await take(without, 1), ['ADDED after-initial']);
    without.close();
    await remove('initial');
    await remove('after-initial');
  });

  test('a selector turns starting to match into ADDED and stopping into DELETED', async () => {
    const stream = await server.watch(`${PEERS}?watch=1&resourceVersion=${await now()}&labelSelector=on`);
    await create('s');
    await patch('s', { metadata: { labels: { on: '' } } });
    await patch('s', { spec: { port: 1 } });
    await patch('s', { metadata: { labels: { on: null } } });
    await remove('s');
    await create('t', { on: '' });
    assert.deepEqual(await take(stream, 4), ['ADDED s', 'MODIFIED s', 'DELETED s', 'ADDED t']);
    stream.close();
    await remove('t');
  });

  test('one object by its path, or by fieldSelector', async () => {
    const version = await now();
    await create('other');
    await create('one');
    const paths = [`${PEERS}/one?watch=1`, `${PEERS}?watch=1&fieldSelector=metadata.name%3Done`];
    for (const path of paths) {
      const stream = await server.watch(`${path}&resourceVersion=${version}`);
      assert.deepEqual(await take(stream, 1), ['ADDED one']);
      stream.close();
    }
    await remove('other');
    await remove('one');
  });

  test('another kind’s changes and another namespace’s do not show', async () => {
    const stream = await server.watch(`${EVENTS}?watch=1&resourceVersion=${await now()}`);
    await create('not-an-event');
    const body = { apiVersion: 'v1', kind: 'Event', metadata: { name: 'e' } };
    await server.call('POST', EVENTS, { body });
    assert.deepEqual(await take(stream, 1), ['ADDED e']);
    stream.close();
    await remove('not-an-event');
  });

  test('as Tables, with the columns in the first only', async () => {
    const headers = { accept: 'application/json;as=Table;v=v1;g=meta.k8s.io' };
    const stream = await server.watch(`${PEERS}?watch=1&resourceVersion=${await now()}`, headers);
    await create('row');
    await patch('row', { spec: { port: 1 } });
    const [first, second] = [await stream.next(), await stream.next()];
    assert.equal(first.object.kind, 'Table');
    assert.equal(first.object.columnDefinitions.length, 8);
    assert.equal(second.object.columnDefinitions, null);
    assert.deepEqual([first.object.rows[0].cells[2], second.object.rows[0].cells[2]], [6784, 1]);
    stream.close();
    await remove('row');
  });
});

describe('how a watch ends and is kept up', () => {
  test('bookmarks carry the newest version, also of other kinds', async () => {
    const stream = await server.watch(
      `${PEERS}?watch=1&allowWatchBookmarks=true&resourceVersion=${await now()}`,
    );
    const body = { apiVersion: 'v1', kind: 'Event', metadata: { generateName: 'e-' } };
    const { resourceVersion } = (await server.call('POST', EVENTS, { body })).body.metadata;
    let seen = '';
    while (seen !== resourceVersion) {
      const event = await stream.next();
      assert.equal(event.type, 'BOOKMARK');
      assert.equal(event.object.kind, 'Peer');
      seen = event.object.metadata.resourceVersion;
    }
    stream.close();
  });

  test('timeoutSeconds ends it cleanly', async () => {
    const stream = await server.watch(`${PEERS}?watch=1&timeoutSeconds=1&resourceVersion=${await now()}`);
    assert.equal(await stream.next(), undefined);
  });

  test('a version from before the compaction: ERROR with Status 410, then the end', async () => {
    const version = await now();
    await create('compacted');
    await remove('compacted');
    await server.call('POST', '/faults/compact');
    const stream = await server.watch(`${PEERS}?watch=1&resourceVersion=${version}`);
    const event = await stream.next();
    assert.deepEqual([event.type, event.object.code, event.object.reason], ['ERROR', 410, 'Expired']);
    assert.match(event.object.message, /^too old resource version: \d+ \(\d+\)$/);
    assert.equal(await stream.next(), undefined);
  });

  test('a version of the future shows nothing up to it', async () => {
    const version = Number(await now());
    const stream = await server.watch(`${PEERS}?watch=1&resourceVersion=${version + 1}`);
    await create('in-between');
    await remove('in-between');
    assert.deepEqual(await take(stream, 1), ['DELETED in-between']);
    stream.close();
  });

  for (const [query, code] of [
    ['resourceVersion=x', 400],
    ['labelSelector=(', 400],
    ['sendInitialEvents=true', 422],
    ['resourceVersionMatch=NotOlderThan', 422],
  ] as const) {
    test(`refuses ${query}: ${code}`, async () => {
      assert.equal((await server.call('GET', `${PEERS}?watch=1&${query}`)).code, code);
    });
  }
});

test('a hundred watchers see the same changes in the same order', async () => {
  const path = `${PEERS}?watch=1&resourceVersion=${await now()}`;
  const streams = await Promise.all(Array.from({ length: 100 }, () => server.watch(path)));
  for (let index = 0; index < 20; index += 1) await create(`fan-${index}`);
  const expected = Array.from({ length: 20 }, (_, index) => `ADDED fan-${index}`);
  for (const stream of streams) {
    assert.deepEqual(await take(stream, 20), expected);
    stream.close();
  }
  await server.call('DELETE', PEERS);
});

test('five thousand peers, listed whole and in pages', async () => {
  for (let batch = 0; batch < 50; batch += 1) {
    await Promise.all(Array.from({ length: 100 }, (_, index) => create(`many-${batch * 100 + index}`)));
  }
  const whole = (await server.call('GET', PEERS)).body.items;
  assert.equal(whole.length, 5000);
  const paged: Loose[] = [];
  let token = '';
  do {
    const { metadata, items } = (await server.call('GET', `${PEERS}?limit=500&continue=${token}`)).body;
    paged.push(...items);
    token = metadata.continue ?? '';
  } while (token !== '');
  assert.deepEqual(paged, whole);
});
