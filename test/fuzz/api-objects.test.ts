// A million Peers and AddressBlocks, right, nearly right and not at all. What the agent accepts the embedded API server would have accepted
// too, with the schema and the rules that are published; and it can be used as it is.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { admit, readMetadata, readObject } from '../../embedded-api/admission.ts';
import type { ApiObject, Json } from '../../embedded-api/api-object.ts';
import { type ResourceKind, findKind } from '../../embedded-api/resource-kinds.ts';
import { parseCidr, parseIpv4, parseMac } from '../../proto/address-text.ts';
import { OBJECT_REFUSALS, decodeAddressBlock, decodePeer } from '../../proto/api-decode.ts';
import type { AddressBlock, Peer } from '../../proto/api-kinds.ts';
import { randomInt } from '../support/random.ts';
import { fuzz } from './fuzzing.ts';
import { mutateJson, oneOf } from './mutation.ts';

const METADATA = {
  name: 'node-1',
  uid: '1a2b3c4d-0000-4000-8000-000000000001',
  resourceVersion: '17',
  creationTimestamp: '2026-01-01T00:00:00Z',
  generation: 1,
  labels: { a: 'b' },
  annotations: { 'weft.dev/order': '1' },
  ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name: 'node-1', uid: 'uid-1' }],
};
const PEER: Peer = {
  apiVersion: 'weft.dev/v1alpha1',
  kind: 'Peer',
  metadata: METADATA,
  spec: {
    nodeUid: 'uid-1',
    addresses: ['192.0.2.1', '192.0.2.2'],
    port: 6784,
    vtepMac: '0e:00:5e:00:53:01',
    features: ['probe', 'x.y'],
    version: '0.1.0',
    publicKey: 'a2V5',
  },
};
const BLOCK: AddressBlock = {
  apiVersion: 'weft.dev/v1alpha1',
  kind: 'AddressBlock',
  metadata: { ...METADATA, name: '10.32.4.0-26' },
  spec: { cidr: '10.32.4.0/26', node: 'node-1', nodeUid: 'uid-1' },
};
const cidrs = [
  '10.32.4.1/26',
  '0.0.0.0/0',
  '224.0.0.0/8',
  '127.0.0.0/8',
  '10.0.0.0/7',
  '010.32.4.0/26',
  '10.32.4.0/026',
  '10.32.4.0/33',
];
const VOCABULARY = {
  keys: [
    'apiVersion',
    'kind',
    'metadata',
    'spec',
    'status',
    'name',
    'uid',
    'cidr',
    'node',
    'nodeUid',
    'addresses',
    'port',
    'features',
  ],
  values: [
    ...cidrs,
    ...cidrs.map((cidr) => cidr.replace('/', '-')),
    '127.0.0.1',
    '255.255.255.255',
    '0.0.0.0',
    '::1',
    '01:00:5e:00:00:01',
    '00:00:00:00:00:00',
    '0E:00:5E:00:53:01',
    'Node_1',
    'n'.repeat(254),
    65_535,
    65_536,
    ['192.0.2.1', '192.0.2.1'],
    METADATA,
    PEER.spec,
    BLOCK.spec,
    'Peer',
    'AddressBlock',
    'weft.dev/v1beta1',
  ],
};
const kindOf = (plural: string): ResourceKind => {
  const kind = findKind('weft.dev', 'v1alpha1', plural);
  assert.ok(kind !== undefined);
  return kind;
};
const peers = kindOf('peers');
const blocks = kindOf('addressblocks');

/** Throws what the server would answer. The API's own fields come from the object. */
function admitted(kind: ResourceKind, value: unknown): void {
  const body = readObject(kind, value as Json); // as: made of JSON values
  const { name = '', ...given } = readMetadata(body);
  const metadata = { ...given, name, uid: 'uid', creationTimestamp: '2026-01-01T00:00:00Z' };
  const object = { ...body, metadata } as unknown as ApiObject; // as: readObject and the metadata above
  admit({ kind, object, previous: undefined, fieldValidation: 'Ignore' });
}

/** Nobody checks again behind the decoder. */
function usablePeer({ spec, metadata }: Peer): void {
  for (const address of spec.addresses) {
    const first = parseIpv4(address) >>> 24;
    assert.ok(first > 0 && first < 224 && first !== 127, address);
  }
  assert.ok(
    parseMac(spec.vtepMac) > 0 && Number.parseInt(spec.vtepMac.slice(0, 2), 16) % 2 === 0,
    spec.vtepMac,
  );
  assert.ok(Number.isInteger(spec.port) && spec.port > 0 && spec.port < 65_536);
  assert.ok(metadata.name.length <= 253 && spec.nodeUid !== '');
}

function usableBlock({ spec, metadata }: AddressBlock): void {
  const { base, prefixLength } = parseCidr(spec.cidr);
  const last = base + 2 ** (32 - prefixLength) - 1;
  assert.ok(base >>> 24 > 0 && last < 0xe000_0000, spec.cidr);
  assert.ok(last < 0x7f00_0000 || base > 0x7fff_ffff, spec.cidr);
  assert.equal(metadata.name, `${spec.cidr.split('/')[0]}-${prefixLength}`);
}

function attempt(random: () => number): string {
  const isPeer = random() < 0.5;
  const sample = isPeer ? PEER : BLOCK;
  const options = { changes: 1 + randomInt(random, 3), vocabulary: VOCABULARY };
  const value =
    random() < 0.6
      ? { ...sample, spec: mutateJson(random, sample.spec, options) }
      : mutateJson(random, random() < 0.95 ? sample : oneOf(random, VOCABULARY.values), options);
  const decoded = isPeer ? decodePeer(value) : decodeAddressBlock(value);
  if (!decoded.ok) {
    assert.ok(decoded.detail.length > 0);
    return decoded.reason;
  }
  const { value: object } = decoded;
  admitted(isPeer ? peers : blocks, value);
  if (object.kind === 'Peer') usablePeer(object);
  else usableBlock(object);
  return object.kind;
}

test('API objects: nothing crashes, hangs, or is accepted that the published schema forbids', (t) => {
  fuzz(t, {
    attempt,
    outcomes: ['Peer', 'AddressBlock', ...OBJECT_REFUSALS],
  });
});
