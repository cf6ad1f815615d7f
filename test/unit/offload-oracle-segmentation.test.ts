// Differential: whatever egress makes of random reads of the TUN is, byte for byte and flow by flow, what the naive implementation makes of
// them. WEFT_OFFLOAD_CASES makes the run longer (npm run soak:offload).
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { IP_PROTOCOL_TCP } from '../../proto/ipv4-packet.ts';
import {
  OTHER_PEER_MAC,
  OTHER_PEER_POD,
  OTHER_PEER_SLOT,
  PEER_MAC,
  PEER_POD,
  PEER_SLOT,
  SELF_MAC,
  SELF_POD,
  type SentTrain,
  overlayFrame,
} from '../support/dataplane-rig.ts';
import {
  GSO_ECN,
  GSO_NONE,
  GSO_TCPV4,
  GSO_UDP_L4,
  NEEDS_CHECKSUM,
  type Offload,
  cut,
  flowOf,
} from '../support/naive-offload.ts';
import { createEgressRig } from '../support/offload-rig.ts';
import {
  Chance,
  MAX_PAYLOAD_BYTES,
  buildPacket,
  randomFields,
  randomProtocol,
  withPartialChecksum,
  withZeroChecksum,
} from '../support/random-packets.ts';
import { testSeed } from '../support/random.ts';

const CASES = Number(process.env['WEFT_OFFLOAD_CASES'] ?? 500_000);
const OVERLAY_BYTES = 22;
/** Largest packet that a datagram can carry. */
const MAX_WHOLE_BYTES = 65_507 - OVERLAY_BYTES;

interface Read {
  readonly offload: Offload;
  readonly packet: Uint8Array;
}

/** Mostly small, because that is where the edges are; now and then up to 64 KiB. */
const payloadBytes = (chance: Chance): number =>
  chance.is(0.002) ? 1 + chance.below(MAX_PAYLOAD_BYTES) : 1 + chance.below(chance.is(0.1) ? 4000 : 300);

function randomRead(chance: Chance): Read {
  const protocol = randomProtocol(chance);
  const payload = chance.bytes(payloadBytes(chance));
  const packet = buildPacket({
    ...randomFields(chance, protocol),
    source: SELF_POD + chance.below(3),
    destination: (chance.is(0.8) ? PEER_POD : OTHER_PEER_POD) + chance.below(3),
    payload,
  });
  const checksumStart = (packet[0]! & 0x0f) * 4; // !: not empty
  const headerLength = packet.length - payload.length;
  const checksumOffset = protocol === IP_PROTOCOL_TCP ? 16 : 6;
  const partial = { flags: NEEDS_CHECKSUM, checksumStart, checksumOffset, headerLength };
  if (chance.is(0.15) && packet.length <= MAX_WHOLE_BYTES) {
    const whole = { gsoType: GSO_NONE, gsoSize: 0 };
    if (chance.is(0.1) && payload.length > 2) withZeroChecksum(packet);
    return chance.is(0.5)
      ? { offload: { ...partial, ...whole }, packet: withPartialChecksum(packet) }
      : { offload: { ...partial, ...whole, flags: 0 }, packet };
  }
  const gsoSize = randomGsoSize(chance, payload.length);
  if (protocol === IP_PROTOCOL_TCP) {
    const gsoType = GSO_TCPV4 | (chance.is(0.5) ? GSO_ECN : 0);
    return { offload: { ...partial, gsoType, gsoSize }, packet: withPartialChecksum(packet) };
  }
  if (chance.is(0.9)) {
    return { offload: { ...partial, gsoType: GSO_UDP_L4, gsoSize }, packet: withPartialChecksum(packet) };
  }
  if (chance.is(0.5)) packet.fill(0, checksumStart + 6, checksumStart + 8); // without a checksum
  return { offload: { ...partial, gsoType: GSO_UDP_L4, gsoSize, flags: 0 }, packet };
}

/** Two to a few segments, now and then many, and sizes that divide the payload. */
function randomGsoSize(chance: Chance, bytes: number): number {
  const segments = 1 + chance.below(chance.is(0.01) ? 200 : 5);
  const size = Math.max(1, Math.floor(bytes / segments) + (chance.is(0.3) ? 0 : chance.below(3)));
  return Math.min(size, 60_000);
}

function bytesOf({ offload, packet }: Read): Uint8Array {
  const bytes = new Uint8Array(10 + packet.length);
  const view = new DataView(bytes.buffer);
  bytes[0] = offload.flags;
  bytes[1] = offload.gsoType;
  view.setUint16(2, offload.headerLength, true);
  view.setUint16(4, offload.gsoSize, true);
  view.setUint16(6, offload.checksumStart, true);
  view.setUint16(8, offload.checksumOffset, true);
  bytes.set(packet, 10);
  return bytes;
}

const OVERLAYS = new Map(
  [[PEER_SLOT, PEER_MAC] as const, [OTHER_PEER_SLOT, OTHER_PEER_MAC] as const].map(([slot, mac]) => [
    2 + slot,
    overlayFrame(new Uint8Array(0), { source: SELF_MAC, destination: mac }),
  ]),
);
const slotOf = (packet: Uint8Array): number => (packet[19]! >= 128 ? OTHER_PEER_SLOT : PEER_SLOT); // !: a whole header

/** What UDP_SEGMENT demands of a train, that its overlay headers are its peer's, and that a flow has one socket. */
function packetsOf(trains: readonly SentTrain[]): Uint8Array[] {
  const sockets = new Map<string, number>();
  const packets: Uint8Array[] = [];
  for (const { row, socket, segments } of trains) {
    const first = segments[0]?.length ?? 0;
    const total = segments.reduce((sum, { length }) => sum + length, 0);
    assert.ok(segments.length >= 1 && segments.length <= 64 && total <= 65_507);
    for (const [index, segment] of segments.entries()) {
      assert.ok(segment.length === first || (index === segments.length - 1 && segment.length < first));
      assert.equal(Buffer.compare(segment.subarray(0, OVERLAY_BYTES), OVERLAYS.get(row) ?? segment), 0);
      const packet = segment.subarray(OVERLAY_BYTES);
      assert.equal(row, 2 + slotOf(packet));
      const flow = flowOf(packet);
      assert.equal(sockets.get(flow) ?? socket, socket, 'a flow leaves by one socket');
      sockets.set(flow, socket);
      packets.push(packet);
    }
  }
  return packets;
}

function byFlow(packets: readonly Uint8Array[]): Map<string, Uint8Array[]> {
  const flows = new Map<string, Uint8Array[]>();
  for (const packet of packets) {
    const flow = flowOf(packet);
    const known = flows.get(flow);
    if (known === undefined) flows.set(flow, [packet]);
    else known.push(packet);
  }
  return flows;
}

function assertSame(actual: readonly Uint8Array[], expected: readonly Uint8Array[], what: string): void {
  const flows = byFlow(actual);
  for (const [flow, packets] of byFlow(expected)) {
    const sent = flows.get(flow) ?? [];
    for (const [index, packet] of packets.entries()) {
      if (Buffer.compare(sent[index] ?? new Uint8Array(0), packet) === 0) continue;
      assert.deepEqual(sent[index], packet, `${what}: packet ${index} of flow ${flow}`);
    }
  }
  assert.equal(actual.length, expected.length, `${what}: number of packets`);
}

function run(seed: number, cases: number): { packets: number } {
  const chance = new Chance(seed);
  const rig = createEgressRig();
  let packets = 0;
  for (let done = 0; done < cases;) {
    const reads = Array.from({ length: 1 + chance.below(24) }, () => randomRead(chance));
    const { trains, refusals } = rig.send(reads.map(bytesOf));
    assert.deepEqual(refusals, {}, `after ${done} cases`);
    const expected = reads.flatMap(({ offload, packet }) => cut(offload, packet));
    assertSame(packetsOf(trains), expected, `after ${done} cases`);
    done += reads.length;
    packets += expected.length;
  }
  return { packets };
}

test('egress cuts random reads as the naive implementation does', (t) => {
  const seed = testSeed();
  t.diagnostic(`WEFT_TEST_SEED=${seed}`);
  const start = performance.now();
  const { packets } = run(seed, CASES);
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  t.diagnostic(`${CASES} random packets and super-packets, ${packets} on the wire, in ${seconds} s`);
});

test('the comparison sees a lost, a doubled, a reordered and a changed packet', () => {
  const chance = new Chance(1);
  const fields = { ...randomFields(chance, IP_PROTOCOL_TCP), source: SELF_POD, destination: PEER_POD };
  const train = [1, 2, 3].map((length) => buildPacket({ ...fields, payload: chance.bytes(length) }));
  const [a, b, c] = train as [Uint8Array, Uint8Array, Uint8Array]; // as: three
  const changed = c.slice();
  changed[40]! ^= 1; // !: longer than its headers
  assertSame(train, train, 'the same');
  for (const wrong of [
    [a, b],
    [a, b, c, c],
    [b, a, c],
    [a, b, changed],
  ]) {
    assert.throws(() => assertSame(wrong, train, 'wrong'));
  }
});
