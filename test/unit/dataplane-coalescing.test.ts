// Coalescing by its one property: whatever is written, cut again, is exactly what arrived, in the order in which it arrived. And that valid
// trains are merged, each rule on its own breaks a train, and a wrong checksum never gets mended.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Forwarding } from '../../agent/dataplane/forwarding.ts';
import { Ingress } from '../../agent/dataplane/ingress.ts';
import { DataplaneStats } from '../../agent/dataplane/stats.ts';
import { WriteBatch } from '../../agent/dataplane/write-batch.ts';
import { ipv4 } from '../../proto/address.ts';
import { fold, loadWord, pseudoHeaderSum } from '../../proto/checksum.ts';
import {
  type Ipv4Packet,
  IPV4_DESTINATION_OFFSET,
  IPV4_SOURCE_OFFSET,
  IP_PROTOCOL_TCP,
} from '../../proto/ipv4-packet.ts';
import { type TcpSegment, TCP_CHECKSUM_OFFSET } from '../../proto/tcp.ts';
import {
  type TunWrite,
  PEER_ADDRESS,
  PEER_POD,
  SELF_POD,
  overlayFrame,
  takeWrites,
  tcpPacket,
  testMemory,
  threeNodes,
  udpPacket,
} from '../support/dataplane-rig.ts';
import { cut } from '../support/kernel-cut.ts';
import { randomBytes, randomInt, seededRandom, testSeed } from '../support/random.ts';

const seed = testSeed();
const INBOUND: Partial<Ipv4Packet> = { source: PEER_POD, destination: SELF_POD };

interface Rig {
  receive(packets: readonly Uint8Array[]): TunWrite[];
  /** Everything that was received, as it lies in the buffers now. */
  buffers(): Uint8Array;
}

function createRig(): Rig {
  const memory = testMemory();
  const batch = new WriteBatch(memory);
  const writes: TunWrite[] = [];
  const ingress = new Ingress(new Forwarding(threeNodes()), {
    memory,
    batch,
    stats: new DataplaneStats(),
    flush: () => void writes.push(...takeWrites(memory, batch)),
    probe: () => false,
  });
  const area = memory.allocate(1 << 20);
  return {
    /** Each packet as a datagram of its own, all in one batch. */
    receive(packets) {
      let offset = area + 10;
      for (const packet of packets) {
        const datagram = overlayFrame(packet);
        memory.bytes.set(datagram, offset);
        ingress.accept({
          offset,
          length: datagram.length,
          segmentBytes: 0,
          source: PEER_ADDRESS,
          sourcePort: 0,
        });
        offset += datagram.length + 3;
      }
      ingress.finish();
      writes.push(...takeWrites(memory, batch));
      return writes.splice(0);
    },
    buffers: () => memory.bytes.slice(area, area + (1 << 20)),
  };
}

test('receive buffers are not changed: the next process merges the same again', () => {
  const rig = createRig();
  const train = Array.from({ length: 8 }, (_, index) =>
    tcpPacket(
      { ...INBOUND, identification: index },
      { sequence: 0xffff_ff00 + index * 100, payload: new Uint8Array(100).fill(index) },
    ),
  );
  const writes = rig.receive(train);
  const before = rig.buffers();
  assert.deepEqual(rig.receive(train), writes, 'the same datagrams give the same writes');
  assert.equal(writes.length, 1, 'they are merged');
  assert.deepEqual(rig.buffers(), before);
  let at = 10;
  for (const packet of train) {
    const datagram = overlayFrame(packet);
    assert.deepEqual(before.slice(at, at + datagram.length), datagram);
    at += datagram.length + 3;
  }
});

interface Train {
  readonly ip: Partial<Ipv4Packet>;
  readonly tcp: Partial<TcpSegment>;
  readonly size: number;
  readonly count: number;
  readonly last: number;
}

/** A valid train: `count` segments of `size`, then one of `last` (0 = none). */
function trainOf({ ip, tcp, size, count, last }: Train, random: () => number): Uint8Array[] {
  const packets: Uint8Array[] = [];
  let sequence = tcp.sequence ?? 0;
  for (let index = 0; index < count + (last > 0 ? 1 : 0); index++) {
    const payload = randomBytes(random, index === count ? last : size);
    const identification = ((ip.identification ?? 0) + index) & 0xffff;
    packets.push(tcpPacket({ ...INBOUND, ...ip, identification }, { ...tcp, sequence, payload }));
    sequence = (sequence + payload.length) % 2 ** 32;
  }
  return packets;
}

/** One checksum in 65,536 is by chance what a partial one would be: such a packet is handed on alone, for the kernel to complete. */
function looksPartial(packet: Uint8Array): boolean {
  const view = new DataView(packet.buffer, packet.byteOffset);
  const headerBytes = (view.getUint8(0) & 0x0f) * 4;
  const sum = pseudoHeaderSum({
    source: ipv4(view.getUint32(IPV4_SOURCE_OFFSET)),
    destination: ipv4(view.getUint32(IPV4_DESTINATION_OFFSET)),
    protocol: IP_PROTOCOL_TCP,
    transportBytes: packet.length - headerBytes,
  });
  return loadWord(packet, headerBytes + TCP_CHECKSUM_OFFSET) === fold(sum);
}

test(`coalescing: a valid train becomes one write, which cut again is the train (seed ${seed})`, () => {
  const random = seededRandom(seed);
  const rig = createRig();
  for (let round = 0; round < 200; round++) {
    const size = 2 + randomInt(random, 1000);
    const train: Train = {
      ip: {
        typeOfService: randomInt(random, 256),
        dontFragment: random() < 0.5,
        identification: round % 2 === 0 ? 0xfff0 : randomInt(random, 65_536),
        timeToLive: 1 + randomInt(random, 255),
      },
      tcp: {
        sequence: round % 3 === 0 ? 2 ** 32 - randomInt(random, 3000) : randomInt(random, 2 ** 32),
        flags: random() < 0.5 ? 0x10 : 0x50,
        options: randomBytes(random, randomInt(random, 11) * 4),
      },
      size,
      count: 2 + randomInt(random, 61),
      last: random() < 0.5 ? 0 : 1 + randomInt(random, size - 1),
    };
    const packets = trainOf(train, random);
    if (packets.some(looksPartial)) continue;
    const writes = rig.receive(packets);
    assert.equal(writes.length, 1, `round ${round}: ${JSON.stringify(train)}`);
    assert.deepEqual(cut(writes[0]!), packets); // !: length 1
  }
});

test('coalescing: a merge ends at 64 segments and at 65,535 bytes', () => {
  const random = seededRandom(1);
  const rig = createRig();
  const common = { ip: { identification: 1 }, tcp: { sequence: 7 }, last: 0 };
  for (const [size, count, expected] of [
    [100, 130, 3],
    [4000, 33, 3],
  ] as const) {
    const packets = trainOf({ ...common, size, count }, random);
    const writes = rig.receive(packets);
    assert.equal(writes.length, expected);
    assert.deepEqual(writes.flatMap(cut), packets);
  }
});

const datagram = (index: number, ip: Partial<Ipv4Packet> = {}, bytes = 100): Uint8Array =>
  udpPacket(
    { ...INBOUND, identification: 100 + index, ...ip },
    { sourcePort: 7, payload: new Uint8Array(bytes).fill(index) },
  );

test('coalescing: UDP datagrams of one size become one write, which cut again is them', () => {
  const rig = createRig();
  const equal = Array.from({ length: 40 }, (_, index) => datagram(index));
  const [whole, ...more] = rig.receive([...equal, datagram(40, {}, 30)]);
  assert.deepEqual(more, []);
  assert.deepEqual(cut(whole!), [...equal, datagram(40, {}, 30)]); // !: one write
  const grows = [datagram(0), datagram(1), datagram(2, {}, 101)];
  assert.deepEqual(rig.receive(grows).flatMap(cut), grows);
  assert.equal(rig.receive(grows).length, 2);
});

test('coalescing: UDP datagrams are kept apart by a checksum that is missing or wrong, by a gap in what counts up', () => {
  const bare = datagram(1);
  bare.fill(0, 26, 28);
  for (const second of [bare, damaged(datagram(1)), datagram(2), datagram(0, { dontFragment: false })]) {
    const packets = [datagram(0), second];
    assert.deepEqual(createRig().receive(packets).flatMap(cut), packets);
    assert.equal(createRig().receive(packets).length, 2);
  }
});

test('coalescing: the identification of UDP datagrams that may not be fragmented says nothing (RFC 6864)', () => {
  const alike = Array.from({ length: 5 }, () => datagram(1, { identification: 0 }));
  assert.equal(createRig().receive(alike).length, 1);
  const fragmentable = alike.map(() => datagram(1, { identification: 0, dontFragment: false }));
  assert.equal(createRig().receive(fragmentable).length, 5);
});

const SIZE = 200;
const segment = (index: number, ip: Partial<Ipv4Packet> = {}, tcp: Partial<TcpSegment> = {}): Uint8Array =>
  tcpPacket(
    { ...INBOUND, identification: 100 + index, ...ip },
    { sequence: 1000 + index * SIZE, payload: new Uint8Array(SIZE).fill(index), ...tcp },
  );
const damaged = (packet: Uint8Array): Uint8Array => {
  const copy = packet.slice();
  copy[copy.length - 1]! ^= 1; // !: not empty
  return copy;
};

const BREAKS: readonly (readonly [what: string, second: Uint8Array])[] = [
  ['another source port', segment(1, {}, { sourcePort: 9 })],
  ['another destination', segment(1, { destination: SELF_POD - 1 } as Partial<Ipv4Packet>)],
  ['a gap', segment(1, {}, { sequence: 1001 + SIZE })],
  ['a repetition', segment(0, { identification: 101 })],
  ['another acknowledgment', segment(1, {}, { acknowledgment: 3 })],
  ['another window', segment(1, {}, { window: 501 })],
  ['another DSCP', segment(1, { typeOfService: 4 })],
  ['congestion experienced', segment(1, { typeOfService: 3 })],
  ['another TTL', segment(1, { timeToLive: 62 })],
  ['another DF', segment(1, { dontFragment: false })],
  ['the same identification', segment(1, { identification: 100 })],
  ['an identification ahead', segment(1, { identification: 102 })],
  ['IPv4 options', segment(1, { options: new Uint8Array(4) })],
  ['a fragment', segment(1, { moreFragments: true })],
  ['TCP options', segment(1, {}, { options: new Uint8Array(4) })],
  ['FIN', segment(1, {}, { flags: 0x11 })],
  ['SYN', segment(1, {}, { flags: 0x12 })],
  ['RST', segment(1, {}, { flags: 0x14 })],
  ['URG', segment(1, {}, { flags: 0x30 })],
  ['ECE', segment(1, {}, { flags: 0x50 })],
  ['CWR', segment(1, {}, { flags: 0x90 })],
  ['AE', segment(1, {}, { flags: 0x110 })],
  ['no ACK', segment(1, {}, { flags: 0 })],
  ['an urgent pointer', segment(1, {}, { urgentPointer: 1 })],
  ['no payload', segment(1, {}, { payload: new Uint8Array(0) })],
  ['a longer payload', segment(1, {}, { payload: new Uint8Array(SIZE + 1) })],
  ['a wrong checksum', damaged(segment(1))],
];

test('coalescing: each difference alone keeps two segments apart', async (t) => {
  const rig = createRig();
  assert.equal(rig.receive([segment(0), segment(1)]).length, 1, 'without a difference they are merged');
  for (const [what, second] of BREAKS) {
    await t.test(what, () => {
      const writes = rig.receive([segment(0), second]);
      assert.deepEqual(
        writes.map(({ packet }) => packet),
        [segment(0), second],
      );
    });
  }
});

test('coalescing: different TCP options of the same length keep apart', () => {
  const withOption = (index: number, value: number): Uint8Array =>
    segment(index, {}, { options: new Uint8Array([1, 1, 1, 1, 8, 10, 0, 0, 0, value, 0, 0]) });
  assert.equal(createRig().receive([withOption(0, 1), withOption(1, 1)]).length, 1);
  assert.equal(createRig().receive([withOption(0, 1), withOption(1, 2)]).length, 2);
});

test('coalescing: a wrong checksum in the first segment is not mended', () => {
  const packets = [damaged(segment(0)), segment(1), segment(2)];
  const writes = createRig().receive(packets);
  assert.deepEqual(writes.flatMap(cut), packets);
  assert.equal(writes.length, 2);
});

test('coalescing: PSH and a short segment end a train, the next begins another', () => {
  const pushed = segment(1, {}, { flags: 0x18 });
  assert.deepEqual(createRig().receive([segment(0), pushed, segment(2), segment(3)]).length, 2);
  assert.deepEqual(createRig().receive([pushed, segment(2)]).length, 2);
  const short = segment(1, {}, { payload: new Uint8Array(3) });
  const after = segment(2, {}, { sequence: 1000 + SIZE + 3, payload: new Uint8Array(3) });
  assert.equal(createRig().receive([segment(0), short, after]).length, 2);
});

test("coalescing: another flow's packet in between does not end a merge", () => {
  const between = udpPacket(INBOUND, { payload: new Uint8Array(5) });
  const writes = createRig().receive([segment(0), between, segment(1)]);
  assert.deepEqual(writes.map(cut), [[segment(0), segment(1)], [between]]);
});

test("coalescing: a flow whose merges end again and again does not end other flows' merges", () => {
  const busy = Array.from({ length: 40 }, (_, index) =>
    segment(index, {}, { sourcePort: 9, flags: index % 2 === 0 ? 0x10 : 0x18 }),
  );
  const writes = createRig().receive([segment(0), ...busy, segment(1)]);
  assert.equal(writes.length, 21);
  assert.deepEqual(cut(writes[0]!), [segment(0), segment(1)]); // !: as many as counted
  assert.deepEqual(writes.slice(1).flatMap(cut), busy);
});

test('coalescing: of more flows than there are records, the one whose merge began first ends', () => {
  const of = (flow: number, index: number): Uint8Array => segment(index, {}, { sourcePort: 100 + flow });
  const flows = Array.from({ length: 17 }, (_, flow) => flow);
  const first = flows.map((flow) => of(flow, 0));
  const second = flows.toReversed().map((flow) => of(flow, 1));
  const writes = createRig().receive([...first, ...second]);
  assert.deepEqual(writes.map(cut), [
    [of(0, 0)],
    ...flows.slice(1).map((flow) => [of(flow, 0), of(flow, 1)]),
    [of(0, 1)],
  ]);
});

test('coalescing: a packet of the flow that cannot be merged ends the merge, and nothing overtakes it', () => {
  const fin = segment(1, {}, { flags: 0x11 });
  const fragment = segment(1, { moreFragments: true });
  const pure = segment(1, {}, { payload: new Uint8Array(0) });
  for (const between of [fin, fragment, pure]) {
    const packets = [segment(0), between, segment(1)];
    assert.deepEqual(createRig().receive(packets).flatMap(cut), packets);
  }
});

/** What tells flows apart: protocol, addresses and ports. */
const flowOf = (packet: Uint8Array): string => [packet[9], ...packet.subarray(12, 24)].join('.');

const byFlow = (packets: readonly Uint8Array[]): ReadonlyMap<string, readonly Uint8Array[]> =>
  Map.groupBy(packets, flowOf);

test(`coalescing: any sequence of segments comes out as it went in (seed ${seed})`, () => {
  const random = seededRandom(seed);
  const rig = createRig();
  let merged = 0;
  for (let round = 0; round < 400; round++) {
    const packets: Uint8Array[] = [];
    while (packets.length < 40) {
      const size = 1 + randomInt(random, 300);
      const train = trainOf(
        {
          ip: { identification: randomInt(random, 65_536) },
          tcp: { sourcePort: 1 + randomInt(random, 2), sequence: randomInt(random, 2 ** 32) },
          size,
          count: 1 + randomInt(random, 12),
          last: randomInt(random, size),
        },
        random,
      );
      if (random() < 0.5) {
        const victim = train[randomInt(random, train.length)]!; // !: below the length
        const broken = BREAKS[randomInt(random, BREAKS.length)]![1]; // !: below the length
        if (random() < 0.3) victim.set(broken.subarray(20, 32), 20); // ports and numbers; the checksum is wrong then
        else if (random() < 0.5) train.splice(randomInt(random, train.length), 0, broken);
        else train.reverse();
      }
      packets.push(...train);
    }
    const writes = rig.receive(packets);
    merged += packets.length - writes.length;
    assert.deepEqual(byFlow(writes.flatMap(cut)), byFlow(packets), `round ${round}`);
  }
  assert.ok(merged > 4000, `${merged} segments merged`);
});
