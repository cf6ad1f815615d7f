// Segmentation against a naive one that builds every segment from its meaning with proto's encoders.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Egress } from '../../agent/dataplane/egress.ts';
import { Forwarding } from '../../agent/dataplane/forwarding.ts';
import { PeerRecords } from '../../agent/dataplane/peer-records.ts';
import { SendBatch } from '../../agent/dataplane/send-batch.ts';
import { DataplaneStats } from '../../agent/dataplane/stats.ts';
import { STATS_ROWS } from '../../proto/dataplane-stats.ts';
import type { Ipv4Packet } from '../../proto/ipv4-packet.ts';
import type { TcpSegment } from '../../proto/tcp.ts';
import {
  type SentTrain,
  OTHER_PEER_SLOT,
  PEER_MAC,
  PEER_SLOT,
  SELF_MAC,
  overlayFrame,
  takeTrains,
  tcpPacket,
  testMemory,
  threeNodes,
  udpPacket,
  withVirtio,
} from '../support/dataplane-rig.ts';
import { randomBytes, randomInt, seededRandom, testSeed } from '../support/random.ts';

const seed = testSeed();
const FIN_PSH = 0x09;
const CWR = 0x80;

function createRig(): { send(read: Uint8Array): SentTrain[] } {
  const memory = testMemory();
  const batch = new SendBatch(memory);
  const records = new PeerRecords(memory);
  records.write(threeNodes());
  const sent: SentTrain[] = [];
  const egress = new Egress(new Forwarding(threeNodes()), {
    memory,
    batch,
    records,
    stats: new DataplaneStats(),
    flush: () => void sent.push(...takeTrains(memory, batch)),
    unreachable: () => assert.fail('the destination is owned'),
  });
  const area = memory.allocate(70_000);
  return {
    send(read) {
      memory.bytes.set(read, area + 6);
      egress.accept(area + 6, read.length);
      sent.push(...takeTrains(memory, batch));
      egress.sent();
      return sent.splice(0);
    },
  };
}

const framed = (packet: Uint8Array): Uint8Array =>
  overlayFrame(packet, { source: SELF_MAC, destination: PEER_MAC });

function naiveTcp(ip: Partial<Ipv4Packet>, tcp: TcpSegment, gsoSize: number): Uint8Array[] {
  const segments: Uint8Array[] = [];
  const { payload, flags } = tcp;
  for (let at = 0, index = 0; at < payload.length; at += gsoSize, index++) {
    const isLast = at + gsoSize >= payload.length;
    let own = flags;
    if (!isLast) own &= ~FIN_PSH;
    if (index > 0) own &= ~CWR;
    segments.push(
      framed(
        tcpPacket(
          { ...ip, identification: ((ip.identification ?? 0) + index) & 0xffff },
          {
            ...tcp,
            sequence: (tcp.sequence + at) % 2 ** 32,
            flags: own,
            payload: payload.subarray(at, at + gsoSize),
          },
        ),
      ),
    );
  }
  return segments;
}

/** What the kernel's UDP_SEGMENT demands, and that a train is as long as it may be. */
function checkTrains(trains: readonly SentTrain[]): Uint8Array[] {
  for (const { row, segments } of trains) {
    const sizes = segments.map((segment) => segment.length);
    assert.equal(row, 2 + PEER_SLOT);
    assert.ok(segments.length <= 64 && sizes.reduce((sum, size) => sum + size, 0) <= 65_507);
    assert.ok(
      sizes.slice(0, -1).every((size) => size === sizes[0]) && (sizes.at(-1) ?? 0) <= (sizes[0] ?? 0),
    );
  }
  return trains.flatMap(({ segments }) => segments);
}

test(`cutTcp: equals the naive segmentation for random super-packets (seed ${seed})`, () => {
  const random = seededRandom(seed);
  const rig = createRig();
  for (let round = 0; round < 400; round++) {
    const payload = randomBytes(random, 1 + randomInt(random, round % 8 === 0 ? 65_535 - 120 : 6000));
    const gsoSize = 1 + randomInt(random, round % 5 === 0 ? 60 : 1500);
    const ip: Partial<Ipv4Packet> = {
      typeOfService: randomInt(random, 256),
      identification: round % 3 === 0 ? 0xfffe : randomInt(random, 65_536),
      dontFragment: random() < 0.5,
      timeToLive: 1 + randomInt(random, 255),
      options: randomBytes(random, randomInt(random, 11) * 4),
    };
    const tcp: TcpSegment = {
      sourcePort: randomInt(random, 65_536),
      destinationPort: randomInt(random, 65_536),
      sequence: round % 3 === 0 ? 2 ** 32 - 1 - randomInt(random, 5000) : randomInt(random, 2 ** 32),
      acknowledgment: randomInt(random, 2 ** 32),
      flags: randomInt(random, 0x1000),
      window: randomInt(random, 65_536),
      checksum: 0,
      urgentPointer: randomInt(random, 65_536),
      options: randomBytes(random, randomInt(random, 11) * 4),
      payload,
    };
    const read = withVirtio(
      {
        segmentation: 1,
        ecn: random() < 0.5,
        gsoSize,
        needsChecksum: true,
        checksumStart: 20,
        checksumOffset: 16,
      },
      tcpPacket(ip, tcp),
    );
    const segments = checkTrains(rig.send(read));
    const expected = naiveTcp(ip, tcp, gsoSize);
    assert.equal(segments.length, expected.length);
    for (const [index, segment] of segments.entries()) {
      assert.deepEqual(segment, expected[index], `round ${round}, segment ${index} of ${expected.length}`);
    }
  }
});

test(`cutUdp: equals the naive segmentation for random super-packets (seed ${seed})`, () => {
  const random = seededRandom(seed);
  const rig = createRig();
  for (let round = 0; round < 200; round++) {
    const payload = randomBytes(random, 1 + randomInt(random, round % 8 === 0 ? 65_535 - 70 : 6000));
    const gsoSize = 1 + randomInt(random, 1473);
    const ip: Partial<Ipv4Packet> = {
      identification: randomInt(random, 65_536),
      options: randomBytes(random, randomInt(random, 11) * 4),
    };
    const ports = { sourcePort: randomInt(random, 65_536), destinationPort: randomInt(random, 65_536) };
    const read = withVirtio(
      { segmentation: 5, gsoSize, needsChecksum: true },
      udpPacket(ip, { ...ports, payload }),
    );
    const segments = checkTrains(rig.send(read));
    const expected: Uint8Array[] = [];
    for (let at = 0; at < payload.length; at += gsoSize) {
      const identification = ((ip.identification ?? 0) + expected.length) & 0xffff;
      const piece = { ...ports, payload: payload.subarray(at, at + gsoSize) };
      expected.push(framed(udpPacket({ ...ip, identification }, piece)));
    }
    assert.deepEqual(segments, expected, `round ${round}`);
  }
});

test('cutUdp: a datagram without a checksum stays without', () => {
  const packet = udpPacket({}, { payload: new Uint8Array(100).fill(3) });
  packet[26] = 0;
  packet[27] = 0;
  const segments = checkTrains(createRig().send(withVirtio({ segmentation: 5, gsoSize: 60 }, packet)));
  assert.deepEqual(
    segments.map((segment) => [segment[22 + 26], segment[22 + 27]]),
    [
      [0, 0],
      [0, 0],
    ],
  );
});

test('Egress: small packets of one size to one peer share a train, a longer one starts another', () => {
  const memory = testMemory();
  const batch = new SendBatch(memory);
  const records = new PeerRecords(memory);
  records.write(threeNodes());
  const egress = new Egress(new Forwarding(threeNodes()), {
    memory,
    batch,
    records,
    stats: new DataplaneStats(),
    flush: () => assert.fail('there is room'),
    unreachable: () => assert.fail('the destination is owned'),
  });
  const packets = [10, 10, 7, 10, 20].map((size) => udpPacket({}, { payload: new Uint8Array(size) }));
  for (const packet of packets) {
    const offset = memory.allocate(128) + 6;
    memory.bytes.set(withVirtio({}, packet), offset);
    egress.accept(offset, packet.length + 10);
  }
  const trains = takeTrains(memory, batch);
  assert.deepEqual(
    trains.map(({ segments }) => segments.length),
    [3, 1, 1],
  );
  assert.deepEqual(checkTrains(trains), packets.map(framed));
});

test('SendBatch: packets to two peers in turn, or by two sockets, become a train each', () => {
  const memory = testMemory();
  const batch = new SendBatch(memory);
  const add = (socket: number, row: number, bytes = 100): number => {
    const train = batch.place(socket, row, bytes);
    batch.headers(train, 64, 22);
    batch.payload(train, 128, bytes - 22);
    return train;
  };
  const places = [
    [3, 2 + PEER_SLOT],
    [3, 2 + OTHER_PEER_SLOT],
    [4, 2 + PEER_SLOT],
    [3, STATS_ROWS - 1],
  ] as const;
  for (let round = 0; round < 2; round++) {
    for (let packet = 0; packet < 5; packet++) {
      assert.deepEqual(
        places.map(([socket, row]) => add(socket, row)),
        [0, 1, 2, 3],
      );
    }
    assert.equal(add(3, 2 + PEER_SLOT, 90), 0, 'a shorter one ends the train');
    assert.equal(add(3, 2 + PEER_SLOT, 90), 4);
    assert.equal(add(3, 2 + OTHER_PEER_SLOT), 1);
    assert.equal(add(3, 2 + PEER_SLOT, 90), 4, 'nothing goes into a train before the newest');
    batch.clear();
  }
});

test('Egress: a full batch is sent and the rest follows, in order', () => {
  const rig = createRig();
  const payload = new Uint8Array(60_000).map((_, at) => at);
  const tcp = { sequence: 5, acknowledgment: 1, flags: 0x18, window: 9, payload };
  const segments = checkTrains(rig.send(withVirtio({ segmentation: 1, gsoSize: 10 }, tcpPacket({}, tcp))));
  assert.equal(segments.length, 6000);
  const bytes = Buffer.concat(segments.map((segment) => segment.subarray(22 + 40)));
  assert.ok(bytes.equals(payload));
});
