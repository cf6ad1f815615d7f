// The ring between a worker of the data plane and `weft capture`, against a plain list; and the filter against an obvious one.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { formatIpv4, ipv4 } from '../../proto/address.ts';
import {
  CAPTURE_POINTS,
  type CaptureFilter,
  decodeFilter,
  encodeFilterInto,
  NO_OUTER,
} from '../../proto/capture-filter.ts';
import {
  CAPTURE_BYTES,
  CAPTURE_HEADER_BYTES,
  CaptureRingReader,
  CaptureRingWriter,
  RECORD_BYTES,
  RING_BYTES,
  captureState,
  encodeCaptureHeader,
} from '../../proto/capture-ring.ts';
import { DROP_REASONS } from '../../proto/drop-reason.ts';
import { IP_PROTOCOL_TCP, IP_PROTOCOL_UDP } from '../../proto/ipv4-packet.ts';
import { ipPacket, tcpPacket, udpPacket } from '../support/dataplane-rig.ts';
import { POISON, placed, randomBytes, randomInt, seededRandom, testSeed } from '../support/random.ts';

const seed = testSeed();
const ALL: CaptureFilter = {
  points: CAPTURE_POINTS,
  row: undefined,
  host: undefined,
  port: undefined,
  protocol: undefined,
  reason: undefined,
  snapLength: 256,
};
const AT = 65_536;

interface Rig {
  readonly memory: Uint8Array;
  readonly file: Uint8Array;
  writer: CaptureRingWriter;
  readonly reader: CaptureRingReader;
}

/** The file lies in the middle of the writer's memory, poison around it. */
function createRig(): Rig {
  const memory = new Uint8Array(AT + CAPTURE_BYTES + AT).fill(POISON);
  const file = memory.subarray(AT, AT + CAPTURE_BYTES).fill(0);
  file.set(encodeCaptureHeader(ALL, 0));
  const view = new DataView(memory.buffer);
  return { memory, file, writer: new CaptureRingWriter({ view }, AT), reader: new CaptureRingReader(file) };
}

function write(
  { writer, memory }: Rig,
  bytes: Uint8Array,
  about: { point: number; reason: number; row: number; timeMs: number },
): boolean {
  const at = writer.reserve(bytes.length);
  if (at === 0) return false;
  memory.set(bytes, at);
  writer.outer(0xc0a8_0702, 4242, 0xff);
  writer.publish(about.point, about.reason, about.row, 0, about.timeMs, bytes.length + 7, bytes.length);
  return true;
}

test(`random writes, reads and successions give every packet once, in order, or count it as left out (seed ${seed})`, () => {
  const random = seededRandom(seed);
  const rig = createRig();
  const published: { bytes: Uint8Array; timeMs: number; reason: number; row: number; point: number }[] = [];
  let leftOut = 0;
  let read = 0;
  let used = 0; // bytes that a ring of this size must have room for
  let fullTimes = 0;
  for (let step = 0; step < 60_000; step++) {
    const chance = random();
    if (chance < 0.9) {
      const bytes = randomBytes(random, randomInt(random, random() < 0.01 ? 65_536 : 300));
      const about = {
        point: randomInt(random, CAPTURE_POINTS.length),
        reason: randomInt(random, DROP_REASONS.length + 1) - 1,
        row: randomInt(random, 8194),
        timeMs: step,
      };
      const needed = RECORD_BYTES + bytes.length + 8;
      if (write(rig, bytes, about)) {
        published.push({ bytes, ...about });
        used += needed;
      } else {
        leftOut += 1;
        fullTimes += 1;
        assert.ok(used + 2 * needed > RING_BYTES - 70_000, `refused with only ${used} B in use`);
      }
    } else if (chance < 0.901) {
      // Killed with a record in hand that it never published; the next one goes on.
      if (rig.writer.reserve(100) === 0) leftOut += 1;
      rig.writer = new CaptureRingWriter({ view: new DataView(rig.memory.buffer) }, AT);
    } else if (random() < 0.003) {
      const most = 1 + randomInt(random, 3000);
      const packets = rig.reader.take(most);
      assert.ok(packets.length <= most);
      for (const packet of packets) {
        const expected = published[read++];
        assert.ok(expected !== undefined);
        assert.deepEqual(packet.bytes, expected.bytes);
        assert.equal(packet.timeMs, expected.timeMs);
        assert.equal(packet.length, expected.bytes.length + 7);
        assert.equal(packet.point, CAPTURE_POINTS[expected.point]);
        assert.equal(packet.reason, DROP_REASONS[expected.reason]);
        assert.equal(packet.slot, expected.row < 2 ? undefined : expected.row - 2);
        assert.equal(formatIpv4(packet.outerAddress), '192.168.7.2');
        assert.equal(packet.outerPort, 4242);
        used -= RECORD_BYTES + expected.bytes.length + 8;
      }
    }
  }
  for (let rest = rig.reader.take(1000); rest.length > 0; rest = rig.reader.take(1000)) read += rest.length;
  assert.equal(read, published.length);
  assert.ok(fullTimes > 0 && published.length > 10_000, 'the ring was never full, or hardly used');
  assert.equal(rig.reader.writer.leftOut, leftOut);
  assert.equal(rig.reader.writer.captured, published.length);
  assert.ok(
    rig.memory.subarray(0, AT).every((byte) => byte === POISON),
    'written before the file',
  );
  assert.ok(
    rig.memory.subarray(AT + CAPTURE_BYTES).every((byte) => byte === POISON),
    'written behind the file',
  );
});

test(`a damaged ring costs packets and never throws, on either side (seed ${seed})`, () => {
  const random = seededRandom(seed);
  for (let round = 0; round < 300; round++) {
    const rig = createRig();
    for (let index = 0; index < 50; index++)
      write(rig, randomBytes(random, randomInt(random, 200)), {
        point: 0,
        reason: -1,
        row: 0,
        timeMs: index,
      });
    for (let change = 0; change < 20; change++) {
      rig.file[randomInt(random, random() < 0.5 ? 200 : 12_000)] = randomInt(random, 256);
    }
    for (let index = 0; index < 50; index++) {
      write(rig, randomBytes(random, randomInt(random, 200)), {
        point: 0,
        reason: -1,
        row: 0,
        timeMs: index,
      });
      rig.reader.take(randomInt(random, 10));
    }
    assert.ok(rig.memory.subarray(0, AT).every((byte) => byte === POISON));
    assert.ok(rig.memory.subarray(AT + CAPTURE_BYTES).every((byte) => byte === POISON));
  }
});

test('the header tells a capture that lives from one that is over, and from another file', () => {
  const { file, reader } = createRig();
  const header = new DataView(file.buffer, file.byteOffset, CAPTURE_HEADER_BYTES);
  assert.deepEqual(captureState(header), { leaseMs: 0, isEnded: false });
  reader.renew(1234.5);
  assert.deepEqual(captureState(header), { leaseMs: 1234.5, isEnded: false });
  reader.end();
  assert.equal(captureState(header)?.isEnded, true);
  header.setUint8(0, 0);
  assert.equal(captureState(header), undefined);
  assert.equal(captureState(new DataView(new ArrayBuffer(16))), undefined);
});

test(`the filter takes what an obvious one takes (seed ${seed})`, () => {
  const random = seededRandom(seed);
  const pick = <T>(...values: readonly T[]): T => values[randomInt(random, values.length)]!; // !: within the list
  const addresses = [0x0a20_0005, 0x0a20_0045, 0x0a30_0001, 0xc0a8_0702].map(ipv4);
  let taken = 0;
  for (let round = 0; round < 5000; round++) {
    const [source, destination, outer] = [
      pick(...addresses),
      pick(...addresses),
      pick(NO_OUTER, ipv4(0xc0a8_0702)),
    ];
    const ports = { sourcePort: pick(80, 53, 4242), destinationPort: pick(80, 53, 4242) };
    const protocol = pick(IP_PROTOCOL_TCP, IP_PROTOCOL_UDP, 1);
    const ends = { source, destination };
    const packet =
      protocol === IP_PROTOCOL_TCP
        ? tcpPacket(ends, ports)
        : protocol === IP_PROTOCOL_UDP
          ? udpPacket(ends, ports)
          : ipPacket({ ...ends, protocol: 1, payload: new Uint8Array(12) });
    const filter: CaptureFilter = {
      ...ALL,
      host: pick(
        undefined,
        { base: pick(...addresses), prefixLength: 32 },
        { base: ipv4(0x0a20_0000), prefixLength: 12 },
        { base: ipv4(0), prefixLength: 0 },
      ),
      port: pick(undefined, 80, 53),
      protocol: pick(undefined, IP_PROTOCOL_TCP, IP_PROTOCOL_UDP, 1),
    };
    const encoded = new DataView(new ArrayBuffer(64));
    encodeFilterInto(encoded, 8, filter);
    const inside = placed(packet);
    const match = decodeFilter(encoded, 8, new DataView(inside.buffer.buffer));
    const { host } = filter;
    const isHost = (address: number): boolean =>
      host === undefined || (address >= host.base && address < host.base + 2 ** (32 - host.prefixLength));
    const expected =
      (isHost(source) || isHost(destination) || (outer !== 0 && isHost(outer))) &&
      (filter.protocol === undefined || filter.protocol === protocol) &&
      (filter.port === undefined || (protocol !== 1 && Object.values(ports).includes(filter.port)));
    assert.equal(
      match.matches(inside.offset, inside.length, outer),
      expected,
      JSON.stringify({ filter, ends, ports, protocol, outer }),
    );
    taken += Number(expected);
    // Cut short it is wanted by nobody who asks for what is missing, and nothing beyond it is read.
    const wantsPacket = filter.port !== undefined || filter.protocol !== undefined;
    if (wantsPacket) assert.equal(match.matches(inside.offset, randomInt(random, 20), outer), false);
  }
  assert.ok(taken > 100 && taken < 4900);
});

test('point, peer and reason are asked before the packet is looked at', () => {
  const encoded = new DataView(new ArrayBuffer(32));
  encodeFilterInto(encoded, 0, { ...ALL, points: ['dropped_ingress'], row: 9, reason: 3 });
  const match = decodeFilter(encoded, 0, encoded);
  assert.deepEqual(
    CAPTURE_POINTS.filter((_, number) => match.wants(number)),
    ['dropped_ingress'],
  );
  assert.ok(match.concerns(9, 3));
  assert.ok(!match.concerns(8, 3));
  assert.ok(!match.concerns(9, 4));
  assert.ok(!match.concerns(9, -1));
});
