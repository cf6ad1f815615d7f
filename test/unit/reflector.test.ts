// The reflector against a model server and a clock of our own: every fault that the API server has been seen to have.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { OperationError } from '../../agent/operation-error.ts';
import { type Reflector, startReflector } from '../../agent/kube/reflector.ts';
import { seededRandom } from '../support/random.ts';
import { FakeClock, ModelServer, type Thing, decodeThing, inOrder, reset, settle } from './kube-fakes.ts';

interface Rig {
  readonly server: ModelServer;
  readonly clock: FakeClock;
  readonly reflector: Reflector;
  readonly objects: Map<string, Thing>;
  readonly log: string[];
}

async function rig(prepare: (server: ModelServer) => void = () => {}, floor?: string): Promise<Rig> {
  const server = new ModelServer();
  prepare(server);
  const clock = new FakeClock();
  const objects = new Map<string, Thing>();
  const log: string[] = [];
  const reflector = startReflector({
    source: server,
    decode: decodeThing,
    clock,
    random: seededRandom(1),
    events: {
      synced(all) {
        log.push(`synced ${all.size}`);
        objects.clear();
        for (const [name, object] of all) objects.set(name, object);
      },
      changed(name, object) {
        log.push(`${object === undefined ? 'gone' : 'changed'} ${name}`);
        if (object === undefined) objects.delete(name);
        else objects.set(name, object);
      },
      stale: (reason) => log.push(`stale: ${reason}`),
      refused: ({ name, reason }) => log.push(`refused ${name}: ${reason}`),
      failed: (error) => log.push(`failed ${error.code}`),
    },
    ...(floor === undefined ? {} : { floor }),
  });
  await settle();
  return { server, clock, reflector, objects, log };
}

const sameAsServer = ({ server, objects }: Rig): void => {
  assert.deepEqual(inOrder(objects), inOrder(server.objects()));
};

test('reflector lists, follows writes and deletions, and asks for bookmarks and a spread end', async () => {
  const it = await rig((server) => server.put('a', '1'));
  it.server.put('b', '1');
  it.server.put('a', '2');
  it.server.remove('b');
  sameAsServer(it);
  assert.deepEqual(it.log, ['synced 1', 'changed b', 'changed a', 'gone b']);
  const { timeoutSeconds, resourceVersion } = it.server.watchQueries[0]!;
  assert.ok(timeoutSeconds >= 300 && timeoutSeconds < 600);
  assert.equal(resourceVersion, '101');
  assert.equal(it.reflector.state().lastSyncAgeMs, 0);
  assert.deepEqual(it.server.queries, [{ limit: 500, resourceVersion: '0' }]);
});

test('reflector reads a list in pages', async () => {
  const it = await rig((server) => {
    for (let at = 0; at < 1203; at++) server.put(`thing-${at}`, 'x');
  });
  assert.equal(it.objects.size, 1203);
  assert.deepEqual(
    it.server.queries.map(({ limit, continueToken }) => [limit, continueToken]),
    [
      [500, undefined],
      [500, '1303/500'],
      [500, '1303/1000'],
    ],
  );
});

test('reflector starts again in one piece when the continue token expired', async () => {
  const it = await rig((server) => {
    for (let at = 0; at < 700; at++) server.put(`thing-${at}`, 'x');
    server.listFaults.push(undefined, 'gone');
  });
  assert.equal(it.objects.size, 0);
  await it.clock.advance(1000);
  assert.equal(it.objects.size, 700);
  assert.deepEqual(it.server.queries.at(-1), { limit: 0 });
});

test('reflector asks for smaller pages of the newest state when an answer is too large', async () => {
  const it = await rig((server) => server.listFaults.push('too-large', 'too-large'));
  await it.clock.advance(2000);
  assert.ok(it.reflector.state().synced);
  assert.deepEqual(it.server.queries.slice(1), [{ limit: 62 }, { limit: 7 }]);
});

test('reflector resumes after a reset from the last version, without a list', async () => {
  const it = await rig((server) => server.put('a', '1'));
  await it.clock.advance(20_000);
  it.server.put('a', '2');
  it.server.endWatches(reset());
  it.server.put('b', '1');
  await it.clock.advance(1000);
  sameAsServer(it);
  assert.equal(it.server.queries.length, 1);
  assert.equal(it.server.watchQueries.at(-1)?.resourceVersion, '102');
  assert.equal(it.reflector.state().reconnects, 1);
});

test('reflector renews at once a watch that the server ended in order', async () => {
  const it = await rig();
  await it.clock.advance(29_000);
  it.server.bookmark();
  it.server.endWatches();
  await settle();
  assert.equal(it.server.openWatches, 1);
});

test('reflector leaves a silent watch within 35 s and loses nothing', async () => {
  const it = await rig((server) => server.put('a', '1'));
  it.server.stall();
  it.server.put('b', '1');
  await it.clock.advance(35_000);
  sameAsServer(it);
  assert.equal(it.reflector.state().stalls, 1);
});

test('reflector leaves a watch whose answer never begins', async () => {
  const it = await rig((server) => server.watchFaults.push('hang', 'hang'));
  await it.clock.advance(30_000);
  assert.equal(it.reflector.state().isFollowing, false);
  await it.clock.advance(35_000);
  assert.equal(it.reflector.state().stalls, 2);
  assert.equal(it.server.openWatches, 1);
  assert.equal(it.reflector.state().isFollowing, true);
});

test('reflector of a quiet small cluster: connected while its watch is renewed, and never long out of date', async () => {
  const it = await rig((server) => server.put('a', '1'));
  const seen = new Set<string>();
  for (let step = 0; step < 2000; step++) {
    await it.clock.advance(50);
    const { isFollowing, lastSyncAgeMs, phase } = it.reflector.state();
    seen.add(phase);
    assert.ok(isFollowing, `${phase} after ${step * 50} ms`);
    assert.ok(lastSyncAgeMs !== undefined && lastSyncAgeMs <= 31_000, `${lastSyncAgeMs} ms`);
  }
  assert.deepEqual([...seen].sort(), ['waiting', 'watching']);
  assert.equal(it.reflector.state().stalls, 3);
});

test('reflector of a large cluster: only what the server says proves the copy current, not that it takes a watch up', async () => {
  const it = await rig((server) => {
    for (let at = 0; at < 500; at++) server.put(`thing-${at}`, 'x');
  });
  await it.clock.advance(200_000);
  assert.ok(it.reflector.state().stalls > 0);
  assert.equal(it.reflector.state().lastSyncAgeMs, 200_000);
});

test('reflector follows no more after a failure, and again once a watch is taken up', async () => {
  const it = await rig((server) => server.put('a', '1'));
  it.server.endWatches(reset());
  await settle();
  assert.equal(it.reflector.state().isFollowing, false);
  await it.clock.advance(10_000);
  assert.equal(it.reflector.state().isFollowing, true);
});

test('reflector keeps a watch that sends bookmarks, and follows their version', async () => {
  const it = await rig();
  for (let at = 0; at < 8; at++) {
    await it.clock.advance(25_000);
    it.server.bookmark();
  }
  assert.equal(it.reflector.state().reconnects, 0);
  assert.equal(it.reflector.state().lastSyncAgeMs, 0);
});

test('reflector lists again after 410, as an event and at the start', async () => {
  const it = await rig((server) => server.put('a', '1'));
  it.server.send({ type: 'ERROR', object: { code: 410, message: 'too old resource version' } });
  await it.clock.advance(1000);
  assert.equal(it.reflector.state().relists, 1);
  it.server.endWatches(reset());
  it.server.remove('a');
  it.server.put('c', '1');
  it.server.compact();
  await it.clock.advance(5000);
  sameAsServer(it);
  assert.equal(it.reflector.state().relists, 2);
});

test('reflector waits at least as long as Retry-After says', async () => {
  const it = await rig((server) => server.listFaults.push('throttled'));
  await it.clock.advance(6999);
  assert.equal(it.server.queries.length, 1);
  await it.clock.advance(1752);
  assert.ok(it.reflector.state().synced);
});

test('reflector backs off in a storm, at most 30 s apart, and forgets it after a healthy watch', async () => {
  const it = await rig((server) => {
    for (let at = 0; at < 400; at++) server.put(`thing-${at}`, 'x');
  });
  it.server.watchFaults.push(...Array.from({ length: 60 }, () => 'failed' as const));
  it.server.endWatches(reset());
  const seen: number[] = [];
  for (let at = 0; at < 600; at++) {
    await it.clock.advance(1000);
    seen.push(it.server.watchQueries.length);
  }
  const tries = seen.at(-1)!;
  assert.ok(tries > 25 && tries < 70, `${tries} tries in 600 s`);
  for (let at = 31; at < seen.length; at++) {
    const before = seen[at - 31]!;
    assert.ok(before < seen[at]! || before === tries, `nothing tried for 31 s before second ${at}`);
  }
  it.server.watchFaults.length = 0;
  await it.clock.advance(60_000);
  const settled = it.server.watchQueries.length;
  it.server.endWatches(reset());
  await it.clock.advance(301);
  assert.equal(it.server.watchQueries.length, settled + 1);
});

test('reflector does not spin when the server closes every watch at once', async () => {
  const it = await rig();
  for (let at = 0; at < 200; at++) {
    it.server.endWatches();
    await it.clock.advance(100);
  }
  const tries = it.server.watchQueries.length;
  assert.ok(tries < 30, `${tries} watches in 20 s`);
});

test('reflector refuses a stale list: nothing disappears, nothing comes back', async () => {
  const it = await rig((server) => {
    for (const name of ['a', 'b', 'c', 'd', 'e', 'f']) server.put(name, '1');
  });
  it.server.remove('a');
  it.server.listFaults.push('stale', 'stale');
  it.server.send({ type: 'ERROR', object: { code: 410 } });
  const before = new Map(it.objects);
  await it.clock.advance(300);
  assert.deepEqual(it.objects, before);
  await it.clock.advance(20_000);
  sameAsServer(it);
  assert.equal(it.reflector.state().staleLists, 2);
  assert.match(
    it.log.find((line) => line.startsWith('stale'))!,
    /at 102 is older than 107: ignored/,
  );
  assert.deepEqual(it.server.queries.at(-1), { limit: 500 });
});

test('reflector refuses lists older than what a snapshot knew', async () => {
  const it = await rig((server) => server.put('a', '1'), '500');
  await it.clock.advance(20_000);
  assert.equal(it.objects.size, 0);
  assert.ok(it.reflector.state().staleLists > 2);
});

test('reflector believes a history that went back, after two minutes', async () => {
  const it = await rig((server) => {
    for (const name of ['a', 'b', 'c']) server.put(name, '1');
  });
  it.server.restore(101);
  await it.clock.advance(110_000);
  assert.equal(it.objects.size, 3);
  await it.clock.advance(30_000);
  sameAsServer(it);
  assert.equal(it.reflector.state().rewinds, 1);
});

test('reflector refuses hostile objects one by one and reports each once', async () => {
  const it = await rig((server) => {
    server.put('good', '1');
    server.put('evil', 'bad');
  });
  assert.deepEqual([...it.objects.keys()], ['good']);
  it.server.put('evil', 'bad');
  it.server.put('good', 'bad');
  assert.equal(it.objects.size, 0);
  it.server.put('evil', 'fine');
  assert.deepEqual([...it.objects.keys()], ['evil']);
  assert.deepEqual(it.log, [
    'refused evil: value is bad',
    'synced 1',
    'refused good: value is bad',
    'gone good',
    'changed evil',
  ]);
  assert.deepEqual([...it.reflector.state().refused], [['good', 'value is bad']]);
  it.server.remove('good');
  assert.equal(it.log.at(-1), 'gone good', 'told again: the form that could be read may be in use still');
  assert.deepEqual([...it.reflector.state().refused], []);
  it.server.put('__proto__', '1');
  assert.ok(it.objects.has('__proto__'));
});

for (const [what, event] of [
  [
    'an event from the past',
    { type: 'ADDED', object: { metadata: { name: 'z', resourceVersion: '7' }, spec: { value: 'x' } } },
  ],
  ['an event without a name', { type: 'MODIFIED', object: { metadata: { resourceVersion: '900' } } }],
  ['an unknown type', { type: 'RENAMED', object: {} }],
  ['a bookmark without a version', { type: 'BOOKMARK', object: {} }],
] as const) {
  test(`reflector lists again after ${what}`, async () => {
    const it = await rig((server) => server.put('a', '1'));
    it.server.send(event);
    await it.clock.advance(1000);
    sameAsServer(it);
    assert.equal(it.reflector.state().relists, 1);
    assert.equal(it.reflector.state().suspicions, 1);
    assert.deepEqual(it.server.queries.at(-1), { limit: 500 });
  });
}

test('reflector finds by an audit what a watch never said, even when a bookmark hid it', async () => {
  const it = await rig((server) => server.put('a', '1'));
  it.server.putUnseen('b', '1');
  it.server.bookmark();
  assert.ok(!it.objects.has('b'));
  for (let minutes = 0; minutes < 16; minutes++) {
    for (let at = 0; at < 3; at++) {
      await it.clock.advance(20_000);
      it.server.bookmark();
    }
    it.server.endWatches();
  }
  sameAsServer(it);
  assert.ok(it.reflector.state().relists >= 1);
});

test('reflector takes an event that a later page knew already for nothing new', async () => {
  const it = await rig((server) => server.put('a', '1'));
  const [object] = it.server.objects().values();
  it.server.send({ type: 'ADDED', object });
  assert.deepEqual(it.log, ['synced 1']);
  assert.equal(it.reflector.state().suspicions, 0);
});

test('reflector reports nothing and holds nothing after stop', async () => {
  const it = await rig((server) => server.put('a', '1'));
  it.reflector.stop();
  it.server.put('b', '1');
  await settle();
  assert.equal(it.clock.pending, 0);
  assert.equal(it.server.openWatches, 0);
  assert.deepEqual(it.log, ['synced 1']);
  assert.equal(it.reflector.state().phase, 'stopped');
});

test('reflector shows its last error until the server answers again', async () => {
  const it = await rig((server) => server.listFaults.push('failed'));
  assert.ok(it.reflector.state().lastError instanceof OperationError);
  await it.clock.advance(1000);
  assert.equal(it.reflector.state().lastError, undefined);
});
