// Packets larger than their path takes: refused with an error or fragmented, held against a slow fragmenter and put together again.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Egress } from '../../agent/dataplane/egress.ts';
import { Forwarding } from '../../agent/dataplane/forwarding.ts';
import { PeerRecords } from '../../agent/dataplane/peer-records.ts';
import { SendBatch } from '../../agent/dataplane/send-batch.ts';
import { DROP, DataplaneStats } from '../../agent/dataplane/stats.ts';
import { transportChecksumState } from '../../proto/checksum.ts';
import { type Ipv4Packet, decodeIpv4Packet, encodeIpv4PacketInto } from '../../proto/ipv4-packet.ts';
import {
  PEER_MAC,
  PEER_SLOT,
  SELF_MAC,
  ipPacket,
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
const ROW = 2 + PEER_SLOT;

interface Sent {
  /** Inner packets in the order in which they go out. */
  readonly packets: readonly Uint8Array[];
  readonly errors: readonly { readonly packet: Uint8Array; readonly mtu: number }[];
  readonly refused: number;
  /** The read afterwards. */
  readonly left: Uint8Array;
}

function createRig(): (read: Uint8Array, mtu: number) => Sent {
  const memory = testMemory(4 << 20);
  const batch = new SendBatch(memory);
  const records = new PeerRecords(memory);
  records.write(threeNodes());
  const stats = new DataplaneStats();
  let packets: Uint8Array[] = [];
  let errors: { packet: Uint8Array; mtu: number }[] = [];
  const flush = (): void => {
    for (const { row, segments } of takeTrains(memory, batch)) {
      assert.equal(row, ROW);
      for (const segment of segments) {
        const inner = segment.slice(22);
        assert.deepEqual(segment, overlayFrame(inner, { source: SELF_MAC, destination: PEER_MAC }));
        packets.push(inner);
      }
    }
  };
  const egress = new Egress(new Forwarding(threeNodes()), {
    memory,
    stats,
    records,
    batch,
    flush,
    unreachable: () => assert.fail('the peer is there'),
    fragmentationNeeded: (ip, length, mtu) =>
      void errors.push({ packet: memory.bytes.slice(ip, ip + length), mtu }),
  });
  const area = memory.allocate(70_000) + 6;
  return (read, mtu) => {
    packets = [];
    errors = [];
    stats.cells.fill(0);
    records.setPathMtu(PEER_SLOT, mtu);
    memory.bytes.set(read, area);
    egress.accept(area, read.length);
    flush();
    egress.sent();
    const left = memory.bytes.slice(area, area + read.length);
    return { packets, errors, left, refused: stats.get(ROW, DROP.egress_path_mtu) };
  };
}

const decode = (bytes: Uint8Array): Ipv4Packet => {
  const packet = decodeIpv4Packet(bytes);
  assert.ok(packet.ok, packet.ok ? '' : packet.reason);
  return packet.value;
};
const encode = (packet: Ipv4Packet): Uint8Array => {
  const bytes = new Uint8Array(20 + packet.options.length + packet.payload.length);
  encodeIpv4PacketInto(bytes, 0, packet);
  return bytes;
};

/** RFC 791 section 3.2, by meaning. */
function slowFragments(bytes: Uint8Array, mtu: number): Uint8Array[] {
  const packet = decode(bytes);
  const headerBytes = 20 + packet.options.length;
  const most = Math.floor((mtu - headerBytes) / 8) * 8;
  const fragments: Uint8Array[] = [];
  for (let at = 0; at < packet.payload.length; at += most) {
    const isLast = at + most >= packet.payload.length;
    fragments.push(
      encode({
        ...packet,
        options: at === 0 ? packet.options : laterOptions(packet.options),
        moreFragments: isLast ? packet.moreFragments : true,
        fragmentOffset: packet.fragmentOffset + at,
        payload: packet.payload.subarray(at, at + most),
      }),
    );
  }
  return fragments;
}

function laterOptions(options: Uint8Array): Uint8Array {
  const later = options.slice();
  for (let at = 0; at < later.length;) {
    const type = later[at] ?? 0;
    if (type === 0) break;
    const length = type === 1 ? 1 : (later[at + 1] ?? 0);
    if (type !== 1 && (length < 2 || at + length > later.length)) {
      later.fill(0, at);
      break;
    }
    if (type < 0x80) later.fill(1, at, at + length);
    at += length;
  }
  return later;
}

function reassembled(fragments: readonly Uint8Array[]): Uint8Array {
  const parts = fragments.map(decode).toSorted((a, b) => a.fragmentOffset - b.fragmentOffset);
  const [first] = parts;
  assert.ok(first !== undefined);
  let end = first.fragmentOffset;
  for (const part of parts) {
    assert.equal(part.fragmentOffset, end, 'neither a gap nor an overlap');
    end += part.payload.length;
  }
  const payload = new Uint8Array(Buffer.concat(parts.map((part) => part.payload)));
  return encode({ ...first, moreFragments: parts.at(-1)?.moreFragments ?? false, payload });
}

/** Nothing, record route (not copied), strict source route (copied), router alert (copied), a timestamp, and what is malformed. */
const OPTIONS: readonly Uint8Array[] = [
  [],
  [7, 7, 4, 0, 0, 0, 0, 0],
  [137, 7, 4, 10, 32, 0, 9, 1],
  [148, 4, 0, 0],
  [1, 1, 68, 8, 5, 0, 0, 0, 0, 0, 148, 4, 0, 0, 0, 0],
  [7, 0, 148, 4],
  [7, 1, 148, 4],
  [1, 1, 1, 148],
  [148, 40, 1, 1],
  Array.from({ length: 10 }, () => [148, 4, 0, 0]).flat(),
].map((bytes) => Uint8Array.from(bytes));

test('Egress: what fits the path exactly goes out as it came; one byte more does not', () => {
  const send = createRig();
  for (const mtu of [576, 1350, 1450, 8950]) {
    for (const dontFragment of [true, false]) {
      const fits = ipPacket({ dontFragment, payload: randomBytes(seededRandom(seed), mtu - 20) });
      assert.deepEqual(send(withVirtio({}, fits), mtu).packets, [fits]);
      const larger = ipPacket({ dontFragment, payload: randomBytes(seededRandom(seed), mtu - 19) });
      const read = withVirtio({}, larger);
      const { packets, errors, refused, left } = send(read, mtu);
      assert.deepEqual(left, read);
      if (dontFragment) assert.deepEqual([packets, errors, refused], [[], [{ packet: larger, mtu }], 1]);
      else {
        assert.deepEqual([packets.length, errors, refused], [2, [], 0]);
        assert.deepEqual(reassembled(packets), larger);
      }
    }
  }
});

test(`Egress: fragments are those of a slow fragmenter, and together the packet again (seed ${seed})`, () => {
  const random = seededRandom(seed);
  const send = createRig();
  for (let round = 0; round < 4000; round += 1) {
    const mtu = 576 + randomInt(random, 9000);
    const isFragment = random() < 0.4;
    const moreFragments = isFragment && random() < 0.5;
    const options = OPTIONS[randomInt(random, OPTIONS.length)]!; // !: below the length
    const bytes = mtu - 20 - options.length + 1 + randomInt(random, round % 10 === 0 ? 40_000 : 3000);
    const payloadBytes = moreFragments ? Math.ceil(bytes / 8) * 8 : bytes;
    const packet = ipPacket({
      dontFragment: false,
      reservedFlag: random() < 0.1,
      moreFragments,
      fragmentOffset: isFragment ? randomInt(random, 1000) * 8 : 0,
      identification: randomInt(random, 0x10000),
      timeToLive: 1 + randomInt(random, 255),
      typeOfService: randomInt(random, 256),
      protocol: 255,
      options,
      payload: randomBytes(random, payloadBytes),
    });
    const { packets } = send(withVirtio({}, packet), mtu);
    assert.deepEqual(packets, slowFragments(packet, mtu), `round ${round}`);
    assert.ok(packets.every((fragment) => fragment.length <= mtu));
    assert.deepEqual(reassembled(packets), packet);
  }
});

test('Egress: a partial checksum is complete before the packet is fragmented', () => {
  const whole = udpPacket({ dontFragment: false }, { payload: randomBytes(seededRandom(seed), 3000) });
  const partial = whole.slice();
  let sum = 17 + whole.length - 20;
  for (let at = 12; at < 20; at += 2) sum += (whole[at]! << 8) | whole[at + 1]!; // !: inside the header
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  partial[26] = sum >>> 8;
  partial[27] = sum & 0xff;
  const read = withVirtio({ needsChecksum: true, checksumStart: 20, checksumOffset: 6 }, partial);
  const { packets } = createRig()(read, 1350);
  assert.equal(packets.length, 3);
  assert.deepEqual(reassembled(packets), whole);
});

test('Egress: a partial checksum stays as it is in a packet that is refused', () => {
  const read = withVirtio(
    { needsChecksum: true, checksumStart: 20, checksumOffset: 6 },
    udpPacket({}, { payload: new Uint8Array(3000) }),
  );
  const { errors, left } = createRig()(read, 1350);
  assert.equal(errors.length, 1);
  assert.deepEqual(left, read);
});

test('Egress: a TCP super-packet without DF is cut into segments that fit, one with DF is refused whole', () => {
  const send = createRig();
  const payload = randomBytes(seededRandom(seed), 20_001);
  const virtio = { segmentation: 1, gsoSize: 1410, needsChecksum: true } as const;
  const { packets } = send(withVirtio(virtio, tcpPacket({ dontFragment: false }, { payload })), 1350);
  assert.ok(packets.every((packet) => packet.length <= 1350));
  assert.equal(packets.length, Math.ceil(payload.length / 1310));
  assert.deepEqual(Buffer.concat(packets.map((packet) => packet.subarray(40))), Buffer.from(payload));
  assert.ok(packets.every(hasRightChecksum));
  const refused = tcpPacket({}, { payload });
  const { errors, packets: none } = send(withVirtio(virtio, refused), 1350);
  assert.deepEqual([errors, none], [[{ packet: refused, mtu: 1350 }], []]);
  assert.equal(send(withVirtio(virtio, refused), 1450).packets.length, Math.ceil(payload.length / 1410));
});

test('Egress: a UDP super-packet without DF becomes datagrams, each of them fragmented', () => {
  const payload = randomBytes(seededRandom(seed), 9000);
  for (const [mtu, gsoSize, needsChecksum] of [
    [1350, 1422, true],
    [576, 1422, true],
    [600, 4000, true],
    [1350, 1400, false],
  ] as const) {
    const model = udpPacket({ dontFragment: false, identification: 0xfffe }, { payload });
    if (!needsChecksum) model.fill(0, 26, 28);
    const read = withVirtio({ segmentation: 5, gsoSize, needsChecksum }, model);
    const { packets, left } = createRig()(read, mtu);
    assert.deepEqual(left, read);
    assert.ok(packets.every((packet) => packet.length <= mtu));
    const groups = new Map<number, Uint8Array[]>();
    for (const packet of packets) {
      const { identification } = decode(packet);
      groups.set(identification, [...(groups.get(identification) ?? []), packet]);
    }
    const datagrams = [...groups.values()].map(reassembled);
    assert.equal(datagrams.length, Math.ceil(payload.length / gsoSize));
    assert.deepEqual(Buffer.concat(datagrams.map((datagram) => datagram.subarray(28))), Buffer.from(payload));
    for (const datagram of datagrams) {
      if (needsChecksum) assert.ok(hasRightChecksum(datagram));
      else assert.deepEqual([...datagram.subarray(26, 28)], [0, 0]);
    }
  }
});

test('Egress: more fragments than header copies, and trains: the batch is sent in between, nothing is lost', () => {
  const send = createRig();
  const payload = randomBytes(seededRandom(seed), 65_000);
  const model = udpPacket({ dontFragment: false }, { payload });
  const { packets } = send(withVirtio({ segmentation: 5, gsoSize: 560, needsChecksum: true }, model), 576);
  assert.ok(packets.length > 117, `${packets.length}`);
  const whole = ipPacket({ dontFragment: false, payload });
  assert.deepEqual(reassembled(send(withVirtio({}, whole), 576).packets), whole);
});

function hasRightChecksum(bytes: Uint8Array): boolean {
  const { source, destination, protocol, payload } = decode(bytes);
  const pseudoHeader = { source, destination, protocol, transportBytes: payload.length };
  return (
    transportChecksumState({ pseudoHeader, segment: payload, checksumOffset: protocol === 6 ? 16 : 6 }) ===
    'complete'
  );
}
