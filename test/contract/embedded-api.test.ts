// The embedded API server over HTTP: who may ask, discovery, lists and the forms in which objects leave.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import {
  BLOCKS,
  EVENTS,
  type Loose,
  PEERS,
  type TestServer,
  block,
  createOn,
  namesOf,
  peer,
  startServer,
} from './embedded-api-server.ts';

let server: TestServer;
before(async () => {
  server = await startServer({});
});
after(() => server.close());

const create = (path: string, body: Loose): Promise<Loose> => createOn(server, path, body);
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

  test('OpenAPI v2 has our kinds, as JSON and as the protobuf of older kubectl', async () => {
    const plain = await server.call('GET', '/openapi/v2');
    assert.deepEqual(Object.keys(plain.body.definitions), [
      'dev.weft.v1alpha1.AddressBlock',
      'dev.weft.v1alpha1.Peer',
    ]);
    const headers = { accept: 'application/com.github.proto-openapi.spec.v2@v1.0+protobuf' };
    const { headers: answered, body } = await server.call('GET', '/openapi/v2', { headers });
    assert.equal(answered['content-type'], 'application/com.github.proto-openapi.spec.v2.v1.0+protobuf');
    assert.ok(body.startsWith('\n\u00032.0')); // field 1, three bytes
  });

  test('OpenAPI v3 names every document that it serves', async () => {
    const { paths } = (await server.call('GET', '/openapi/v3')).body;
    for (const { serverRelativeURL } of Object.values<{ serverRelativeURL: string }>(paths)) {
      const { code, body } = await server.call('GET', serverRelativeURL);
      assert.equal(code, 200);
      assert.equal(body.openapi, '3.0.0');
    }
  });

  for (const [method, path, code] of [
    ['GET', '/nothing', 404],
    ['GET', 'http://[', 400],
    ['GET', '/%', 404],
    ['GET', '/openapi/v3/__proto__', 404],
    ['GET', `${PEERS}/%00`, 404],
    ['GET', `${PEERS}?limit=-1`, 400],
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
    assert.deepEqual(namesOf(first), all.slice(0, 3));
    await server.call('DELETE', `${BLOCKS}/${all[4]}`);
    const late = block('10.50.9.0/24', 'late', { labels: { list: 'yes' } });
    await create(BLOCKS, late);
    const rest: string[] = [];
    let token = first.metadata.continue;
    while (token !== undefined) {
      const page = (await server.call('GET', `${at}&limit=3&continue=${token}`)).body;
      assert.equal(page.metadata.resourceVersion, first.metadata.resourceVersion);
      rest.push(...namesOf(page));
      token = page.metadata.continue;
    }
    assert.deepEqual([...namesOf(first), ...rest], all);
    const exact = `${at}&resourceVersion=${first.metadata.resourceVersion}&resourceVersionMatch=Exact`;
    assert.deepEqual(namesOf((await server.call('GET', exact)).body), all);
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
        namesOf(body),
        expected.map((index) => all[index]),
      );
    });
  }

  test('fieldSelector metadata.name', async () => {
    const { body } = await server.call('GET', `${BLOCKS}?fieldSelector=metadata.name%3D${all[2]}`);
    assert.deepEqual(namesOf(body), [all[2]]);
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
