// The embedded API server over HTTP: create, update and patch, refused in the words of the real API server.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import {
  BLOCKS,
  EVENTS,
  JSON_PATCH,
  type Loose,
  MERGE,
  NODES,
  PEERS,
  STRATEGIC,
  type TestServer,
  block,
  createOn,
  node,
  peer,
  startServer,
} from './embedded-api-server.ts';

let server: TestServer;
before(async () => {
  server = await startServer({});
});
after(() => server.close());

const create = (path: string, body: Loose): Promise<Loose> => createOn(server, path, body);

describe('create', () => {
  test('sets what the server owns and ignores the caller’s', async () => {
    const body = peer('create-owned');
    body.metadata = {
      ...body.metadata,
      uid: 'mine',
      creationTimestamp: '2000-01-01T00:00:00Z',
      generation: 9,
    };
    const { metadata, spec } = await create(PEERS, body);
    assert.match(metadata.uid, /^[0-9a-f-]{36}$/);
    assert.match(metadata.creationTimestamp, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
    assert.notEqual(metadata.creationTimestamp, '2000-01-01T00:00:00Z');
    assert.equal(metadata.generation, 1);
    assert.match(metadata.resourceVersion, /^\d+$/);
    assert.deepEqual(spec, body.spec);
    assert.deepEqual((await server.call('GET', `${PEERS}/create-owned`)).body.metadata, metadata);
  });

  test('resourceVersions rise across kinds', async () => {
    const a = await create(PEERS, peer('rising'));
    const b = await create(NODES, node('rising'));
    assert.ok(Number(b.metadata.resourceVersion) > Number(a.metadata.resourceVersion));
  });

  test('a name that is taken: 409 AlreadyExists', async () => {
    await create(BLOCKS, block('10.40.0.0/26', 'n1'));
    const { code, body } = await server.call('POST', BLOCKS, { body: block('10.40.0.0/26', 'n2') });
    assert.equal(code, 409);
    assert.equal(body.reason, 'AlreadyExists');
    assert.equal(body.message, 'addressblocks.weft.dev "10.40.0.0-26" already exists');
    assert.deepEqual(body.details, { name: '10.40.0.0-26', group: 'weft.dev', kind: 'addressblocks' });
  });

  test('of many that claim one name at once, exactly one wins', async () => {
    const claims = Array.from({ length: 20 }, (_, index) =>
      server.call('POST', BLOCKS, { body: block('10.41.0.0/26', `n${index}`) }),
    );
    const codes = (await Promise.all(claims)).map((answer) => answer.code).sort((a, b) => a - b);
    assert.deepEqual(codes, [201, ...Array.from({ length: 19 }, () => 409)]);
  });

  test('generateName makes a name', async () => {
    const body = { ...peer('x'), metadata: { generateName: 'made-' } };
    assert.match((await create(PEERS, body)).metadata.name, /^made-[a-z0-9]{5}$/);
  });

  test('dryRun=All answers the object and stores nothing', async () => {
    const { code } = await server.call('POST', `${PEERS}?dryRun=All`, { body: peer('dry') });
    assert.equal(code, 201);
    assert.equal((await server.call('GET', `${PEERS}/dry`)).code, 404);
  });

  test('unknown fields: pruned with a warning, refused when Strict, silent when Ignore', async () => {
    const body = { ...peer('unknown', { bogus: 1 }), status: {} };
    const strict = await server.call('POST', `${PEERS}?fieldValidation=Strict`, { body });
    assert.equal(strict.code, 400);
    assert.match(
      strict.body.message,
      /strict decoding error: unknown field "spec.bogus", unknown field "status"$/,
    );
    const warned = await server.call('POST', PEERS, { body });
    assert.equal(
      warned.headers['warning'],
      '299 - "unknown field \\"spec.bogus\\"", 299 - "unknown field \\"status\\""',
    );
    assert.deepEqual(Object.keys(warned.body).sort(), ['apiVersion', 'kind', 'metadata', 'spec']);
    assert.ok(!('bogus' in warned.body.spec));
    const ignored = await server.call('PUT', `${PEERS}/unknown?fieldValidation=Ignore`, {
      body: { ...body, metadata: warned.body.metadata },
    });
    assert.equal(ignored.headers['warning'], undefined);
  });

  test('an invalid object: 422 with every cause', async () => {
    const { code, body } = await server.call('POST', PEERS, { body: peer('bad', { port: 0, vtepMac: 'x' }) });
    assert.equal(code, 422);
    assert.equal(body.reason, 'Invalid');
    assert.equal(
      body.message,
      'Peer.weft.dev "bad" is invalid: [spec.port: Invalid value: 0: spec.port in body should be greater than or equal to 1, ' +
        `spec.vtepMac: Invalid value: "x": spec.vtepMac in body should match '^[0-9a-f]{2}(:[0-9a-f]{2}){5}$']`,
    );
    assert.deepEqual(
      body.details.causes.map((cause: Loose) => [cause.reason, cause.field]),
      [
        ['FieldValueInvalid', 'spec.port'],
        ['FieldValueInvalid', 'spec.vtepMac'],
      ],
    );
  });

  const unnamed = { ...peer('x'), metadata: {} };
  const misplaced = { apiVersion: 'v1', kind: 'Event', metadata: { name: 'e', namespace: 'other' } };
  for (const [title, path, body, code, message] of [
    ['no body', PEERS, undefined, 400, /no body/],
    ['no JSON', PEERS, '{', 400, /json parse error/],
    ['a list', PEERS, [], 400, /unrecognized/],
    ['nested too deeply', PEERS, `{"a":${'['.repeat(200_000)}${']'.repeat(200_000)}}`, 400, /./],
    ['no kind', PEERS, { apiVersion: 'weft.dev/v1alpha1' }, 400, /Object 'Kind' is missing/],
    ['another kind', PEERS, block('10.0.0.0/26', 'n'), 400, /cannot be handled as/],
    [
      'another version',
      PEERS,
      { ...peer('x'), apiVersion: 'v1' },
      400,
      /does not match the expected API version/,
    ],
    [
      'a resourceVersion',
      PEERS,
      { ...peer('x'), metadata: { name: 'x', resourceVersion: '1' } },
      500,
      /should not be set/,
    ],
    ['no name', PEERS, unnamed, 422, /name or generateName is required/],
    ['a name that is none', PEERS, peer('No_Name'), 422, /RFC 1123 subdomain/],
    [
      'labels that are no texts',
      PEERS,
      { ...peer('x'), metadata: { name: 'x', labels: { a: 1 } } },
      400,
      /labels/,
    ],
    [
      'a block named otherwise',
      BLOCKS,
      { ...block('10.9.0.0/26', 'n'), metadata: { name: 'x' } },
      422,
      /<nil>: .*must be spec.cidr/,
    ],
    [
      'an unknown namespace',
      '/api/v1/namespaces/other/events',
      misplaced,
      404,
      /namespaces "other" not found/,
    ],
    ['another namespace', EVENTS, misplaced, 400, /namespace of the provided object does not match/],
  ] as const) {
    test(`refuses ${title}: ${code}`, async () => {
      const answer = await server.call('POST', path, { body });
      assert.equal(answer.code, code, JSON.stringify(answer.body));
      assert.match(answer.body.message, message);
    });
  }

  test('refuses a body of another type: 415, and one of over 3 MiB: 413', async () => {
    const headers = { 'content-type': 'application/vnd.kubernetes.protobuf' };
    assert.equal(
      (await server.call('POST', PEERS, { body: 'x', headers })).body.reason,
      'UnsupportedMediaType',
    );
    assert.equal((await server.call('POST', PEERS, { body: `"${'x'.repeat(3_200_000)}"` })).code, 413);
  });
});

describe('update', () => {
  test('replaces with the current resourceVersion, refuses an older one: 409 Conflict', async () => {
    const first = await create(PEERS, peer('update'));
    const changed = { ...first, spec: { ...first.spec, port: 7000 } };
    const second = await server.call('PUT', `${PEERS}/update`, { body: changed });
    assert.equal(second.code, 200);
    assert.equal(second.body.metadata.generation, 2);
    assert.equal(second.body.metadata.uid, first.metadata.uid);
    const stale = await server.call('PUT', `${PEERS}/update`, { body: first });
    assert.equal(stale.code, 409);
    assert.equal(stale.body.reason, 'Conflict');
    assert.equal(
      stale.body.message,
      'Operation cannot be fulfilled on peers.weft.dev "update": the object has been modified; please apply your changes to the latest version and try again',
    );
  });

  test('without a change writes nothing; a change of metadata leaves the generation', async () => {
    const first = await create(PEERS, peer('unchanged'));
    const same = await server.call('PUT', `${PEERS}/unchanged`, { body: first });
    assert.equal(same.body.metadata.resourceVersion, first.metadata.resourceVersion);
    const labelled = { ...first, metadata: { ...first.metadata, labels: { a: 'b' } } };
    const second = (await server.call('PUT', `${PEERS}/unchanged`, { body: labelled })).body.metadata;
    assert.notEqual(second.resourceVersion, first.metadata.resourceVersion);
    assert.equal(second.generation, 1);
    assert.deepEqual(second.labels, { a: 'b' });
  });

  test('of a custom kind needs a resourceVersion; of a node it does not', async () => {
    await create(PEERS, peer('unconditional'));
    const refused = await server.call('PUT', `${PEERS}/unconditional`, { body: peer('unconditional') });
    assert.equal(refused.code, 422);
    assert.match(
      refused.body.message,
      /metadata.resourceVersion: Invalid value: 0x0: must be specified for an update$/,
    );
    await create(NODES, node('unconditional'));
    const labelled = { ...node('unconditional'), metadata: { name: 'unconditional', labels: { a: 'b' } } };
    assert.equal((await server.call('PUT', `${NODES}/unconditional`, { body: labelled })).code, 200);
  });

  test('refuses another name, another UID, an object that is not there', async () => {
    const first = await create(PEERS, peer('identity'));
    assert.equal((await server.call('PUT', `${PEERS}/other`, { body: first })).code, 400);
    const imposter = { ...first, metadata: { ...first.metadata, uid: 'other' } };
    assert.match(
      (await server.call('PUT', `${PEERS}/identity`, { body: imposter })).body.message,
      /UID in precondition: other/,
    );
    assert.equal((await server.call('PUT', `${PEERS}/absent`, { body: peer('absent') })).code, 404);
  });

  test('the owner of a block cannot change', async () => {
    const first = await create(BLOCKS, block('10.42.0.0/26', 'n1'));
    const moved = { ...first, spec: { ...first.spec, node: 'n2' } };
    const { code, body } = await server.call('PUT', `${BLOCKS}/10.42.0.0-26`, { body: moved });
    assert.equal(code, 422);
    assert.match(body.message, /spec: Invalid value: "object": node is immutable/);
  });

  test('status of a node changes through /status only', async () => {
    const first = await create(NODES, { ...node('status'), status: { phase: 'a' } });
    const changed = { ...first, status: { phase: 'b' }, spec: { unschedulable: true } };
    const main = (await server.call('PUT', `${NODES}/status`, { body: changed })).body;
    assert.deepEqual([main.status.phase, main.spec.unschedulable], ['a', true]);
    const body = { ...main, status: { phase: 'c' }, spec: {} };
    const sub = (await server.call('PUT', `${NODES}/status/status`, { body })).body;
    assert.deepEqual([sub.status.phase, sub.spec.unschedulable], ['c', true]);
  });
});

describe('patch', () => {
  test('merge patch sets, removes, and checks a resourceVersion that it names', async () => {
    const first = await create(PEERS, peer('merge', { publicKey: 'k' }));
    const body = { spec: { port: 1, publicKey: null } };
    const patched = await server.call('PATCH', `${PEERS}/merge`, { body, headers: MERGE });
    assert.equal(patched.code, 200);
    assert.equal(patched.body.spec.port, 1);
    assert.ok(!('publicKey' in patched.body.spec));
    const stale = { metadata: { resourceVersion: first.metadata.resourceVersion }, spec: { port: 2 } };
    assert.equal((await server.call('PATCH', `${PEERS}/merge`, { body: stale, headers: MERGE })).code, 409);
  });

  test('JSON patch: applied in turn; a test that fails is 422 and changes nothing', async () => {
    await create(PEERS, peer('json'));
    const body = [
      { op: 'test', path: '/spec/port', value: 6784 },
      { op: 'add', path: '/spec/addresses/0', value: '192.0.2.9' },
    ];
    const patched = await server.call('PATCH', `${PEERS}/json`, { body, headers: JSON_PATCH });
    assert.deepEqual(patched.body.spec.addresses, ['192.0.2.9', '192.0.2.1']);
    body[0]!.value = 1; // !: the first of two
    const failed = await server.call('PATCH', `${PEERS}/json`, { body, headers: JSON_PATCH });
    assert.equal(failed.code, 422);
    assert.equal((await server.call('GET', `${PEERS}/json`)).body.spec.addresses.length, 2);
  });

  test('strategic merge patch: for nodes, not for custom kinds', async () => {
    await create(NODES, { ...node('strategic'), spec: { taints: [{ key: 'a', effect: 'NoSchedule' }] } });
    const body = { spec: { $setElementOrder: [], taints: [{ key: 'b', effect: 'NoExecute' }] } };
    const patched = await server.call('PATCH', `${NODES}/strategic`, { body, headers: STRATEGIC });
    assert.deepEqual(
      patched.body.spec.taints.map((taint: Loose) => taint.key),
      ['a', 'b'],
    );
    await create(PEERS, peer('strategic'));
    const refused = await server.call('PATCH', `${PEERS}/strategic`, { body: {}, headers: STRATEGIC });
    assert.equal(refused.code, 415);
  });

  test('apply creates what is missing and merges into what is there', async () => {
    const headers = { 'content-type': 'application/apply-patch+yaml' };
    const path = `${PEERS}/applied?fieldManager=test`;
    assert.equal((await server.call('PATCH', path, { body: peer('applied'), headers })).code, 201);
    const again = await server.call('PATCH', path, { body: peer('applied', { port: 9 }), headers });
    assert.deepEqual([again.code, again.body.spec.port], [200, 9]);
  });

  test('of what is not there: 404', async () => {
    assert.equal((await server.call('PATCH', `${PEERS}/absent`, { body: {}, headers: MERGE })).code, 404);
  });
});
