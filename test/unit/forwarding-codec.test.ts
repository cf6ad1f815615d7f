import assert from 'node:assert/strict';
import { test } from 'node:test';

import { blockCount, ipv4, mac, vni } from '../../proto/address.ts';
import { crc32 } from '../../proto/crc32.ts';
import { decodeForwardingTable, encodeForwardingTable } from '../../proto/forwarding-codec.ts';
import type { ForwardingTable } from '../../proto/forwarding-table.ts';
import { seededRandom, testSeed } from '../support/random.ts';

const seed = testSeed();
console.log(`seed ${seed}`);

function randomTable(random: () => number): ForwardingTable {
  const range = { base: ipv4(0x0a200000), prefixLength: 18 };
  const slots = [...new Set(Array.from({ length: 5 }, () => Math.floor(random() * 8192)))];
  const owners = Uint16Array.from({ length: blockCount(range, 26) }, () => {
    const pick = Math.floor(random() * (slots.length + 2));
    return pick < 2 ? pick : 2 + slots[pick - 2]!; // !: pick is in bounds
  });
  return {
    generation: Math.floor(random() * 2 ** 32),
    range,
    blockPrefixLength: 26,
    vni: vni(Math.floor(random() * 2 ** 24)),
    vtepMac: mac(Math.floor(random() * 2 ** 48)),
    gateway: ipv4(Math.floor(random() * 2 ** 32)),
    peers: slots.map((slot) => ({
      slot,
      address: ipv4(Math.floor(random() * 2 ** 32)),
      port: Math.floor(random() * 65536),
      vtepMac: mac(Math.floor(random() * 2 ** 48)),
      probes: random() < 0.5,
    })),
    owners,
  };
}

test('decodeForwardingTable gives back what encodeForwardingTable wrote', () => {
  const random = seededRandom(seed);
  for (let round = 0; round < 200; round++) {
    const table = randomTable(random);
    const result = decodeForwardingTable(encodeForwardingTable(table));
    assert.ok(result.ok);
    assert.deepEqual(result.value, table);
  }
});

test('decodeForwardingTable refuses every truncation and every flipped bit', () => {
  const bytes = encodeForwardingTable(randomTable(seededRandom(seed)));
  for (let length = 0; length < bytes.length; length++) {
    assert.equal(decodeForwardingTable(bytes.subarray(0, length)).ok, false, `length ${length}`);
  }
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const damaged = bytes.slice();
    damaged[bit >> 3]! ^= 1 << (bit & 7);
    assert.equal(decodeForwardingTable(damaged).ok, false, `bit ${bit}`);
  }
});

test('decodeForwardingTable refuses an owner that is no peer of the table', () => {
  const table = randomTable(seededRandom(seed));
  const owners = table.owners.slice();
  owners[3] = 9000;
  const result = decodeForwardingTable(encodeForwardingTable({ ...table, owners }));
  assert.deepEqual(result, { ok: false, reason: 'owner' });
});

test('crc32 agrees with the check value of CRC-32/ISO-HDLC', () => {
  assert.equal(crc32(new TextEncoder().encode('123456789')), 0xcbf43926);
});
