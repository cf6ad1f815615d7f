// Every reason for which ingress refuses a frame, partial checksums, super-packets of a kernel VXLAN peer, and mutated datagrams.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Forwarding } from '../../agent/dataplane/forwarding.ts';
import { Ingress } from '../../agent/dataplane/ingress.ts';
import { DROP, DataplaneStats } from '../../agent/dataplane/stats.ts';
import { WriteBatch } from '../../agent/dataplane/write-batch.ts';
import { ipv4 } from '../../proto/address.ts';
import { fold, protocolLengthSum, storeWord, sumWords } from '../../proto/checksum.ts';
import { type DropReason, DROP_REASONS } from '../../proto/drop-reason.ts';
import type { Ipv4Packet } from '../../proto/ipv4-packet.ts';
import { decodeVirtioNetHeader } from '../../proto/virtio-net.ts';
import {
  type TunWrite,
  GATEWAY,
  NOBODYS_POD,
  OTHER_PEER_ADDRESS,
  OTHER_PEER_MAC,
  OTHER_PEER_POD,
  PEER_ADDRESS,
  PEER_MAC,
  PEER_POD,
  PEER_SLOT,
  PLAIN_VIRTIO,
  SELF_MAC,
  SELF_POD,
  ipPacket,
  nonZero,
  overlayFrame,
  takeWrites,
  tcpPacket,
  testMemory,
  threeNodes,
  udpPacket,
} from '../support/dataplane-rig.ts';
import { POISON, randomInt, seededRandom, testSeed } from '../support/random.ts';

const seed = testSeed();
const PEER_ROW = 2 + PEER_SLOT;
const INBOUND: Partial<Ipv4Packet> = { source: PEER_POD, destination: SELF_POD };

interface Rig {
  receive(
    datagram: Uint8Array,
    options?: { source?: number; segmentBytes?: number },
  ): {
    writes: TunWrite[];
    drops: Record<number, object>;
  };
  readonly probes: number[];
}

/** `isWeft`: of the peer; else it is a kernel VXLAN device. */
function createRig(poison: number = POISON, isWeft: boolean = false): Rig {
  const memory = testMemory(1 << 20, poison);
  const batch = new WriteBatch(memory);
  const stats = new DataplaneStats();
  const probes: number[] = [];
  let writes: TunWrite[] = [];
  const ingress = new Ingress(new Forwarding(threeNodes(isWeft)), {
    memory,
    stats,
    batch,
    flush: () => void writes.push(...takeWrites(memory, batch)),
    probe: (_offset, length) => probes.push(length) > 0,
  });
  const area = memory.allocate(70_000);
  return {
    probes,
    receive(datagram, { source = PEER_ADDRESS, segmentBytes = 0 } = {}) {
      stats.cells.fill(0);
      writes = [];
      memory.bytes.fill(poison, area, area + 70_000);
      memory.bytes.set(datagram, area + 10);
      ingress.accept({ offset: area + 10, length: datagram.length, segmentBytes, source, sourcePort: 0 });
      ingress.finish();
      writes.push(...takeWrites(memory, batch));
      const drops: Record<number, object> = {};
      for (const row of [0, 1, PEER_ROW, 2]) {
        const counted = nonZero(DROP, (column) => stats.get(row, column));
        if (Object.keys(counted).length > 0) drops[row] = counted;
      }
      return { writes, drops };
    },
  };
}

const good = udpPacket(INBOUND, { payload: new Uint8Array(30).fill(5) });
const frame = overlayFrame(good);
const patched = (bytes: Uint8Array, at: number, value: number): Uint8Array => {
  const copy = bytes.slice();
  copy[at] = value;
  return copy;
};
/** With the IPv4 header checksum made right again. */
const patchedIp = (at: number, value: number): Uint8Array => {
  const copy = patched(good, at, value);
  storeWord(copy, 10, 0);
  storeWord(copy, 10, ~fold(sumWords(copy, 0, 20)) & 0xffff);
  return overlayFrame(copy);
};

const REFUSALS: readonly (readonly [
  what: string,
  datagram: Uint8Array,
  reason: DropReason,
  source?: number,
])[] = [
  ['a stranger', frame, 'unknown_sender', 0xc0a8_0709],
  ['source 0.0.0.0', frame, 'unknown_sender', 0],
  ['an empty datagram', new Uint8Array(0), 'truncated'],
  ['41 bytes', frame.slice(0, 41), 'truncated'],
  ['a packet cut short', frame.slice(0, -1), 'truncated'],
  ['no I flag', patched(frame, 0, 0), 'vxlan_flags'],
  ['another flag', patched(frame, 0, 0x0c), 'vxlan_flags'],
  ['a reserved bit', patched(frame, 3, 1), 'vxlan_flags'],
  ['the last reserved byte', patched(frame, 7, 1), 'vxlan_flags'],
  ['another network', overlayFrame(good, { vni: 0xabcdee }), 'vxlan_vni'],
  ['another destination MAC', overlayFrame(good, { destination: PEER_MAC }), 'inner_mac'],
  ['broadcast', overlayFrame(good, { destination: 2 ** 48 - 1 }), 'inner_mac'],
  ["another peer's source MAC", overlayFrame(good, { source: OTHER_PEER_MAC }), 'inner_mac'],
  ['our own source MAC', overlayFrame(good, { source: SELF_MAC }), 'inner_mac'],
  ['ARP', overlayFrame(good, { etherType: 0x0806 }), 'inner_ethertype'],
  ['IPv6', overlayFrame(good, { etherType: 0x86dd }), 'inner_ethertype'],
  ['version 5', overlayFrame(patched(good, 0, 0x55)), 'inner_header'],
  ['a header length below 20', overlayFrame(patched(good, 0, 0x44)), 'inner_header'],
  ['a total length below the header', patchedIp(3, 19), 'inner_header'],
  ['a wrong header checksum', overlayFrame(patched(good, 8, 1)), 'inner_header'],
  [
    "another peer's source",
    overlayFrame(udpPacket({ ...INBOUND, source: OTHER_PEER_POD }, {})),
    'inner_source_not_owned',
  ],
  [
    "this node's source",
    overlayFrame(udpPacket({ ...INBOUND, source: SELF_POD }, {})),
    'inner_source_not_owned',
  ],
  [
    "the gateway's source",
    overlayFrame(udpPacket({ ...INBOUND, source: GATEWAY }, {})),
    'inner_source_not_owned',
  ],
  [
    "nobody's source",
    overlayFrame(udpPacket({ ...INBOUND, source: NOBODYS_POD }, {})),
    'inner_source_not_owned',
  ],
  [
    'loopback as source',
    overlayFrame(udpPacket({ ...INBOUND, source: ipv4(0x7f00_0001) }, {})),
    'inner_source_not_owned',
  ],
  [
    "a peer's destination",
    overlayFrame(udpPacket({ ...INBOUND, destination: OTHER_PEER_POD }, {})),
    'inner_destination_not_local',
  ],
  [
    'loopback',
    overlayFrame(udpPacket({ ...INBOUND, destination: ipv4(0x7f00_0001) }, {})),
    'inner_destination_not_local',
  ],
  [
    'multicast',
    overlayFrame(udpPacket({ ...INBOUND, destination: ipv4(0xe000_0001) }, {})),
    'inner_destination_not_local',
  ],
  [
    'half a UDP header',
    overlayFrame(ipPacket({ ...INBOUND, protocol: 17, payload: new Uint8Array(7) })),
    'inner_transport',
  ],
  ['a UDP length beyond', overlayFrame(patched(good, 25, 200)), 'inner_transport'],
  ['a UDP length of 7', overlayFrame(patched(good, 25, 7)), 'inner_transport'],
  [
    'half a TCP header',
    overlayFrame(ipPacket({ ...INBOUND, protocol: 6, payload: new Uint8Array(19) })),
    'inner_transport',
  ],
  ['a TCP header beyond', overlayFrame(patched(tcpPacket(INBOUND, {}), 32, 0x60)), 'inner_transport'],
  ['a TCP header below 20', overlayFrame(patched(tcpPacket(INBOUND, {}), 32, 0x40)), 'inner_transport'],
];

test('Ingress: what is refused is counted once, under its reason, in its row', async (t) => {
  const rig = createRig();
  for (const [what, datagram, reason, source = PEER_ADDRESS] of REFUSALS) {
    await t.test(`${what}: ${reason}`, () => {
      const { writes, drops } = rig.receive(datagram, { source });
      assert.deepEqual(drops, { [reason === 'unknown_sender' ? 0 : PEER_ROW]: { [reason]: 1 } });
      assert.deepEqual(writes, []);
    });
  }
  assert.deepEqual(rig.probes, []);
});

test('Ingress: every ingress reason has a case, but for the one that writev gives', () => {
  const tried = new Set<string>(REFUSALS.map(([, , reason]) => reason));
  const all = DROP_REASONS.filter((reason) => !reason.startsWith('egress_') && reason !== 'tun_write_failed');
  assert.deepEqual(
    all.filter((reason) => !tried.has(reason)),
    [],
  );
});

test('Ingress: every (sender, owner of the inner source) pair but the right one is refused', () => {
  const rig = createRig();
  const senders = [
    { source: PEER_ADDRESS, mac: PEER_MAC, pod: PEER_POD },
    { source: OTHER_PEER_ADDRESS, mac: OTHER_PEER_MAC, pod: OTHER_PEER_POD },
  ];
  for (const sender of senders) {
    for (const pod of [PEER_POD, OTHER_PEER_POD, SELF_POD, NOBODYS_POD]) {
      const datagram = overlayFrame(udpPacket({ ...INBOUND, source: pod }, {}), { source: sender.mac });
      const { writes } = rig.receive(datagram, { source: sender.source });
      assert.equal(writes.length, pod === sender.pod ? 1 : 0);
    }
  }
});

test('Ingress: the frames of a GRO datagram are judged one by one', () => {
  const bad = overlayFrame(udpPacket({ ...INBOUND, source: NOBODYS_POD }, { payload: new Uint8Array(30) }));
  const other = udpPacket({ ...INBOUND, identification: 9 }, { payload: new Uint8Array(30).fill(6) });
  const datagram = new Uint8Array([...frame, ...bad, ...overlayFrame(other), ...frame.slice(0, 30)]);
  const { writes, drops } = createRig().receive(datagram, { segmentBytes: frame.length });
  assert.deepEqual(
    writes.map(({ packet }) => packet),
    [good, other],
  );
  assert.deepEqual(drops, { [PEER_ROW]: { inner_source_not_owned: 1, truncated: 1 } });
  const strange = createRig().receive(datagram, { segmentBytes: frame.length, source: 1 });
  assert.deepEqual(strange.drops, { 0: { unknown_sender: 4 } });
});

test('Ingress: padding behind the packet is not written; a packet to the gateway, ICMP and fragments are', () => {
  const rig = createRig();
  const packets = [
    good,
    udpPacket({ ...INBOUND, destination: GATEWAY }, {}),
    ipPacket({ ...INBOUND, payload: new Uint8Array(3) }),
    ipPacket({
      ...INBOUND,
      protocol: 6,
      fragmentOffset: 64,
      dontFragment: false,
      payload: new Uint8Array(2),
    }),
    ipPacket({
      ...INBOUND,
      protocol: 17,
      moreFragments: true,
      dontFragment: false,
      payload: new Uint8Array(8),
    }),
  ];
  for (const packet of packets) {
    const { writes, drops } = rig.receive(new Uint8Array([...overlayFrame(packet), 0, 0, 0, 0]));
    assert.deepEqual(drops, {});
    assert.deepEqual(
      writes.map(({ packet: written }) => written),
      [packet],
    );
    assert.ok(writes[0]?.header.every((byte) => byte === 0));
  }
});

test('Ingress: probes are handed on, and only of valid peers', () => {
  const rig = createRig();
  const probe = overlayFrame(new Uint8Array(40), { etherType: 0x88b5 });
  rig.receive(probe);
  rig.receive(probe, { source: 5 });
  rig.receive(probe, { source: OTHER_PEER_ADDRESS });
  assert.deepEqual(rig.probes, [probe.length]);
});

/** The packet as a kernel VXLAN peer over veth sends it: only the pseudo header's sum in the checksum. */
function partial(packet: Uint8Array): Uint8Array {
  const copy = packet.slice();
  const protocol = copy[9]!; // !: inside the header
  const sum = sumWords(copy, 12, 8) + protocolLengthSum(protocol, copy.length - 20);
  storeWord(copy, protocol === 6 ? 36 : 26, fold(sum));
  return copy;
}

const virtioOf = (write: TunWrite | undefined): object => {
  const result = decodeVirtioNetHeader(write?.header ?? new Uint8Array(0));
  assert.ok(result.ok);
  return result.value;
};

test('Ingress: what looks partial and comes from a Weft peer, which never sends that, is handed on as it is', () => {
  const tcp = partial(tcpPacket(INBOUND, { payload: new Uint8Array(2000).fill(8) }));
  for (const packet of [tcp, partial(good)]) {
    const { writes } = createRig(POISON, true).receive(overlayFrame(packet));
    assert.deepEqual(
      writes.map((write) => [write.packet, write.header]),
      [[packet, new Uint8Array(10)]],
    );
  }
});

test('Ingress: a partial checksum is handed on as partial', () => {
  const rig = createRig();
  const tcp = partial(tcpPacket(INBOUND, { payload: new Uint8Array(20).fill(8) }));
  const udp = partial(good);
  for (const [packet, checksumOffset] of [
    [tcp, 16],
    [udp, 6],
  ] as const) {
    const { writes } = rig.receive(overlayFrame(packet));
    assert.deepEqual(writes[0]?.packet, packet);
    assert.deepEqual(virtioOf(writes[0]), {
      ...PLAIN_VIRTIO,
      needsChecksum: true,
      checksumStart: 20,
      checksumOffset,
    });
  }
});

test('Ingress: a TCP super-packet becomes one GSO write of MTU-sized segments, CWR on the first only', () => {
  const rig = createRig();
  const options = new Uint8Array(12).fill(1);
  for (const flags of [0x18, 0x98]) {
    const packet = partial(tcpPacket(INBOUND, { payload: new Uint8Array(60_000).fill(8), options, flags }));
    const { writes } = rig.receive(overlayFrame(packet));
    assert.equal(writes.length, 1);
    assert.deepEqual(writes[0]?.packet, packet);
    assert.deepEqual(virtioOf(writes[0]), {
      needsChecksum: true,
      dataValid: false,
      segmentation: 1,
      ecn: flags === 0x98,
      headerLength: 52,
      gsoSize: 1450 - 52,
      checksumStart: 20,
      checksumOffset: 16,
    });
  }
});

test('Ingress: a UDP super-packet becomes one USO write, cut where the kernel says or at the MTU', () => {
  const rig = createRig();
  const packet = partial(udpPacket(INBOUND, { payload: new Uint8Array(30_000).fill(8) }));
  for (const [segmentBytes, gsoSize] of [
    [1200, 1200],
    [0, 1450 - 28],
  ]) {
    const { writes, drops } = rig.receive(overlayFrame(packet), { segmentBytes: segmentBytes ?? 0 });
    assert.deepEqual(drops, {});
    assert.equal(writes.length, 1);
    assert.deepEqual(writes[0]?.packet, packet);
    assert.deepEqual(virtioOf(writes[0]), {
      needsChecksum: true,
      dataValid: false,
      segmentation: 5,
      ecn: false,
      headerLength: 28,
      gsoSize,
      checksumStart: 20,
      checksumOffset: 6,
    });
  }
});

test('Ingress: a packet larger than the MTU whose checksum is complete or wrong is handed on as it is', () => {
  const rig = createRig();
  const complete = tcpPacket(INBOUND, { payload: new Uint8Array(5000).fill(8) });
  for (const packet of [
    complete,
    patched(complete, 100, 1),
    udpPacket(INBOUND, { payload: new Uint8Array(5000) }),
  ]) {
    const { writes } = rig.receive(overlayFrame(packet));
    assert.deepEqual(writes[0]?.packet, packet);
    assert.deepEqual(virtioOf(writes[0]), PLAIN_VIRTIO);
  }
});

test(`Ingress: mutated datagrams never throw, bytes beyond the datagram decide nothing (seed ${seed})`, () => {
  const random = seededRandom(seed);
  const one = createRig(0x00);
  const other = createRig(0xff);
  const tcp = overlayFrame(tcpPacket(INBOUND, { payload: new Uint8Array(100), options: new Uint8Array(12) }));
  const models = [frame, tcp, overlayFrame(partial(good)), new Uint8Array([...tcp, ...tcp, ...tcp])];
  for (let round = 0; round < 6000; round++) {
    let datagram = models[round % models.length]!.slice(); // !: not empty
    for (let changes = randomInt(random, 4); changes > 0; changes--) {
      datagram[randomInt(random, Math.min(datagram.length, 80))] = randomInt(random, 256);
    }
    if (random() < 0.3) datagram = datagram.slice(0, randomInt(random, datagram.length + 1));
    const segmentBytes = random() < 0.6 ? 0 : randomInt(random, 200);
    const result = one.receive(datagram, { segmentBytes });
    assert.deepEqual(result, other.receive(datagram, { segmentBytes }), `round ${round}`);
    for (const { packet } of result.writes) assert.ok(packet.length <= datagram.length);
  }
});
