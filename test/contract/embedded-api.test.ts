// The embedded API server over HTTP: what it answers to reads and writes, worded as the real API server words it.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import {
  BLOCKS,
  EVENTS,
  type Loose,
  NODES,
  PEERS,
  type TestServer,
  block,
  ownedBy,
  peer,
  startServer,
} from './embedded-api-server.ts';

let server: TestServer;
before(async () => {
  server = await startServer({});
});
after(() => server.close());

/** Creates and answers the stored object. */
async function create(path: string, body: Loose): Promise<Loose> {
  const answer = await server.call('POST', path, { body });
  assert.equal(answer.code, 201, JSON.stringify(answer.body));
  return answer.body;
}

const node = (name: string): Loose => ({ apiVersion: 'v1', kind: 'Node', metadata: { name } });
const names = (list: Loose): string[] => list.items.map((item: Loose) => item.metadata.name);
const MERGE = { 'content-type': 'application/merge-patch+json' };
const JSON_PATCH = { 'content-type': 'application/json-patch+json' };
const STRATEGIC = { 'content-type': 'application/strategic-merge-patch+json' };
const TABLE = { accept: 'application/json;as=Table;v=v1;g=meta.k8s.io,application/json' };

describe('who may ask', () => {
  for (const [title, authorization] of [
    ['no token', ''],
    ['another token', 'Bearer another-token-0123456789'],
    ['another scheme', 'Basic YTpi'],
  ] as const) {
    test(`${title}: 401 as a Status`, async () => {
      const { code, body } = await server.call('GET', PEERS, { headers: { authorization } });
      assert.equal(code, 401);
      assert.equal(body.kind, 'Status');
      assert.equal(body.reason, 'Unauthorized');
    });
  }
  for (const path of ['/healthz', '/readyz', '/livez', '/version']) {
    test(`${path} needs no token`, async () => {
      assert.equal((await server.call('GET', path, { headers: { authorization: '' } })).code, 200);
    });
  }
});

describe('discovery', () => {
  test('groups, versions and resources', async () => {
    assert.deepEqual((await server.call('GET', '/api')).body.versions, ['v1']);
    assert.equal((await server.call('GET', '/apis')).body.groups[0].name, 'weft.dev');
    const core = (await server.call('GET', '/api/v1')).body.resources.map((resource: Loose) => resource.name);
    assert.deepEqual(core, ['events', 'namespaces', 'nodes', 'nodes/status']);
    const { resources } = (await server.call('GET', '/apis/weft.dev/v1alpha1')).body;
    assert.deepEqual(
      resources.map((resource: Loose) => [resource.name, resource.shortNames, resource.namespaced]),
      [
        ['addressblocks', ['wb'], false],
        ['peers', ['wp'], false],
      ],
    );
  });

  test('OpenAPI v3 names every document that it serves', async () => {
    const { paths } = (await server.call('GET', '/openapi/v3')).body;
    for (const { serverRelativeURL } of Object.values(paths) as { serverRelativeURL: string }[]) {
      const { code, body } = await server.call('GET', serverRelativeURL);
      assert.equal(code, 200);
      assert.equal(body.openapi, '3.0.0');
    }
  });

  for (const [method, path, code] of [
    ['GET', '/nothing', 404],
    ['GET', '/apis/weft.dev/v1alpha1/pods', 404],
    ['GET', '/apis/weft.dev/v1/peers', 404],
    ['GET', `${PEERS}/a/status`, 404],
    ['GET', '/api/v1/namespaces/default/nodes', 404],
    ['PUT', PEERS, 405],
    ['POST', `${PEERS}/a`, 405],
    ['DELETE', '/api/v1/namespaces/default', 405],
    ['GET', '/faults', 404],
  ] as const) {
    test(`${method} ${path}: ${code}`, async () => {
      const answer = await server.call(method, path);
      assert.equal(answer.code, code);
      assert.equal(answer.body.status, 'Failure');
    });
  }
});

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
    const codes = (await Promise.all(claims)).map((answer) => answer.code).sort();
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
    assert.deepEqual(names(body), ['collection-a', 'collection-b']);
    assert.deepEqual(names((await server.call('GET', `${PEERS}?labelSelector=set`)).body), ['collection-c']);
  });
});

describe('list', () => {
  const owners = Array.from({ length: 7 }, (_, index) => `10.50.${index}.0/24`);
  before(async () => {
    for (const [index, cidr] of owners.entries()) {
      await create(
        BLOCKS,
        block(cidr, `list-${index}`, { labels: { list: 'yes', parity: index % 2 === 0 ? 'even' : 'odd' } }),
      );
    }
  });
  const all = owners.map((cidr) => cidr.replace('/', '-'));
  const at = `${BLOCKS}?labelSelector=list`;

  test('pages with limit and continue show one state, whatever is written in between', async () => {
    const first = (await server.call('GET', `${at}&limit=3`)).body;
    assert.deepEqual(names(first), all.slice(0, 3));
    await server.call('DELETE', `${BLOCKS}/${all[4]}`);
    const late = block('10.50.9.0/24', 'late', { labels: { list: 'yes' } });
    await create(BLOCKS, late);
    const rest: string[] = [];
    let token = first.metadata.continue;
    while (token !== undefined) {
      const page = (await server.call('GET', `${at}&limit=3&continue=${token}`)).body;
      assert.equal(page.metadata.resourceVersion, first.metadata.resourceVersion);
      rest.push(...names(page));
      token = page.metadata.continue;
    }
    assert.deepEqual([...names(first), ...rest], all);
    const exact = `${at}&resourceVersion=${first.metadata.resourceVersion}&resourceVersionMatch=Exact`;
    assert.deepEqual(names((await server.call('GET', exact)).body), all);
    await server.call('DELETE', `${BLOCKS}/10.50.9.0-24`);
    await create(BLOCKS, block(owners[4]!, 'again', { labels: { list: 'yes', parity: 'even' } })); // !: seven owners
  });

  test('without a selector says how many remain', async () => {
    const page = (await server.call('GET', `${BLOCKS}?limit=2`)).body;
    const total = (await server.call('GET', BLOCKS)).body.items.length;
    assert.equal(page.metadata.remainingItemCount, total - 2);
  });

  for (const [selector, expected] of [
    ['parity=even', [0, 2, 4, 6]],
    ['parity==odd', [1, 3, 5]],
    ['parity!=odd,list', [0, 2, 4, 6]],
    ['parity in (odd,even)', [0, 1, 2, 3, 4, 5, 6]],
    ['list,parity notin (even)', [1, 3, 5]],
    ['list,!parity', []],
  ] as const) {
    test(`labelSelector ${selector}`, async () => {
      const { body } = await server.call('GET', `${BLOCKS}?labelSelector=${encodeURIComponent(selector)}`);
      assert.deepEqual(
        names(body),
        expected.map((index) => all[index]),
      );
    });
  }

  test('fieldSelector metadata.name', async () => {
    const { body } = await server.call('GET', `${BLOCKS}?fieldSelector=metadata.name%3D${all[2]}`);
    assert.deepEqual(names(body), [all[2]]);
  });

  for (const [title, query, code, message] of [
    ['an unknown field', 'fieldSelector=spec.node%3Da', 400, /field label not supported: spec.node/],
    ['a label selector that is none', 'labelSelector=a%3D%3D%3Db', 400, /unable to parse requirement/],
    ['a resourceVersion that is none', 'resourceVersion=x', 400, /invalid syntax/],
    [
      'a resourceVersion of the future',
      'resourceVersion=99999999999',
      504,
      /^Too large resource version: 99999999999, current: \d+$/,
    ],
    ['an old resourceVersion, exactly', 'resourceVersion=1&resourceVersionMatch=Exact', 410, /too old/],
    [
      'a match without a version',
      'resourceVersionMatch=Exact',
      422,
      /forbidden unless resourceVersion is provided/,
    ],
    [
      'an exact match with 0',
      'resourceVersion=0&resourceVersionMatch=Exact',
      422,
      /forbidden for resourceVersion "0"/,
    ],
    ['a continue token that is none', 'continue=x', 400, /continue key is not valid/],
    [
      'a continue token with a version',
      'continue=x&resourceVersion=5',
      400,
      /not allowed when using continue/,
    ],
  ] as const) {
    test(`refuses ${title}: ${code}`, async () => {
      const answer = await server.call('GET', `${BLOCKS}?${query}`);
      assert.equal(answer.code, code, JSON.stringify(answer.body));
      assert.match(answer.body.message, message);
    });
  }

  test('resourceVersion 0, unset and "at least" answer the newest state', async () => {
    const unset = (await server.call('GET', at)).body;
    for (const query of ['resourceVersion=0', 'resourceVersion=1']) {
      assert.deepEqual((await server.call('GET', `${at}&${query}`)).body, unset);
    }
  });
});

describe('representations', () => {
  test('a Table with the printer columns, wide ones by priority', async () => {
    await create(PEERS, peer('table'));
    const { body } = await server.call('GET', `${PEERS}/table`, { headers: TABLE });
    assert.equal(body.kind, 'Table');
    assert.deepEqual(
      body.columnDefinitions.map((column: Loose) => [column.name, column.priority]),
      [
        ['Name', 0],
        ['Address', 0],
        ['Port', 0],
        ['MAC', 0],
        ['Version', 0],
        ['Age', 0],
        ['Node UID', 1],
        ['Features', 1],
      ],
    );
    const [row] = body.rows;
    assert.deepEqual(row.cells.slice(0, 5), ['table', '192.0.2.1', 6784, '0e:00:5e:00:53:01', '0.1.0']);
    assert.match(row.cells[5], /^\d+s$/);
    assert.deepEqual(row.cells.slice(6), ['uid-of-table', '["probe"]']);
    assert.equal(row.object.kind, 'PartialObjectMetadata');
    assert.equal(row.object.spec, undefined);
  });

  test('metadata alone', async () => {
    const headers = { accept: 'application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1' };
    const { body } = await server.call('GET', PEERS, { headers });
    assert.equal(body.kind, 'PartialObjectMetadataList');
    assert.deepEqual(Object.keys(body.items[0]).sort(), ['apiVersion', 'kind', 'metadata']);
  });

  test('protobuf only: 406', async () => {
    const headers = { accept: 'application/vnd.kubernetes.protobuf' };
    assert.equal((await server.call('GET', PEERS, { headers })).code, 406);
  });
});

describe('events', () => {
  test('are created in their namespace and selected by what they are about', async () => {
    const about = (name: string): Loose => ({
      apiVersion: 'v1',
      kind: 'Event',
      metadata: { generateName: 'e-' },
      involvedObject: { kind: 'Node', name },
      reason: 'Test',
    });
    await create(EVENTS, about('n1'));
    await create(EVENTS, about('n2'));
    const selector = encodeURIComponent('involvedObject.kind=Node,involvedObject.name=n2');
    for (const path of [EVENTS, '/api/v1/events']) {
      const { items } = (await server.call('GET', `${path}?fieldSelector=${selector}`)).body;
      assert.deepEqual(
        items.map((item: Loose) => [item.involvedObject.name, item.metadata.namespace]),
        [['n2', 'default']],
      );
    }
  });
});
