// Peer and AddressBlock from an API server that may be hostile: each refusal, and that nothing unknown or inherited comes through.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import {
  type DecodedObject,
  OBJECT_REFUSALS,
  type ObjectRefusal,
  decodeAddressBlock,
  decodePeer,
} from '../../proto/api-decode.ts';

type Fields = Readonly<Record<string, unknown>>;

const peer = (spec: Fields = {}, metadata: Fields = {}): Fields => ({
  apiVersion: 'weft.dev/v1alpha1',
  kind: 'Peer',
  metadata: { name: 'n1', uid: 'u1', resourceVersion: '7', ...metadata },
  spec: {
    nodeUid: 'u',
    addresses: ['192.0.2.1', '198.51.100.1'],
    port: 6784,
    vtepMac: '0e:00:5e:00:53:01',
    features: ['probe'],
    version: '1',
    ...spec,
  },
});

const block = (cidr: string, metadata: Fields = {}): Fields => ({
  apiVersion: 'weft.dev/v1alpha1',
  kind: 'AddressBlock',
  metadata: { name: cidr.replace('/', '-'), ...metadata },
  spec: { cidr, node: 'n1', nodeUid: 'u' },
});

const owner = { apiVersion: 'v1', kind: 'Node', name: 'n1', uid: 'u' };
const seen = new Set<ObjectRefusal>();

function refusedAs(result: DecodedObject<unknown>, reason: ObjectRefusal): void {
  assert.ok(!result.ok, 'was taken');
  assert.equal(result.reason, reason, result.detail);
  assert.notEqual(result.detail, '');
  seen.add(reason);
}

describe('decodePeer', () => {
  test('takes a peer as it is', () => {
    const value = peer(
      { publicKey: 'k' },
      { labels: { a: 'b' }, annotations: {}, generation: 1, ownerReferences: [owner] },
    );
    assert.deepEqual(decodePeer(value), { ok: true, value });
  });

  test('leaves out what it does not know', () => {
    const value = { ...peer({ more: 1 }, { managedFields: [], selfLink: '/' }), status: {} };
    assert.deepEqual(decodePeer(value), { ok: true, value: peer() });
  });

  for (const [title, value, reason] of [
    ['null', null, 'not_an_object'],
    ['a list', [peer()], 'not_an_object'],
    ['a text', 'peer', 'not_an_object'],
    ['a block', block('10.0.0.0/26'), 'wrong_kind'],
    ['another version', { ...peer(), apiVersion: 'weft.dev/v1' }, 'wrong_kind'],
    ['no metadata', { ...peer(), metadata: undefined }, 'metadata'],
    ['no name', peer({}, { name: '' }), 'metadata'],
    ['an endless name', peer({}, { name: 'x'.repeat(254) }), 'metadata'],
    ['a resourceVersion that is a number', peer({}, { resourceVersion: 7 }), 'metadata'],
    ['a generation that is a text', peer({}, { generation: '1' }), 'metadata'],
    ['labels that are a list', peer({}, { labels: [] }), 'metadata'],
    ['a label that is a number', peer({}, { labels: { a: 1 } }), 'metadata'],
    ['an owner without a UID', peer({}, { ownerReferences: [{ ...owner, uid: undefined }] }), 'metadata'],
    ['no spec', { ...peer(), spec: undefined }, 'schema'],
    ['a spec that is null', { ...peer(), spec: null }, 'schema'],
    ['port 0', peer({ port: 0 }), 'schema'],
    ['no address', peer({ addresses: [] }), 'schema'],
    [
      'seventeen addresses',
      peer({ addresses: Array.from({ length: 17 }, (_, i) => `10.0.0.${i}`) }),
      'schema',
    ],
    ['an octal address', peer({ addresses: ['010.0.0.1'] }), 'schema'],
    ['an IPv6 address', peer({ addresses: ['2001:db8::1'] }), 'schema'],
    ['an IPv4-mapped address', peer({ addresses: ['::ffff:1.2.3.4'] }), 'schema'],
    ['an address with a newline', peer({ addresses: ['192.0.2.1\n'] }), 'schema'],
    ['a MAC in capitals', peer({ vtepMac: '0E:00:5E:00:53:01' }), 'schema'],
    ['loopback', peer({ addresses: ['127.0.0.1'] }), 'address_not_unicast'],
    ['loopback as the second', peer({ addresses: ['192.0.2.1', '127.9.9.9'] }), 'address_not_unicast'],
    ['unspecified', peer({ addresses: ['0.0.0.0'] }), 'address_not_unicast'],
    ['this network', peer({ addresses: ['0.1.2.3'] }), 'address_not_unicast'],
    ['multicast', peer({ addresses: ['224.0.0.1'] }), 'address_not_unicast'],
    ['reserved', peer({ addresses: ['240.0.0.1'] }), 'address_not_unicast'],
    ['broadcast', peer({ addresses: ['255.255.255.255'] }), 'address_not_unicast'],
    ['one address twice', peer({ addresses: ['192.0.2.1', '192.0.2.1'] }), 'duplicate_address'],
    ['a group MAC', peer({ vtepMac: '01:00:5e:00:53:01' }), 'mac_not_unicast'],
    ['the broadcast MAC', peer({ vtepMac: 'ff:ff:ff:ff:ff:ff' }), 'mac_not_unicast'],
    ['no MAC', peer({ vtepMac: '00:00:00:00:00:00' }), 'mac_not_unicast'],
  ] as const) {
    test(`refuses ${title}: ${reason}`, () => refusedAs(decodePeer(value), reason));
  }

  test('found by fuzzing: a kind that brings its own toString, names that the API server forbids', () => {
    refusedAs(decodePeer({ ...peer(), kind: { toString: null, valueOf: 1 } }), 'wrong_kind');
    refusedAs(decodePeer({ ...peer(), apiVersion: JSON.parse('{"toString":1}') as unknown }), 'wrong_kind');
    refusedAs(decodePeer(peer({}, { name: 'Node_1' })), 'metadata');
    refusedAs(decodePeer(peer({}, { ownerReferences: [{ ...owner, name: '' }] })), 'metadata');
  });

  test('takes nothing from what objects inherit', () => {
    const spec = peer()['spec'] as Fields; // as: made above
    const inherited = JSON.parse(
      `{"apiVersion":"weft.dev/v1alpha1","kind":"Peer","metadata":{"name":"n"},"spec":{"__proto__":${JSON.stringify(spec)}}}`,
    ) as unknown;
    refusedAs(decodePeer(inherited), 'schema');
  });
});

describe('decodeAddressBlock', () => {
  for (const cidr of ['10.32.4.0/26', '10.32.0.1/32', '10.0.0.0/8', '223.255.255.0/24']) {
    test(`takes ${cidr}`, () =>
      assert.deepEqual(decodeAddressBlock(block(cidr)), { ok: true, value: block(cidr) }));
  }

  for (const [title, value, reason] of [
    ['a peer', peer(), 'wrong_kind'],
    ['no CIDR', block('10.0.0.0'), 'schema'],
    ['bits beyond the prefix', block('10.32.4.1/26'), 'cidr'],
    ['a prefix of 33', block('10.32.4.0/33'), 'cidr'],
    ['an octet of 256', block('10.32.256.0/26'), 'cidr'],
    ['an octal octet', block('010.32.0.0/26'), 'cidr'],
    ['everything', block('0.0.0.0/0'), 'block_not_unicast'],
    ['more than a /8', block('10.0.0.0/7'), 'block_not_unicast'],
    ['loopback', block('127.0.0.0/26'), 'block_not_unicast'],
    ['multicast', block('224.0.0.0/26'), 'block_not_unicast'],
    ['the last block of all', block('255.255.255.192/26'), 'block_not_unicast'],
    ['another name', block('10.32.4.0/26', { name: '10.32.4.64-26' }), 'block_name'],
    ['a name that parses alike', block('10.32.4.0/26', { name: '10.32.4.0-026' }), 'block_name'],
    ['no node', { ...block('10.32.4.0/26'), spec: { cidr: '10.32.4.0/26', nodeUid: 'u' } }, 'schema'],
  ] as const) {
    test(`refuses ${title}: ${reason}`, () => refusedAs(decodeAddressBlock(value), reason));
  }
});

test('every reason of the list has been seen', () => {
  assert.deepEqual([...seen].sort(), [...OBJECT_REFUSALS].sort());
});
