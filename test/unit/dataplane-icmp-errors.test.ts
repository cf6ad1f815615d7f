// Unreachable errors: what is quoted, what is never answered, and the limit per source.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createClock } from '../../agent/dataplane/clock.ts';
import { ERRORS_BURST, ERRORS_PER_SECOND, IcmpErrors } from '../../agent/dataplane/icmp-errors.ts';
import { ipv4 } from '../../proto/address.ts';
import { decodeIcmp, encodeIcmpInto } from '../../proto/icmp.ts';
import { decodeIpv4Packet } from '../../proto/ipv4-packet.ts';
import { GATEWAY, NOBODYS_POD, SELF_POD, ipPacket, testMemory, udpPacket } from '../support/dataplane-rig.ts';

function createRig(gateway: number = GATEWAY): {
  refuse(packet: Uint8Array): Uint8Array[];
  tooBig(packet: Uint8Array, mtu: number): Uint8Array[];
  pass(elapsedMs: number): void;
} {
  const memory = testMemory(1 << 17);
  let elapsed = 0;
  const clock = createClock(5000, () => elapsed);
  const written: Uint8Array[] = [];
  const errors = new IcmpErrors(memory, clock, (offset, length) =>
    written.push(memory.bytes.slice(offset, offset + length)),
  );
  errors.gateway = gateway;
  const area = memory.allocate(66_000);
  return {
    refuse(packet) {
      memory.bytes.set(packet, area);
      errors.hostUnreachable(area, packet.length);
      return written.splice(0);
    },
    tooBig(packet, mtu) {
      memory.bytes.set(packet, area);
      errors.fragmentationNeeded(area, packet.length, mtu);
      return written.splice(0);
    },
    pass(elapsedMs) {
      elapsed += elapsedMs;
      clock.read();
    },
  };
}

const refused = udpPacket({ destination: NOBODYS_POD }, { payload: new Uint8Array(1000).fill(4) });
const icmp = (type: number): Uint8Array => {
  const payload = new Uint8Array(16);
  encodeIcmpInto(payload, 0, { kind: 'other', type, code: 0, rest: 0, data: new Uint8Array(8) });
  return ipPacket({ destination: NOBODYS_POD, protocol: 1, payload });
};

test('hostUnreachable: from the gateway to the source, quoting the packet, at most 576 bytes', () => {
  for (const packet of [refused, refused.slice(0, 40), icmp(8)]) {
    const [error] = createRig().refuse(packet);
    assert.ok(error !== undefined);
    assert.ok(
      error.subarray(0, 10).every((byte) => byte === 0),
      'a plain virtio_net_hdr',
    );
    const ip = decodeIpv4Packet(error.subarray(10));
    assert.ok(ip.ok);
    assert.deepEqual([ip.value.source, ip.value.destination, ip.value.protocol], [GATEWAY, SELF_POD, 1]);
    const message = decodeIcmp(ip.value.payload);
    assert.ok(message.ok && message.value.kind === 'unreachable');
    assert.equal(message.value.code, 1);
    assert.deepEqual(message.value.quoted, packet.subarray(0, 548));
  }
});

test('hostUnreachable: never about ICMP errors, later fragments, multicast, or without a gateway', () => {
  const silent = [
    ...[3, 4, 5, 11, 12].map(icmp),
    ipPacket({ destination: NOBODYS_POD, protocol: 17, fragmentOffset: 8, payload: new Uint8Array(8) }),
    ipPacket({ destination: NOBODYS_POD, protocol: 1 }),
    udpPacket({ destination: ipv4(0xe000_0001) }, {}),
    udpPacket({ source: ipv4(0xe000_0001), destination: NOBODYS_POD }, {}),
    udpPacket({ source: ipv4(0), destination: NOBODYS_POD }, {}),
  ];
  const rig = createRig();
  for (const packet of silent) assert.deepEqual(rig.refuse(packet), []);
  assert.deepEqual(createRig(0).refuse(refused), []);
});

test('hostUnreachable: a burst, then a steady rate, for each source on its own', () => {
  const rig = createRig();
  const count = (packet: Uint8Array, times: number): number =>
    Array.from({ length: times }, () => rig.refuse(packet).length).reduce((sum, one) => sum + one, 0);
  assert.equal(count(refused, 100), ERRORS_BURST);
  const other = udpPacket({ source: ipv4(SELF_POD + 1), destination: NOBODYS_POD }, {});
  assert.equal(count(other, 3), 3);
  rig.pass(1000 / ERRORS_PER_SECOND);
  assert.equal(count(refused, 100), 1);
  rig.pass(3_600_000);
  assert.equal(count(refused, 100), ERRORS_BURST);
});

test('fragmentationNeeded: quotes the packet and tells the MTU of the path, within the same limit', () => {
  const rig = createRig();
  const [error] = rig.tooBig(refused, 1350);
  const ip = decodeIpv4Packet((error ?? new Uint8Array()).subarray(10));
  assert.ok(ip.ok);
  assert.deepEqual([ip.value.source, ip.value.destination], [GATEWAY, SELF_POD]);
  const message = decodeIcmp(ip.value.payload);
  assert.ok(message.ok && message.value.kind === 'unreachable');
  assert.deepEqual([message.value.code, message.value.nextHopMtu, message.value.quotedWords], [4, 1350, 0]);
  assert.deepEqual(message.value.quoted, refused.subarray(0, 548));
  for (let count = 1; count < ERRORS_BURST; count += 1) assert.equal(rig.tooBig(refused, 1350).length, 1);
  assert.deepEqual(rig.tooBig(refused, 1350), []);
  assert.deepEqual(rig.tooBig(icmp(3), 1350), []);
});
