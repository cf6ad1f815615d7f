// How much ingress merges at least: what one sender sent as one super-packet is one write again, however flows are interleaved in a batch.
// That merging is right at all is in offload-oracle-merging.test.ts.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { IP_PROTOCOL_TCP, IP_PROTOCOL_UDP } from '../../proto/ipv4-packet.ts';
import { PEER_ADDRESS, PEER_MAC, PEER_POD, SELF_POD, overlayFrame } from '../support/dataplane-rig.ts';
import { checkWrites, expectationOf } from '../support/merging-oracle.ts';
import { type Datagram, createIngressRig } from '../support/offload-rig.ts';
import { Chance, type PacketFields, buildPacket, randomFields } from '../support/random-packets.ts';

const ACK = 0x10;
const PSH = 0x08;
/** What TCP puts into a packet of 1,450 bytes, with timestamps. */
const SEGMENT_BYTES = 1398;
const chance = new Chance(1);

interface Flow {
  readonly port: number;
  readonly count: number;
  readonly size: number;
  /** 0 = none. */
  readonly last?: number;
}

const fieldsOf = (protocol: number, port: number): PacketFields => ({
  ...randomFields(chance, protocol),
  source: PEER_POD,
  destination: SELF_POD,
  sourcePort: port,
  destinationPort: 80,
  typeOfService: 0,
  fragment: 0x4000,
  ipOptions: new Uint8Array(0),
  flags: ACK,
  urgentPointer: 0,
  tcpOptions: new Uint8Array(12).fill(1),
});

/** What a sender's super-packet is cut into: numbers and identifications count up, the last is pushed. */
function train(protocol: number, { port, count, size, last = 0 }: Flow): Uint8Array[] {
  const fields = fieldsOf(protocol, port);
  const sizes = Array.from({ length: last > 0 ? count + 1 : count }, (_, index) =>
    index < count ? size : last,
  );
  return sizes.map((bytes, index) =>
    buildPacket({
      ...fields,
      identification: (fields.identification + index) & 0xffff,
      sequence: (fields.sequence + index * size) % 2 ** 32,
      flags: index === sizes.length - 1 ? ACK | PSH : ACK,
      payload: chance.bytes(bytes),
    }),
  );
}

const tcpTrain = (flow: Flow): Uint8Array[] => train(IP_PROTOCOL_TCP, flow);
const udpTrain = (flow: Flow): Uint8Array[] => train(IP_PROTOCOL_UDP, flow);
const framed = (packet: Uint8Array): Uint8Array => overlayFrame(packet, { source: PEER_MAC });

/** Each packet as a datagram of its own. */
const singly = (packets: readonly Uint8Array[]): Datagram[] =>
  packets.map((packet) => ({ bytes: framed(packet), segmentBytes: 0, source: PEER_ADDRESS }));

/** As UDP_GRO joins them, `count` at a time. */
function joined(packets: readonly Uint8Array[], count: number): Datagram[] {
  const datagrams: Datagram[] = [];
  for (let at = 0; at < packets.length; at += count) {
    const frames = packets.slice(at, at + count).map(framed);
    const segmentBytes = frames[0]?.length ?? 0;
    datagrams.push({ bytes: new Uint8Array(Buffer.concat(frames)), segmentBytes, source: PEER_ADDRESS });
  }
  return datagrams;
}

const interleaved = (trains: readonly Uint8Array[][]): Uint8Array[] => {
  const longest = Math.max(...trains.map(({ length }) => length));
  return Array.from({ length: longest }, (_, index) =>
    trains.flatMap((packets) => packets.slice(index, index + 1)),
  ).flat();
};

function expectWrites(datagrams: readonly Datagram[], count: number): void {
  const rig = createIngressRig();
  const { writes } = rig.receive(datagrams);
  checkWrites(writes, expectationOf(datagrams, rig.mtu));
  assert.equal(writes.length, count);
}

const flows = (count: number, packets: number, size: number): Flow[] =>
  Array.from({ length: count }, (_, index) => ({ port: 1000 + index, count: packets, size }));

test('45 segments of one flow, each a datagram: one write', () => {
  expectWrites(singly(tcpTrain({ port: 1, count: 45, size: SEGMENT_BYTES })), 1);
});

test('45 segments of one flow, joined by UDP_GRO in two datagrams: one write', () => {
  expectWrites(joined(tcpTrain({ port: 1, count: 45, size: SEGMENT_BYTES }), 23), 1);
});

test('44 segments and a shorter one: one write', () => {
  expectWrites(singly(tcpTrain({ port: 1, count: 44, size: SEGMENT_BYTES, last: 7 })), 1);
});

test('four super-packets of one flow after another: four writes', () => {
  const packets = [1, 2, 3, 4].flatMap(() => tcpTrain({ port: 1, count: 40, size: SEGMENT_BYTES, last: 9 }));
  expectWrites(singly(packets), 4);
});

test('8 flows of TCP interleaved packet by packet: 8 writes', () => {
  expectWrites(singly(interleaved(flows(8, 20, SEGMENT_BYTES).map(tcpTrain))), 8);
});

test('an acknowledgment of another flow between the segments: two writes and no more', () => {
  const acknowledgment = buildPacket({ ...fieldsOf(IP_PROTOCOL_TCP, 2), payload: new Uint8Array(0) });
  expectWrites(
    singly(tcpTrain({ port: 1, count: 20, size: SEGMENT_BYTES }).toSpliced(10, 0, acknowledgment)),
    2,
  );
});

test('64 UDP packets of one size and flow, joined by UDP_GRO: one write', () => {
  expectWrites(joined(udpTrain({ port: 1, count: 64, size: 64 }), 64), 1);
});

test('64 UDP packets of one size and flow, each a datagram: one write', () => {
  expectWrites(singly(udpTrain({ port: 1, count: 64, size: 1000 })), 1);
});

test('40 UDP packets of one size and a shorter one: one write', () => {
  expectWrites(singly(udpTrain({ port: 1, count: 40, size: 1400, last: 3 })), 1);
});

test('8 flows of UDP interleaved packet by packet: 8 writes', () => {
  expectWrites(singly(interleaved(flows(8, 30, 1400).map(udpTrain))), 8);
});

test('TCP and UDP interleaved: one write each', () => {
  const trains = [tcpTrain({ port: 1, count: 20, size: 1000 }), udpTrain({ port: 1, count: 20, size: 1000 })];
  expectWrites(singly(interleaved(trains)), 2);
});
