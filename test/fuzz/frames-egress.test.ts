// Random virtio_net_hdr and damaged packets into egress, tens of millions: nothing throws, nothing is written outside of the packet and of the
// batch's own memory, every packet is on its way or counted under exactly one reason, and whatever is sent has a source of this node, the
// overlay header of the peer that owns its destination, and no more segments than its payload has. WEFT_FUZZ_PACKETS makes the run longer.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Egress } from '../../agent/dataplane/egress.ts';
import { Forwarding } from '../../agent/dataplane/forwarding.ts';
import { PeerRecords } from '../../agent/dataplane/peer-records.ts';
import { SendBatch } from '../../agent/dataplane/send-batch.ts';
import { DataplaneStats } from '../../agent/dataplane/stats.ts';
import {
  NOBODYS_POD,
  OTHER_PEER_MAC,
  OTHER_PEER_POD,
  OTHER_PEER_SLOT,
  PEER_MAC,
  PEER_POD,
  PEER_SLOT,
  SELF_MAC,
  SELF_POD,
  overlayFrame,
  testMemory,
  threeNodes,
} from '../support/dataplane-rig.ts';
import { Chance, buildPacket, randomFields, randomProtocol } from '../support/random-packets.ts';
import { testSeed } from '../support/random.ts';
import { FastChance, FrameSlots, SLOTS, createGuards, takeRefusals } from './frame-slots.ts';

const PACKETS = Number(process.env['WEFT_FUZZ_PACKETS'] ?? 50_000_000);
const VIRTIO_BYTES = 10;
const OVERLAY_BYTES = 22;
const BATCHES_BETWEEN_TEMPLATES = 64;
const BLOCK_BITS = 6;

const PEERS = new Map(
  [[PEER_SLOT, PEER_MAC, PEER_POD] as const, [OTHER_PEER_SLOT, OTHER_PEER_MAC, OTHER_PEER_POD] as const].map(
    ([slot, mac, pod]) => [
      2 + slot,
      { pod, overlay: overlayFrame(new Uint8Array(0), { source: SELF_MAC, destination: mac }) },
    ],
  ),
);

/** What a TUN gives: virtio_net_hdr and packet, with and without offloads. */
function template(chance: Chance): Uint8Array {
  const protocol = randomProtocol(chance);
  const payload = chance.bytes(1 + chance.below(200));
  const packet = buildPacket({
    ...randomFields(chance, protocol),
    source: SELF_POD,
    destination: chance.oneOf([PEER_POD, PEER_POD, PEER_POD, OTHER_PEER_POD, NOBODYS_POD]),
    payload,
  });
  const read = new Uint8Array(VIRTIO_BYTES + packet.length);
  const view = new DataView(read.buffer);
  read[0] = chance.below(2);
  read[1] = chance.is(0.5) ? 0 : protocol === 6 ? chance.oneOf([1, 0x81]) : 5;
  view.setUint16(2, packet.length - payload.length, true);
  view.setUint16(4, read[1] === 0 ? 0 : Math.ceil(payload.length / (1 + chance.below(4))), true);
  view.setUint16(6, (packet[0]! & 0x0f) * 4, true); // !: not empty
  view.setUint16(8, protocol === 6 ? 16 : 6, true);
  read.set(packet, VIRTIO_BYTES);
  return read;
}

function createRig(slots: FrameSlots, memory: ReturnType<typeof testMemory>) {
  const batch = new SendBatch(memory);
  const records = new PeerRecords(memory);
  records.write(threeNodes());
  const stats = new DataplaneStats();
  const tally = { segments: 0, unreachable: 0 };
  const { view, bytes } = memory;
  const check = (): void => {
    for (let train = 0; train < batch.trains; train++) {
      const segments = batch.segments[train]!; // !: a train of this batch
      for (let segment = 0; segment < segments; segment++) checkSegment(train, segment);
      tally.segments += segments;
    }
    batch.clear();
  };
  const egress = new Egress(new Forwarding(threeNodes()), {
    memory,
    batch,
    records,
    stats,
    flush: check,
    unreachable: (ip, length) => {
      assert.ok(slots.holds(ip, length));
      tally.unreachable += 1;
    },
  });

  function checkSegment(train: number, segment: number): void {
    const iovecs = batch.iovecsOf(train) + segment * 32;
    const header = view.getUint32(iovecs, true);
    const headerBytes = view.getUint32(iovecs + 8, true);
    const payload = view.getUint32(iovecs + 16, true);
    const payloadBytes = view.getUint32(iovecs + 24, true);
    const peer = PEERS.get(batch.rows[train]!); // !: a train of this batch
    assert.ok(peer !== undefined && headerBytes >= OVERLAY_BYTES);
    assert.ok(slots.isElsewhere(header, headerBytes), 'headers lie in memory of the batch');
    assert.ok(slots.holds(payload, payloadBytes), 'the payload lies where it was read');
    assert.equal(headerBytes + payloadBytes, batch.bytesOf(train, segment));
    for (let at = 0; at < OVERLAY_BYTES; at++) {
      if (bytes[header + at] !== peer.overlay[at]) assert.fail(`overlay header of row ${batch.rows[train]}`);
    }
    const ip = headerBytes > OVERLAY_BYTES ? header + OVERLAY_BYTES : payload;
    assert.equal(view.getUint16(ip + 2) + OVERLAY_BYTES, headerBytes + payloadBytes, 'the total length');
    assert.equal(view.getUint32(ip + 12) >>> BLOCK_BITS, SELF_POD >>> BLOCK_BITS, 'the source is local');
    assert.equal(
      view.getUint32(ip + 16) >>> BLOCK_BITS,
      peer.pod >>> BLOCK_BITS,
      'the peer owns the destination',
    );
  }

  return {
    egress,
    tally,
    /** Segments that were sent, now or by a flush before. */
    finish: () => {
      check();
      egress.sent();
    },
    refused: (): number => takeRefusals(stats),
  };
}

/** Segments that a read must become when it is taken: by its virtio_net_hdr and its headers. */
function segmentsOf(slots: FrameSlots, slot: number): number {
  const gso = slots.byteAt(slot, 1) & 0x7f;
  if (gso === 0) return 1;
  const gsoSize = slots.byteAt(slot, 4) + 256 * slots.byteAt(slot, 5);
  const ip = VIRTIO_BYTES;
  const headerBytes = (slots.byteAt(slot, ip) & 0x0f) * 4;
  const transport = gso === 5 ? 8 : (slots.byteAt(slot, ip + headerBytes + 12) >>> 4) * 4;
  const length = slots.byteAt(slot, ip + 2) * 256 + slots.byteAt(slot, ip + 3);
  return Math.ceil((length - headerBytes - transport) / gsoSize);
}

function damage(
  slots: FrameSlots,
  fast: FastChance,
  { slot, length }: { slot: number; length: number },
): void {
  for (let changes = 1 + fast.below(3); changes > 0; changes--) {
    const at = fast.below(fast.oneIn(4) ? length : Math.min(length, 60));
    const bit = 1 << fast.below(8);
    slots.store(slot, at, fast.oneIn(2) ? slots.byteAt(slot, at) ^ bit : fast.below(256));
  }
}

test('random reads: nothing throws, nothing is lost uncounted, nothing foreign is sent', (t) => {
  const seed = testSeed();
  t.diagnostic(`WEFT_TEST_SEED=${seed}`);
  const memory = testMemory(4 << 20);
  const guards = createGuards(memory);
  guards.guard();
  const slots = new FrameSlots(memory);
  guards.guard();
  const rig = createRig(slots, memory);
  guards.guard();
  const chance = new Chance(seed);
  const fast = new FastChance(seed);
  let reads: readonly Uint8Array[] = [];
  let refusedReads = 0;
  const start = performance.now();
  for (let done = 0; done < PACKETS; done += SLOTS) {
    if ((done / SLOTS) % BATCHES_BETWEEN_TEMPLATES === 0) {
      reads = Array.from({ length: SLOTS }, () => template(chance));
    }
    for (let slot = 0; slot < SLOTS; slot++) {
      const read = reads[slot]!; // !: one for each
      slots.load(slot, read);
      let { length } = read;
      if (fast.oneIn(2)) damage(slots, fast, { slot, length });
      if (fast.oneIn(16)) length = VIRTIO_BYTES + fast.below(length - VIRTIO_BYTES + 1);
      slots.give(slot, length);
      const expected = segmentsOf(slots, slot);
      const before = rig.tally.segments;
      rig.egress.accept(slots.offsetOf(slot), length);
      rig.finish();
      slots.adopt(slot);
      const refused = rig.refused();
      const sent = rig.tally.segments - before;
      const isCounted = refused === 1 || refused === expected;
      const isRight = refused === 0 ? sent === expected : isCounted && sent === 0;
      if (!isRight)
        assert.fail(`after ${done + slot} reads: ${sent} of ${expected} segments, ${refused} refused`);
      if (refused > 0) refusedReads += 1;
    }
    if (!slots.intact()) assert.fail(`after ${done} reads: bytes outside of a packet were changed`);
  }
  assert.ok(guards.intact(), 'guard bytes are as they were');
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  const { segments, unreachable } = rig.tally;
  t.diagnostic(
    `${PACKETS} reads in ${seconds} s: ${segments} segments sent, ${refusedReads} reads refused, ${unreachable} of them answered`,
  );
  for (const count of [segments, refusedReads, unreachable]) assert.ok(count > 0);
});
