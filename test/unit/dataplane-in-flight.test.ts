// What a killed data plane leaves in flight: journals over plain memory; the kernel's part is played by writing into the buffers.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
  type Found,
  type InFlightMemory,
  IN_FLIGHT_BYTES,
  createInFlightMemory,
} from '../../agent/dataplane/in-flight.ts';
import type { PacketMemory } from '../../agent/dataplane/packet-memory.ts';
import { DATAGRAMS_AT_ONCE, Receiver } from '../../agent/dataplane/receiver.ts';
import { TunPort } from '../../agent/dataplane/tun-port.ts';
import { createPlainKernels } from '../support/packet-kernels-twin.ts';
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
    kernels: createPlainKernels(bytes),
    sum: () => 0,
    allocate(byteLength) {
      next += byteLength;
      return next - byteLength;
    },
  };
}

/** A TUN port of a process that maps `file`. */
function createPort(file: Uint8Array): {
  port: TunPort;
  found: Found;
  inFlight: InFlightMemory;
  view: DataView;
} {
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
  return { port, found: inFlight.takeOver(), inFlight, view: memory.view };
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
  assert.equal(next.found, 'in_flight');
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
  assert.equal(createPort(file).found, 'none');
  assert.equal(createPort(file).found, 'in_flight');
  new DataView(file.buffer).setUint32(4, 12, true);
  assert.equal(createPort(file).found, 'none');
});

test('createInFlightMemory gives up what ends every process that hands it on', () => {
  const file = createFile();
  const first = createPort(file);
  first.inFlight.handedOn();
  first.port.clear();
  first.port.keep(fill(first, 100));
  for (const expected of ['in_flight', 'in_flight', 'given_up', 'given_up'] as const) {
    assert.equal(createPort(file).found, expected);
  }
  createPort(file).inFlight.handedOn();
  assert.equal(createPort(file).found, 'in_flight', 'what comes after is tried again');
});

/** Receives as recvmmsg does: through the pointers of the headers. `segmentBytes` 0: no control message. */
function deliver(
  { view }: PacketMemory,
  messages: number,
  datagrams: readonly { length: number; segmentBytes: number; source: number }[],
): void {
  for (const [index, { length, segmentBytes, source }] of datagrams.entries()) {
    const message = messages + index * 64;
    const control = view.getUint32(message + 32, true);
    assert.equal(view.getUint32(message + 40, true), 64, 'room for a control message');
    if (segmentBytes > 0) {
      view.setUint32(control + 8, 17, true); // SOL_UDP
      view.setUint32(control + 12, 104, true); // UDP_GRO
      view.setInt32(control + 16, segmentBytes, true);
    }
    view.setUint32(message + 40, segmentBytes > 0 ? 24 : 0, true);
    view.setUint32(view.getUint32(message, true) + 4, source);
    view.setUint32(message + 8, 16, true); // sizeof(struct sockaddr_in)
    view.setUint32(message + 56, length, true);
  }
}

test('Receiver: the next process reads what this one read, wherever it was killed', () => {
  const random = seededRandom(seed);
  const file = createFile();
  const memory = plainMemory(file);
  const createReceiver = (): { receiver: Receiver; messages: number } => {
    const { memory: inFlight } = createInFlightMemory(memory, 0);
    let messages = 0;
    const allocate: PacketMemory['allocate'] = (...words) => {
      const at = inFlight.allocate(...words);
      messages ||= at; // the headers are allocated first
      return at;
    };
    return { receiver: new Receiver({ memory: { ...inFlight, allocate }, base: 0, fd: -1 }), messages };
  };
  const read = ({ receiver }: { receiver: Receiver }, count: number): object[] =>
    Array.from({ length: count }, (_, index) => ({ ...receiver.datagram(index) }));
  const first = createReceiver();
  first.receiver.arm();
  for (let round = 0; round < 100; round++) {
    const count = 1 + randomInt(random, DATAGRAMS_AT_ONCE);
    const datagrams = Array.from({ length: count }, () => ({
      length: randomInt(random, 2) * randomInt(random, 65_000), // many are empty
      segmentBytes: randomInt(random, 2) * (1 + randomInt(random, 1450)),
      source: 1 + randomInt(random, 1000),
    }));
    deliver(memory, first.messages, datagrams);
    const taken = read(first, count);
    const next = createReceiver();
    assert.equal(next.receiver.unsent(), count);
    assert.deepEqual(read(next, count), taken);
    assert.deepEqual(
      taken.map((datagram) => ('segmentBytes' in datagram ? datagram.segmentBytes : -1)),
      datagrams.map(({ segmentBytes }) => segmentBytes),
      'no size of an earlier datagram',
    );
    first.receiver.done(count);
    assert.equal(createReceiver().receiver.unsent(), 0);
  }
});
