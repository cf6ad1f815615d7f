// Differential: whatever egress makes of random reads of the TUN is, byte for byte and flow by flow, what the naive implementation makes of
// them. WEFT_OFFLOAD_CASES makes the run longer (npm run soak:offload).
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { IP_PROTOCOL_TCP } from '../../proto/ipv4-packet.ts';
import {
  OTHER_PEER_MAC,
  OTHER_PEER_SLOT,
  PEER_MAC,
  PEER_POD,
  PEER_SLOT,
  SELF_MAC,
  SELF_POD,
  type SentTrain,
  overlayFrame,
} from '../support/dataplane-rig.ts';
import { cut, flowOf } from '../support/naive-offload.ts';
import { createEgressRig } from '../support/offload-rig.ts';
import { Chance, buildPacket, randomFields } from '../support/random-packets.ts';
import { bytesOf, randomRead } from '../support/random-reads.ts';
import { testSeed } from '../support/random.ts';

const CASES = Number(process.env['WEFT_OFFLOAD_CASES'] ?? 500_000);
const OVERLAY_BYTES = 22;

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
