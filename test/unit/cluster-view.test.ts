// The view of the cluster: snapshot and reflector events merged, slots, contradictions, freed blocks; and the table made of it.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { formatIpv4, ipv4, mac, vni } from '../../proto/address.ts';
import { parseCidr, parseIpv4 } from '../../proto/address-text.ts';
import type { AddressBlock, Peer } from '../../proto/api-kinds.ts';
import {
  type ClusterView,
  type ClusterViewKeeper,
  createClusterView,
} from '../../agent/control/cluster/cluster-view.ts';
import { forwardingInputs } from '../../agent/control/cluster/forwarding-inputs.ts';
import { PeerSlots } from '../../agent/control/cluster/peer-slots.ts';
import type { Snapshot } from '../../agent/control/cluster/snapshot.ts';
import { randomInt, seededRandom, testSeed } from '../support/random.ts';
import { FakeClock, block, peer, settle } from './kube-fakes.ts';

const range = parseCidr('10.32.0.0/12');

interface Rig {
  readonly view: ClusterViewKeeper;
  readonly clock: FakeClock;
  readonly changes: ClusterView[];
  peers(...peers: Peer[]): void;
  blocks(...blocks: AddressBlock[]): void;
}

const byName = <T extends Peer | AddressBlock>(objects: readonly T[]): Map<string, T> =>
  new Map(objects.map((object) => [object.metadata.name, object]));

function rig(snapshot?: Partial<Snapshot>): Rig {
  const clock = new FakeClock();
  const changes: ClusterView[] = [];
  const view = createClusterView({
    nodeName: 'self',
    range,
    blockPrefixLength: 26,
    clock,
    defer: (run) => void setImmediate(run),
    onChange: (change) => changes.push(change),
    ...(snapshot === undefined ? {} : { snapshot: { ...EMPTY, ...snapshot } }),
  });
  return {
    view,
    clock,
    changes,
    peers: (...peers) => view.peers.synced(byName(peers), '10'),
    blocks: (...blocks) => view.blocks.synced(byName(blocks), '11'),
  };
}

const EMPTY: Snapshot = {
  nodeName: 'self',
  range: '10.32.0.0/12',
  blockPrefixLength: 26,
  vni: 1,
  resourceVersions: {},
  peers: [],
  blocks: [],
  slots: {},
  freedBlocks: {},
};

const problems = ({ view }: Rig): readonly string[] =>
  view.current().problems.map(({ kind, name }) => `${kind} ${name}`);

test('ClusterView starts from the snapshot and is the API once both kinds are listed', async () => {
  const it = rig({
    peers: [peer('old')],
    blocks: [block('10.32.0.0/26', 'old')],
    resourceVersions: { peers: '5' },
  });
  assert.equal(it.view.current().source, 'snapshot');
  assert.ok(it.view.current().reachable.has('old'));
  assert.deepEqual(it.view.current().resourceVersions, { peers: '5' });
  it.peers(peer('new'));
  assert.equal(it.view.current().source, 'snapshot');
  assert.deepEqual([...it.view.current().blocks.keys()], ['10.32.0.0-26']);
  it.blocks();
  assert.equal(it.view.current().source, 'api');
  assert.deepEqual([...it.view.current().peers.keys()], ['new']);
  assert.deepEqual(it.view.current().resourceVersions, { peers: '10', blocks: '11' });
  await settle();
  assert.equal(it.changes.length, 1);
});

test('ClusterView tells of changes once a turn, and a view once taken never changes', async () => {
  const it = rig();
  it.peers(peer('a'));
  it.view.peers.changed('b', peer('b'), '12');
  const taken = it.view.current();
  it.view.peers.changed('a', undefined, '13');
  assert.equal(it.changes.length, 0);
  await settle();
  assert.equal(it.changes.length, 1);
  assert.deepEqual([...taken.peers.keys()], ['a', 'b']);
  assert.deepEqual([...it.changes[0]!.peers.keys()], ['b']);
  it.view.peers.changed('b', peer('b', { port: 1 }), '14');
  await settle();
  assert.equal(it.changes.length, 2);
});

test('ClusterView keeps a slot as long as its peer exists, also over a snapshot', () => {
  const it = rig();
  it.peers(peer('self'), peer('a'), peer('b'), peer('c'));
  assert.deepEqual(
    [...it.view.current().slots],
    [
      ['a', 0],
      ['b', 1],
      ['c', 2],
    ],
  );
  it.view.peers.changed('b', undefined, '12');
  it.view.peers.changed('d', peer('d'), '13');
  it.view.current();
  const again = rig(it.view.takeSnapshot());
  again.peers(peer('d'), peer('c'), peer('a'), peer('e'));
  assert.deepEqual(Object.fromEntries(again.view.current().slots), { a: 0, c: 2, d: 3, e: 4 });
});

test('PeerSlots reuses freed slots last, oldest first, and never gives one to two', (t) => {
  const seed = testSeed();
  t.diagnostic(`WEFT_TEST_SEED=${seed}`);
  const random = seededRandom(seed);
  const slots = new PeerSlots({ odd: -1, twice: 3, again: 3, far: 99 }, 8);
  let before: ReadonlyMap<string, number> = new Map();
  for (let at = 0; at < 2000; at++) {
    const wanted = Array.from({ length: 12 }, (_, number) => `p${number}`).filter(() => random() < 0.5);
    const now = slots.assign(wanted);
    assert.equal(new Set(now.values()).size, now.size);
    assert.ok([...now.values()].every((slot) => slot >= 0 && slot < 8));
    assert.equal(now.size, Math.min(8, wanted.length));
    for (const [name, slot] of before) if (wanted.includes(name)) assert.equal(now.get(name), slot);
    before = now;
  }
  const fresh = new PeerSlots({}, 4);
  fresh.assign(['a', 'b']);
  fresh.assign(['b']);
  assert.equal(fresh.assign(['b', 'c']).get('c'), 2);
  fresh.assign(['b', 'd', 'e']);
  assert.deepEqual(Object.fromEntries(fresh.assign(['d', 'e', 'f', 'g'])), { d: 3, e: 0, f: 2, g: 1 });
});

test('ClusterView lets the older of two with one address or MAC win, and names the other', () => {
  const it = rig();
  const address = { addresses: ['192.0.2.1'] };
  it.peers(
    peer('young', { ...address, created: '2026-02-01T00:00:00Z' }),
    peer('old', { ...address, created: '2026-01-01T00:00:00Z' }),
    peer('mac-b', { vtepMac: '0e:00:00:00:00:99', uid: 'uid-b' }),
    peer('mac-a', { vtepMac: '0e:00:00:00:00:99', uid: 'uid-a' }),
  );
  assert.deepEqual([...it.view.current().reachable.keys()].toSorted(), ['mac-a', 'old']);
  assert.deepEqual(problems(it), ['same-mac mac-b', 'same-address young']);
  assert.equal(it.view.current().problems[1]?.text, 'peer "young" has the underlay address of "old"');
  assert.equal(it.view.current().peers.size, 4);
  it.view.peers.changed('old', undefined, '20');
  assert.ok(it.view.current().reachable.has('young'));
});

test('ClusterView never lets another take the place of this node', () => {
  const it = rig();
  it.peers(
    peer('thief', { addresses: ['192.0.2.1'], created: '2020-01-01T00:00:00Z' }),
    peer('self', { addresses: ['192.0.2.1'] }),
  );
  assert.equal(it.view.current().reachable.size, 0);
  assert.deepEqual(problems(it), ['same-address thief']);
});

test('ClusterView leaves out what cannot be used and says so', () => {
  const it = rig();
  it.peers(
    peer('inside', { addresses: ['10.33.0.9'] }),
    peer('six', { addresses: ['2001:db8::1'] }),
    peer('both', { addresses: ['2001:db8::1', '192.0.2.7'] }),
    peer('nonsense', { vtepMac: 'no' }),
  );
  it.blocks(
    block('10.32.0.0/26', 'both'),
    block('10.32.0.64/26', 'nobody'),
    block('10.64.0.0/26', 'both'),
    block('10.32.1.0/24', 'both'),
    { ...block('10.32.2.0/26', 'both'), metadata: { name: '10.32.0.128-26' } },
  );
  assert.deepEqual(problems(it).toSorted(), [
    'address-in-range inside',
    'block-without-peer 10.32.0.64-26',
    'unusable-block 10.32.0.128-26',
    'unusable-block 10.32.1.0-24',
    'unusable-block 10.64.0.0-26',
    'unusable-peer nonsense',
    'unusable-peer six',
  ]);
  assert.equal(formatIpv4(it.view.current().reachable.get('both')!.address), '192.0.2.7');
});

test('ClusterView remembers when blocks were freed, through deletes, lists and snapshots', async () => {
  const it = rig();
  it.blocks(block('10.32.0.0/26', 'a'), block('10.32.0.64/26', 'a'), block('10.32.0.128/26', 'a'));
  await it.clock.advance(1000);
  it.view.blocks.changed('10.32.0.0-26', undefined, '12');
  const first = it.clock.now();
  await it.clock.advance(1000);
  it.blocks(block('10.32.0.128/26', 'b'));
  assert.deepEqual(
    it.view.current().freedBlocks,
    new Map([
      ['10.32.0.0-26', first],
      ['10.32.0.64-26', first + 1000],
    ]),
  );
  await it.clock.advance(500);
  const again = rig(it.view.takeSnapshot());
  const now = again.clock.now();
  assert.equal(again.view.current().freedBlocks.get('10.32.0.0-26'), now - 1500);
  again.blocks(block('10.32.0.0/26', 'b'));
  assert.deepEqual(
    again.view.current().freedBlocks,
    new Map([
      ['10.32.0.128-26', now],
      ['10.32.0.64-26', now - 500],
    ]),
  );
  await again.clock.advance(86_400_001);
  again.blocks(block('10.32.0.0/26', 'b'));
  assert.equal(again.view.current().freedBlocks.size, 0);
});

const self = {
  nodeName: 'self',
  range,
  blockPrefixLength: 26,
  vni: vni(1),
  vtepMac: mac(0x0e0000000001),
  gateway: parseIpv4('10.32.0.1'),
};

test('forwardingInputs: own blocks, peers by slot, nobody for the rest', () => {
  const it = rig();
  it.peers(
    peer('self'),
    peer('a', { features: [] }),
    peer('b'),
    peer('mirror', { vtepMac: '0e:00:00:00:00:01' }),
  );
  it.blocks(
    block('10.32.0.0/26', 'self'),
    block('10.32.0.64/26', 'b'),
    block('10.47.255.192/26', 'a'),
    block('10.32.0.128/26', 'mirror'),
    block('10.32.0.192/26', 'unknown'),
  );
  const inputs = forwardingInputs(it.view.current(), self);
  assert.equal(inputs.owners.length, 16_384);
  assert.deepEqual([...inputs.owners.subarray(0, 5)], [1, 3, 0, 0, 0]);
  assert.equal(inputs.owners[16_383], 2);
  assert.deepEqual(
    inputs.peers.map(({ slot, probes, port }) => [slot, probes, port]),
    [
      [0, false, 6784],
      [1, true, 6784],
    ],
  );
  assert.equal(inputs.gateway, ipv4(0x0a200001));
  assert.equal(forwardingInputs(it.view.current(), { ...self, gateway: undefined }).gateway, 0);
});

test('forwardingInputs: every owner is nobody, self or a listed peer, whatever the objects', (t) => {
  const seed = testSeed();
  t.diagnostic(`WEFT_TEST_SEED=${seed}`);
  const random = seededRandom(seed);
  const it = rig();
  const nodes = ['self', 'a', 'b', 'c', 'd', 'e'];
  const node = (): string => nodes[randomInt(random, nodes.length)]!;
  for (let at = 0; at < 500; at++) {
    const name = node();
    const cidr = `10.32.${randomInt(random, 4)}.${randomInt(random, 4) * 64}/26`;
    const gone = random() < 0.3;
    if (random() < 0.5) {
      const addresses = [`192.0.2.${1 + randomInt(random, 4)}`];
      it.view.peers.changed(name, gone ? undefined : peer(name, { addresses }), '1');
    } else it.view.blocks.changed(cidr.replace('/', '-'), gone ? undefined : block(cidr, name), '1');
    const view = it.view.current();
    const { owners, peers } = forwardingInputs(view, self);
    const slots = new Set(peers.map(({ slot }) => slot));
    assert.equal(new Set(peers.map(({ address }) => address)).size, peers.length);
    owners.forEach((owner) => assert.ok(owner < 2 || slots.has(owner - 2)));
    for (const { spec } of view.blocks.values()) {
      const index = (parseCidr(spec.cidr).base - range.base) / 64;
      const slot = view.reachable.get(spec.node)?.slot;
      assert.equal(owners[index], spec.node === 'self' ? 1 : slot === undefined ? 0 : 2 + slot);
    }
  }
});
