// Damaged datagrams into ingress, tens of millions: nothing throws, nothing is written outside of the batch's own memory, every frame is in a
// write, handed on as a probe or counted under exactly one reason, and whatever is written has a source that its sender owns and a
// destination of this node. WEFT_FUZZ_DATAGRAMS makes the run longer, WEFT_TEST_SEED repeats it.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Forwarding } from '../../agent/dataplane/forwarding.ts';
import { Ingress } from '../../agent/dataplane/ingress.ts';
import { DataplaneStats } from '../../agent/dataplane/stats.ts';
import { WriteBatch } from '../../agent/dataplane/write-batch.ts';
import {
  OTHER_PEER_ADDRESS,
  OTHER_PEER_POD,
  PEER_ADDRESS,
  PEER_MAC,
  PEER_POD,
  PEER_SLOT,
  SELF_POD,
  overlayFrame,
  testMemory,
  threeNodes,
} from '../support/dataplane-rig.ts';
import { Chance, buildPacket, randomFields, withPartialChecksum } from '../support/random-packets.ts';
import { testSeed } from '../support/random.ts';
import { FastChance, FrameSlots, SLOTS, SLOT_BYTES, createGuards, takeRefusals } from './frame-slots.ts';

const DATAGRAMS = Number(process.env['WEFT_FUZZ_DATAGRAMS'] ?? 50_000_000);
const OVERLAY_BYTES = 22;
const BATCHES_BETWEEN_TEMPLATES = 64;
const BLOCK_BITS = 6;
const STRANGER = 0x0102_0304;

/** One flow's frames, which are merged as long as they stay whole, or frames of all kinds. */
function templates(chance: Chance): { frames: Uint8Array[]; size: number } {
  const size = 1 + chance.below(100);
  const isTrain = chance.is(0.6);
  const base = { ...randomFields(chance, chance.is(0.6) ? 6 : 17), source: PEER_POD, destination: SELF_POD };
  const frames = Array.from({ length: SLOTS }, (_, index) => {
    const own = isTrain ? base : { ...base, ...randomFields(chance, chance.is(0.6) ? 6 : 17) };
    const packet = buildPacket({
      ...own,
      source: base.source,
      destination: base.destination,
      ipOptions: isTrain ? new Uint8Array(0) : own.ipOptions,
      flags: isTrain ? 0x10 : own.flags,
      identification: (base.identification + index) & 0xffff,
      sequence: (base.sequence + index * size) % 2 ** 32,
      payload: chance.bytes(isTrain ? size : chance.below(120)),
    });
    if (chance.is(0.1)) withPartialChecksum(packet);
    const etherType = chance.is(0.03) ? 0x88b5 : 0x0800;
    return overlayFrame(packet, { source: PEER_MAC, etherType });
  });
  return { frames, size };
}

function createRig(slots: FrameSlots, memory: ReturnType<typeof testMemory>) {
  const batch = new WriteBatch(memory);
  const stats = new DataplaneStats();
  const tally = { written: 0, probes: 0, merged: 0 };
  const check = (): void => {
    for (let write = 0; write < batch.writes; write++) {
      checkWrite(write);
      const packets = batch.packetsOf(write);
      tally.written += packets;
      tally.merged += packets - 1;
    }
    batch.clear();
  };
  const ingress = new Ingress(new Forwarding(threeNodes()), {
    memory,
    batch,
    stats,
    flush: check,
    probe: (_offset, length) => {
      if (length % 2 !== 0) return false;
      tally.probes += 1;
      return true;
    },
  });
  const { view } = memory;

  function checkWrite(write: number): void {
    const iovecs = batch.iovecsOf(write);
    const headerBytes = view.getUint32(iovecs + 8, true);
    const header = view.getUint32(iovecs, true);
    assert.ok(
      headerBytes >= 10 && slots.isElsewhere(header, headerBytes),
      'headers lie in memory of the batch',
    );
    let bytes = headerBytes - 10;
    for (let piece = 1; piece < batch.iovecCountOf(write); piece++) {
      const offset = view.getUint32(iovecs + piece * 16, true);
      const length = view.getUint32(iovecs + piece * 16 + 8, true);
      assert.ok(slots.holds(offset, length), 'pieces lie in the receive buffers');
      bytes += length;
    }
    const ip = headerBytes > 10 ? header + 10 : view.getUint32(iovecs + 16, true);
    assert.equal(view.getUint16(ip + 2), bytes, 'the total length is that of the pieces');
    const owner = batch.rowOf(write) === 2 + PEER_SLOT ? PEER_POD : OTHER_PEER_POD;
    assert.equal(view.getUint32(ip + 12) >>> BLOCK_BITS, owner >>> BLOCK_BITS, 'the sender owns the source');
    assert.equal(view.getUint32(ip + 16) >>> BLOCK_BITS, SELF_POD >>> BLOCK_BITS, 'the destination is local');
  }

  return {
    ingress,
    tally,
    finish: () => {
      ingress.finish();
      check();
    },
    refused: (): number => takeRefusals(stats),
  };
}

/** Into how many frames a datagram falls: one when its first packet is as long as it. */
function framesIn(
  memory: ReturnType<typeof testMemory>,
  offset: number,
  length: number,
  segmentBytes: number,
): number {
  if (segmentBytes <= 0 || segmentBytes >= length) return 1;
  const isOne =
    length >= OVERLAY_BYTES + 20 &&
    memory.view.getUint16(offset + 20) === 0x0800 &&
    memory.view.getUint16(offset + OVERLAY_BYTES + 2) + OVERLAY_BYTES === length;
  return isOne ? 1 : Math.ceil(length / segmentBytes);
}

test('damaged datagrams: nothing throws, nothing is lost uncounted, nothing foreign is written', (t) => {
  const seed = testSeed();
  t.diagnostic(`WEFT_TEST_SEED=${seed}`);
  const memory = testMemory(2 << 20);
  const guards = createGuards(memory);
  guards.guard();
  const slots = new FrameSlots(memory);
  guards.guard();
  const rig = createRig(slots, memory);
  guards.guard();
  const chance = new Chance(seed);
  const fast = new FastChance(seed);
  const totals = { frames: 0, refused: 0 };
  const datagram = { offset: 0, length: 0, segmentBytes: 0, source: 0, sourcePort: 0 };
  const lengths = new Uint16Array(SLOTS);
  const damaged = new Uint8Array(SLOTS);
  let frames: readonly Uint8Array[] = [];

  const damage = (slot: number): void => {
    const length = lengths[slot]!; // !: a slot
    for (let changes = 1 + fast.below(3); changes > 0; changes--) {
      const at = fast.below(fast.oneIn(4) ? length : Math.min(length, 82));
      const bit = 1 << fast.below(8);
      slots.store(slot, at, fast.oneIn(2) ? slots.byteAt(slot, at) ^ bit : fast.below(256));
    }
    if (fast.oneIn(2)) slots.mendIpv4(slot, OVERLAY_BYTES);
  };

  const start = performance.now();
  for (let done = 0; done < DATAGRAMS; done += SLOTS) {
    const isFresh = (done / SLOTS) % BATCHES_BETWEEN_TEMPLATES === 0;
    if (isFresh) ({ frames } = templates(chance));
    let expected = 0;
    for (let slot = 0; slot < SLOTS; slot++) {
      const frame = frames[slot]!; // !: one for each
      if (isFresh || damaged[slot] === 1) slots.load(slot, frame);
      lengths[slot] = frame.length;
      const isDamaged = fast.oneIn(2);
      damaged[slot] = isDamaged ? 1 : 0;
      if (isDamaged) damage(slot);
      datagram.offset = slots.offsetOf(slot);
      datagram.length = isDamaged && fast.oneIn(4) ? fast.below(frame.length + 1) : frame.length;
      slots.give(slot, datagram.length);
      datagram.segmentBytes = isDamaged && fast.oneIn(4) ? fast.below(SLOT_BYTES) : 0;
      datagram.source =
        isDamaged && fast.oneIn(8) ? (fast.oneIn(2) ? OTHER_PEER_ADDRESS : STRANGER) : PEER_ADDRESS;
      expected +=
        datagram.source === STRANGER && datagram.segmentBytes === 0
          ? 1
          : framesIn(memory, datagram.offset, datagram.length, datagram.segmentBytes);
      rig.ingress.accept(datagram);
    }
    const before = totals.refused;
    rig.finish();
    totals.refused += rig.refused();
    totals.frames += expected;
    const { written, probes } = rig.tally;
    if (written + probes + totals.refused !== totals.frames) {
      assert.fail(
        `the batch after ${done} datagrams: ${expected} frames, ${totals.refused - before} refused`,
      );
    }
    if (!slots.intact()) assert.fail(`the batch after ${done} datagrams: receive buffers were changed`);
  }
  assert.ok(guards.intact(), 'guard bytes are as they were');
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  const { written, merged, probes } = rig.tally;
  t.diagnostic(
    `${totals.frames} frames in ${seconds} s: ${written} written, ${merged} of them merged, ${probes} probes, ${totals.refused} refused`,
  );
  for (const count of [written, merged, probes, totals.refused]) assert.ok(count > 0);
});
