// The WASM kernels against their plain twins. Needs packet-kernels.wasm (the set-up step makes it).
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Coalescing } from '../../agent/dataplane/coalescing.ts';
import { type PacketKernels, loadPacketKernels } from '../../agent/dataplane/packet-kernels.ts';
import type { PacketMemory } from '../../agent/dataplane/packet-memory.ts';
import { Segmentation } from '../../agent/dataplane/segmentation.ts';
import { SendBatch } from '../../agent/dataplane/send-batch.ts';
import { WriteBatch } from '../../agent/dataplane/write-batch.ts';
import { Arena } from '../../agent/linux/arena.ts';
import { sumWords } from '../../proto/checksum.ts';
import {
  OTHER_PEER_POD,
  PEER_POD,
  SELF_POD,
  overlayFrame,
  takeTrains,
  takeWrites,
  tcpPacket,
  testMemory,
  udpPacket,
} from '../support/dataplane-rig.ts';
import { createPlainKernels } from '../support/packet-kernels-twin.ts';
import { randomBytes, randomInt, seededRandom, testSeed } from '../support/random.ts';

const seed = testSeed();

test(`checksum kernel: equals the plain sum at any offset and length (seed ${seed})`, () => {
  const random = seededRandom(seed);
  const arena = new Arena(1 << 18);
  const { sum } = loadPacketKernels(arena.memory);
  for (let at = 0; at < arena.bytes.length; at++) arena.bytes[at] = randomInt(random, 256);
  for (let length = 0; length < 200; length++) {
    assert.equal(
      sum(1000 + length, length),
      sumWords(arena.bytes, 1000 + length, length),
      `length ${length}`,
    );
  }
  for (let round = 0; round < 2000; round++) {
    const length = randomInt(random, round % 10 === 0 ? 65_536 : 1600);
    const offset = randomInt(random, arena.bytes.length - length);
    assert.equal(sum(offset, length), sumWords(arena.bytes, offset, length), `${length} B at ${offset}`);
  }
});

test('checksum kernel: 65,535 bytes of 0xff do not overflow', () => {
  const arena = new Arena(1 << 17);
  const { sum } = loadPacketKernels(arena.memory);
  arena.bytes.fill(0xff);
  assert.equal(sum(1, 65_535), sumWords(arena.bytes, 1, 65_535));
});

test('checksum kernel: reads up to the last byte of the memory and not beyond', () => {
  const arena = new Arena(65_536);
  const { sum } = loadPacketKernels(arena.memory);
  arena.bytes.fill(1);
  for (let length = 1; length < 130; length++) {
    assert.equal(sum(65_536 - length, length), sumWords(arena.bytes, 65_536 - length, length));
  }
});

const KINDS = {
  wasm: (memory: WebAssembly.Memory): PacketKernels => loadPacketKernels(memory),
  plain: (memory: WebAssembly.Memory): PacketKernels => createPlainKernels(new Uint8Array(memory.buffer)),
};
const MEMORY_BYTES = 1 << 20;

test(`segment kernels: equal their plain twins for random super-packets (seed ${seed})`, () => {
  const random = seededRandom(seed);
  const rigs = Object.values(KINDS).map((kernelsOf) => {
    const memory = testMemory(MEMORY_BYTES, 0, kernelsOf);
    const batch = new SendBatch(memory);
    const sent: unknown[] = [];
    const flush = (): void => {
      sent.push(...takeTrains(memory, batch));
      cutting.reset();
    };
    const cutting = new Segmentation(memory, batch, flush);
    return { memory, cutting, flush, sent, overlay: memory.allocate(64), area: memory.allocate(70_000) };
  });
  for (let round = 0; round < 3000; round++) {
    const ipHeaderBytes = 20 + 4 * (round % 4 === 0 ? randomInt(random, 11) : 0);
    const isTcp = random() < 0.6;
    const transportHeaderBytes = isTcp ? 20 + 4 * randomInt(random, 11) : 8;
    const gsoSize = 1 + randomInt(random, 1460);
    const payloadBytes = 1 + randomInt(random, round % 50 === 0 ? 60_000 : 20 * gsoSize);
    const length = ipHeaderBytes + transportHeaderBytes + Math.min(payloadBytes, 65_000);
    const bytes = randomBytes(random, length);
    const overlay = randomBytes(random, 32);
    for (const { memory, cutting, flush, area, overlay: overlayHeader } of rigs) {
      memory.bytes.set(bytes, area + 6);
      memory.bytes.set(overlay, overlayHeader);
      const packet = {
        ip: area + 6,
        ipHeaderBytes,
        transportHeaderBytes,
        length,
        gsoSize,
        checksummed: round % 5 !== 0,
        overlayHeader,
        row: 2,
        socket: round % 3,
      };
      if (isTcp) cutting.cutTcp(packet);
      else cutting.cutUdp(packet);
      if (round % 3 === 2) flush();
    }
    if (round % 3 === 2) {
      assert.deepEqual(rigs[0]?.sent, rigs[1]?.sent, `round ${round}`);
      for (const { sent } of rigs) sent.length = 0;
    }
  }
});

interface MergingRig {
  readonly memory: PacketMemory;
  readonly batch: WriteBatch;
  readonly coalescing: Coalescing;
  readonly area: number;
}

const createMergingRig = (kernelsOf: (memory: WebAssembly.Memory) => PacketKernels): MergingRig => {
  const memory = testMemory(MEMORY_BYTES, 0, kernelsOf);
  const batch = new WriteBatch(memory);
  return { memory, batch, coalescing: new Coalescing(memory, batch), area: memory.allocate(200_000) };
};

/** Frames of a few flows that mostly follow each other, now and then with a field that does not. */
function* randomFrames(random: () => number): Generator<{ packet: Uint8Array; isTcp: boolean }> {
  const sequence = [0xffff_fa00, 7, 99];
  const identification = [0xfffe, 0, 5];
  for (;;) {
    const flow = randomInt(random, 3);
    const isTcp = flow < 2;
    const payload = new Uint8Array(random() < 0.9 ? 100 : 1 + randomInt(random, 120)).fill(flow);
    const odd = random() < 0.15 ? randomInt(random, 6) : -1;
    const ip = {
      source: flow === 1 ? OTHER_PEER_POD : PEER_POD,
      destination: SELF_POD,
      identification: (identification[flow] ?? 0) + (odd === 0 ? 1 : 0),
      timeToLive: odd === 1 ? 62 : 63,
      dontFragment: flow !== 0,
    };
    const packet = isTcp
      ? tcpPacket(ip, {
          sequence: ((sequence[flow] ?? 0) + (odd === 2 ? 1 : 0)) >>> 0,
          flags: odd === 3 ? 0x18 : 0x10,
          options: Uint8Array.of(1, 1, 8, 10, 0, 0, 0, odd === 4 ? 1 : 0, 0, 0, 0, 1),
          payload,
        })
      : udpPacket(ip, { payload });
    if (odd === 5) packet[randomInt(random, packet.length)]! ^= 1 << randomInt(random, 8); // !: below the length
    sequence[flow] = ((sequence[flow] ?? 0) + payload.length) >>> 0;
    identification[flow] = ((identification[flow] ?? 0) + (flow === 2 && random() < 0.5 ? 0 : 1)) & 0xffff;
    yield { packet, isTcp };
  }
}

test(`merging kernel: equals its plain twin for random frames (seed ${seed})`, () => {
  const random = seededRandom(seed);
  const rigs = Object.values(KINDS).map(createMergingRig);
  const frames = randomFrames(random);
  let taken = 0;
  for (let round = 0; round < 1500; round++) {
    const batch = Array.from({ length: 1 + randomInt(random, 60) }, () => frames.next().value);
    const results = rigs.map(({ memory, batch: writes, coalescing, area }) => {
      let at = area;
      const decisions: number[] = [];
      for (const { packet, isTcp } of batch) {
        const frame = overlayFrame(packet);
        memory.bytes.set(frame, at);
        decisions.push(coalescing.take(at, frame.length, frame.length, 2));
        if (decisions.at(-1) === 0) {
          if (isTcp) coalescing.beginTcp(2, at + 22, packet.length);
          else coalescing.beginUdp(2, at + 22, packet.length);
        }
        at += (frame.length + 15) & ~15;
      }
      coalescing.finish();
      return { decisions, writes: takeWrites(memory, writes) };
    });
    assert.deepEqual(results[0], results[1], `round ${round}`);
    taken += results[0]?.decisions.filter((bytes) => bytes > 0).length ?? 0;
  }
  assert.ok(taken > 10_000, `${taken} frames were merged`);
});
