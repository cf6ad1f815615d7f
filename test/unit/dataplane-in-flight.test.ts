// What a killed data plane leaves in flight: journals over plain memory; the kernel's part is played by writing into the buffers.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { IN_FLIGHT_BYTES, createInFlightMemory } from '../../agent/dataplane/in-flight.ts';
import type { PacketMemory } from '../../agent/dataplane/packet-memory.ts';
import { TunPort } from '../../agent/dataplane/tun-port.ts';
import { randomInt, seededRandom, testSeed } from '../support/random.ts';

const seed = testSeed();
console.log(`seed ${seed}`);

function plainMemory(bytes: Uint8Array): PacketMemory {
  let next = IN_FLIGHT_BYTES;
  return {
    bytes,
    view: new DataView(bytes.buffer),
    baseLow: 0,
    baseHigh: 0,
    sum: () => 0,
    allocate(byteLength) {
      next += byteLength;
      return next - byteLength;
    },
  };
}

/** A TUN port of a process that maps `file`. */
function createPort(file: Uint8Array): { port: TunPort; known: boolean; view: DataView } {
  const memory = plainMemory(file);
  const inFlight = createInFlightMemory(memory, 0);
  const never = {} as never; // as: neither a write nor a clock is part of this
  const port = new TunPort({
    memory,
    inFlight: inFlight.memory,
    base: 0,
    fd: -1,
    stats: never,
    clock: never,
    report: () => undefined,
  });
  return { port, known: inFlight.takeOver(), view: memory.view };
}

/** As the kernel fills the buffer: virtio_net_hdr and an IPv4 packet of that length. */
function fill({ port, view }: { port: TunPort; view: DataView }, packetBytes: number): number {
  const at = port.readOffset;
  for (let index = 0; index < packetBytes + 10; index++) view.setUint8(at + index, 0xee);
  view.setUint8(at + 10, 0x45);
  view.setUint16(at + 12, packetBytes);
  return packetBytes + 10;
}

function unsentOf({ port }: { port: TunPort }): readonly number[] {
  const lengths: number[] = [];
  port.unsent((_offset, length) => lengths.push(length));
  return lengths;
}

const createFile = (): Uint8Array => new Uint8Array(IN_FLIGHT_BYTES + 4096);

test('TunPort.unsent finds nothing after clear', () => {
  const file = createFile();
  const first = createPort(file);
  first.port.clear();
  first.port.keep(fill(first, 100));
  first.port.clear();
  const next = createPort(file);
  assert.equal(next.known, true);
  assert.deepEqual(unsentOf(next), []);
});

test('TunPort.unsent finds what was read, also the read that was not kept, wherever the process died', () => {
  const random = seededRandom(seed);
  for (let round = 0; round < 300; round++) {
    const file = createFile();
    const first = createPort(file);
    first.port.clear();
    for (let batch = 0; batch < 3; batch++) {
      const expected: number[] = [];
      const reads = randomInt(random, 20);
      for (let read = 0; read < reads && first.port.hasRoom; read++) {
        const length = fill(first, 20 + randomInt(random, read % 5 === 0 ? 60_000 : 1400));
        expected.push(length);
        assert.deepEqual(unsentOf(createPort(file)), expected, 'died before keep');
        first.port.keep(length);
        assert.deepEqual(unsentOf(createPort(file)), expected, 'died after keep');
      }
      first.port.clear();
      assert.deepEqual(unsentOf(createPort(file)), []);
    }
  }
});

test('createInFlightMemory does not believe a file of another layout', () => {
  const file = createFile();
  assert.equal(createPort(file).known, false);
  assert.equal(createPort(file).known, true);
  new DataView(file.buffer).setUint32(4, 12, true);
  assert.equal(createPort(file).known, false);
});
