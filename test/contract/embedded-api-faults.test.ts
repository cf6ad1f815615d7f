// Misbehaviour on request of the embedded API server: each kind of fault as a client meets it, and the request counters.
import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';

import {
  BLOCKS,
  type Loose,
  PEERS,
  type TestServer,
  block,
  peer,
  startServer,
} from './embedded-api-server.ts';

const ARGUMENTS = ['--enable-faults'];
let server: TestServer;
before(async () => {
  server = await startServer({ arguments: ARGUMENTS });
});
after(() => server.close());
afterEach(() => server.call('DELETE', '/faults'));

const install = async (rules: Loose): Promise<void> => {
  const { code, body } = await server.call('PUT', '/faults', { body: rules });
  assert.equal(code, 200, JSON.stringify(body));
};
const now = async (): Promise<string> => (await server.call('GET', PEERS)).body.metadata.resourceVersion;

describe('respond', () => {
  for (const [code, reason] of [
    [409, 'Conflict'],
    [410, 'Expired'],
    [429, 'TooManyRequests'],
    [500, 'InternalError'],
    [503, 'ServiceUnavailable'],
  ] as const) {
    test(`${code} to the next two matching requests, then as ever`, async () => {
      await install([{ action: 'respond', code, verb: 'get', resource: 'peers', count: 2 }]);
      assert.equal((await server.call('GET', PEERS)).code, 200); // a list: does not match
      for (const _ of [1, 2]) {
        const answer = await server.call('GET', `${PEERS}/x`);
        assert.deepEqual([answer.code, answer.body.reason], [code, reason]);
      }
      assert.equal((await server.call('GET', `${PEERS}/x`)).code, 404);
    });
  }

  test('429 says when to come back', async () => {
    await install([{ action: 'respond', code: 429, retryAfterSeconds: 7 }]);
    const { headers, body } = await server.call('GET', PEERS);
    assert.equal(headers['retry-after'], '7');
    assert.equal(body.details.retryAfterSeconds, 7);
  });

  test('to requests on one name', async () => {
    await install([{ action: 'respond', code: 500, name: 'a' }]);
    assert.equal((await server.call('GET', `${PEERS}/b`)).code, 404);
    assert.equal((await server.call('GET', `${PEERS}/a`)).code, 500);
  });
});

describe('connections', () => {
  test('reset: no answer but a broken connection', async () => {
    await install([{ action: 'reset', verb: 'list' }]);
    await assert.rejects(server.call('GET', PEERS), { code: 'ECONNRESET' });
    assert.equal((await server.call('GET', PEERS)).code, 200);
  });

  test('stall: no answer, others are served; a stalled watch sends its headers and nothing more', async () => {
    await install([
      { action: 'stall', verb: 'list' },
      { action: 'stall', verb: 'watch' },
    ]);
    const stalled = server.call('GET', PEERS).then(
      () => 'answered',
      () => 'broken',
    );
    const stream = await server.watch(`${PEERS}?watch=1`);
    assert.equal(stream.code, 200);
    await server.call('POST', PEERS, { body: peer('unseen') });
    const event = stream.next().then(
      () => 'event',
      () => 'broken',
    );
    assert.equal((await server.call('GET', `${PEERS}/unseen`)).code, 200);
    assert.equal(
      await Promise.race([stalled, event, server.call('GET', PEERS).then(() => 'neither')]),
      'neither',
    );
    stream.close();
    assert.equal(await event, 'broken');
  });

  for (const [action, expected] of [
    ['end', 'end'],
    ['reset', 'broken'],
    ['expire', '410'],
  ] as const) {
    test(`${action} the watches that are open`, async () => {
      const stream = await server.watch(`${PEERS}?watch=1&resourceVersion=${await now()}`);
      const other = await server.watch(`${BLOCKS}?watch=1&resourceVersion=${await now()}`);
      const { body } = await server.call('POST', '/faults/watches', { body: { action, resource: 'peers' } });
      assert.ok(body.watches >= 1);
      const outcome = await stream.next().then(
        (event: Loose) => (event === undefined ? 'end' : String(event.object.code)),
        () => 'broken',
      );
      assert.equal(outcome, expected);
      await server.call('POST', BLOCKS, { body: block(`10.60.${action.length}.0/24`, 'n') });
      assert.equal((await other.next()).type, 'ADDED');
      other.close();
    });
  }

  test('stall the watches that are open: half-open, nothing more is sent', async () => {
    const stream = await server.watch(`${PEERS}?watch=1&resourceVersion=${await now()}`);
    await server.call('POST', '/faults/watches', { body: { action: 'stall' } });
    const fresh = await server.watch(`${PEERS}?watch=1&resourceVersion=${await now()}`);
    await server.call('POST', PEERS, { body: peer('half-open') });
    const stalled = stream.next().then(
      () => 'event',
      () => 'broken',
    );
    assert.equal((await fresh.next()).object.metadata.name, 'half-open');
    assert.equal(await Promise.race([stalled, server.call('GET', PEERS).then(() => 'nothing')]), 'nothing');
    stream.close();
    fresh.close();
    await stalled;
  });
});

describe('wrong states', () => {
  test('stale-list shows the state of so many writes ago', async () => {
    await server.call('POST', PEERS, { body: peer('fresh') });
    await install([{ action: 'stale-list', versionsBack: 1, resource: 'peers.weft.dev' }]);
    assert.equal((await server.call('GET', `${PEERS}/fresh`)).code, 200); // no list: not met
    const names = (list: Loose): string[] => list.items.map((item: Loose) => item.metadata.name);
    const stale = (await server.call('GET', PEERS)).body;
    const newest = (await server.call('GET', PEERS)).body;
    assert.ok(!names(stale).includes('fresh'));
    assert.ok(names(newest).includes('fresh'));
    assert.equal(Number(newest.metadata.resourceVersion) - Number(stale.metadata.resourceVersion), 1);
  });

  test('drop-event keeps a change from the open watches', async () => {
    const stream = await server.watch(`${PEERS}?watch=1&resourceVersion=${await now()}`);
    await install([{ action: 'drop-event', resource: 'peers.weft.dev' }]);
    await server.call('POST', PEERS, { body: peer('dropped') });
    await server.call('POST', PEERS, { body: peer('delivered') });
    assert.equal((await stream.next()).object.metadata.name, 'delivered');
    stream.close();
  });
});

describe('crash', () => {
  for (const [moment, stored] of [
    ['before', false],
    ['after', true],
  ] as const) {
    test(`${moment} the commit of the second write: the first stays, the second is ${stored ? 'there' : 'not'}`, async () => {
      const first = await startServer({ arguments: ARGUMENTS, onDisk: true });
      await first.call('PUT', '/faults', { body: [{ action: 'crash', moment, write: 2 }] });
      assert.equal((await first.call('POST', PEERS, { body: peer('one') })).code, 201);
      await assert.rejects(first.call('POST', PEERS, { body: peer('two') }), { code: 'ECONNRESET' });
      assert.equal(await first.exited(), 'SIGKILL');
      const second = await startServer({ directory: first.directory, onDisk: true });
      assert.equal((await second.call('GET', `${PEERS}/one`)).code, 200);
      assert.equal((await second.call('GET', `${PEERS}/two`)).code, stored ? 200 : 404);
      await second.close();
      await first.close();
    });
  }
});

describe('the endpoint', () => {
  test('counts requests by verb, resource and code', async () => {
    await server.call('DELETE', '/faults/requests');
    await server.call('POST', BLOCKS, { body: block('10.61.0.0/24', 'n') });
    await server.call('POST', BLOCKS, { body: block('10.61.0.0/24', 'n') });
    await server.call('POST', BLOCKS, { body: block('10.61.0.0/24', 'n') });
    (await server.watch(`${BLOCKS}?watch=1`)).close();
    const resource = 'addressblocks.weft.dev';
    assert.deepEqual((await server.call('GET', '/faults/requests')).body, [
      { verb: 'create', resource, code: 201, count: 1 },
      { verb: 'create', resource, code: 409, count: 2 },
      { verb: 'watch', resource, code: 200, count: 1 },
    ]);
  });

  test('shows what is armed and forgets it', async () => {
    await install([
      { action: 'reset', verb: 'get', count: 2 },
      { action: 'crash', write: 100 },
    ]);
    const { body } = await server.call('GET', '/faults');
    assert.deepEqual(body, [
      { action: 'reset', verb: 'get', remaining: 2 },
      { action: 'crash', moment: 'after', remaining: 100 },
    ]);
    await server.call('DELETE', '/faults');
    assert.deepEqual((await server.call('GET', '/faults')).body, []);
  });

  for (const body of [
    {},
    [1],
    [{ action: 'none' }],
    [{ action: 'reset', count: 0 }],
    [{ action: 'reset', verb: 1 }],
  ]) {
    test(`refuses ${JSON.stringify(body)}`, async () => {
      assert.equal((await server.call('PUT', '/faults', { body })).code, 400);
    });
  }
});
