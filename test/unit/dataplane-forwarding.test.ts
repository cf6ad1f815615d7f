// Random forwarding tables against a naive oracle, and the choice of the send socket.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { sendSocketOf } from '../../agent/dataplane/flow-hash.ts';
import { Forwarding, NO_SLOT, OWNER_OUT_OF_RANGE } from '../../agent/dataplane/forwarding.ts';
import { blockOf, ipv4, mac, vni } from '../../proto/address.ts';
import { PEER_SLOTS } from '../../proto/dataplane-stats.ts';
import type { ForwardingPeer, ForwardingTable } from '../../proto/forwarding-table.ts';
import { ipPacket, udpPacket } from '../support/dataplane-rig.ts';
import { randomInt, seededRandom, testSeed } from '../support/random.ts';

const seed = testSeed();

function randomTable(random: () => number): ForwardingTable {
  const blockPrefixLength = 20 + randomInt(random, 10);
  const prefixLength = blockPrefixLength - 1 - randomInt(random, 10);
  const base = ipv4(Math.floor((random() * 2 ** 32) / 2 ** (32 - prefixLength)) * 2 ** (32 - prefixLength));
  const slots = new Set<number>();
  const addresses = new Set<number>();
  const peers: ForwardingPeer[] = [];
  for (let count = randomInt(random, 200); count > 0; count--) {
    const slot = randomInt(random, PEER_SLOTS);
    const address = ipv4(0xc0a8_0000 + randomInt(random, 1024));
    if (slots.has(slot) || addresses.has(address)) continue;
    slots.add(slot);
    addresses.add(address);
    peers.push({ slot, address, port: 6784, vtepMac: mac(Math.floor(random() * 2 ** 48)), probes: true });
  }
  const owners = Uint16Array.from({ length: 2 ** (blockPrefixLength - prefixLength) }, () => {
    const choice = randomInt(random, peers.length + 2);
    return choice < 2 ? choice : 2 + peers[choice - 2]!.slot; // !: below the length
  });
  return {
    generation: 1,
    range: { base, prefixLength },
    blockPrefixLength,
    vni: vni(1),
    vtepMac: mac(1),
    gateway: ipv4(base + 1),
    peers,
    owners,
  };
}

test(`Forwarding: owners, senders and MACs as a naive look into the table has them (seed ${seed})`, () => {
  const random = seededRandom(seed);
  for (let round = 0; round < 60; round++) {
    const table = randomTable(random);
    const forwarding = new Forwarding(table);
    for (let query = 0; query < 200; query++) {
      const { base } = table.range;
      const edges = [base, base - 1, base + table.owners.length * 2 ** (32 - table.blockPrefixLength)];
      const address = ipv4(
        edges[query] ?? (query % 2 === 0 ? base + randomInt(random, 2 ** 20) : random() * 2 ** 32),
      );
      const block = blockOf(table.range, table.blockPrefixLength, address);
      assert.equal(
        forwarding.ownerOf(address),
        block === undefined ? OWNER_OUT_OF_RANGE : table.owners[block],
      );

      const outer = ipv4(0xc0a8_0000 + randomInt(random, 1100));
      const peer = table.peers.find((candidate) => candidate.address === outer);
      assert.equal(forwarding.slotOf(outer), peer?.slot ?? NO_SLOT);
    }
    assert.equal(forwarding.slotOf(0), NO_SLOT);
    for (const { slot, vtepMac } of table.peers) {
      assert.ok(forwarding.isVtepMacOf(slot, Math.floor(vtepMac / 2 ** 32), vtepMac % 2 ** 32));
      assert.ok(!forwarding.isVtepMacOf(slot, Math.floor(vtepMac / 2 ** 32), (vtepMac + 1) % 2 ** 32));
    }
  }
});

test('Forwarding: holds a table of 8,192 peers', () => {
  const peers = Array.from({ length: PEER_SLOTS }, (_, slot) => ({
    slot,
    port: 1,
    probes: false,
    address: ipv4(0x0a00_0001 + slot),
    vtepMac: mac(slot),
  }));
  const forwarding = new Forwarding({ ...randomTable(() => 0), peers });
  for (const { address, slot } of peers) assert.equal(forwarding.slotOf(address), slot);
});

test('Forwarding: a table whose owners do not fit its range is our own bug', () => {
  assert.throws(() => new Forwarding({ ...randomTable(() => 0), owners: new Uint16Array(3) }), /invariant/);
});

test('sendSocketOf: one flow, one socket; many flows, all eight', () => {
  const used = new Map<number, number>();
  for (let sourcePort = 1024; sourcePort < 9216; sourcePort++) {
    const packet = udpPacket({}, { sourcePort, payload: new Uint8Array(sourcePort % 7) });
    const view = new DataView(packet.buffer);
    const socket = sendSocketOf(view, 0, 20, packet.length);
    assert.equal(socket, sendSocketOf(view, 0, 20, packet.length));
    used.set(socket, (used.get(socket) ?? 0) + 1);
  }
  assert.deepEqual(
    [...used.keys()].sort((a, b) => a - b),
    [0, 1, 2, 3, 4, 5, 6, 7],
  );
  for (const count of used.values()) assert.ok(count > 8192 / 16, `${count} of 8192 flows`);
});

test('sendSocketOf: all fragments of a datagram leave by one socket, a packet of four bytes less than ports too', () => {
  const first = udpPacket({ moreFragments: true, dontFragment: false }, { payload: new Uint8Array(16) });
  const later = ipPacket({
    protocol: 17,
    fragmentOffset: 24,
    dontFragment: false,
    payload: new Uint8Array(8).fill(9),
  });
  const socket = (packet: Uint8Array): number =>
    sendSocketOf(new DataView(packet.buffer), 0, 20, packet.length);
  assert.equal(socket(first), socket(later));
  assert.doesNotThrow(() => socket(ipPacket({ protocol: 6, payload: new Uint8Array(2) })));
});
