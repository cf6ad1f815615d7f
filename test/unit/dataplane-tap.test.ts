// What the data plane's tap copies while packets pass, are refused, are sent in trains and arrive in trains; that nothing else changes by it;
// and that it is not asked while it is off.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Egress } from '../../agent/dataplane/egress.ts';
import { Forwarding } from '../../agent/dataplane/forwarding.ts';
import { Ingress } from '../../agent/dataplane/ingress.ts';
import { PeerRecords } from '../../agent/dataplane/peer-records.ts';
import { SendBatch } from '../../agent/dataplane/send-batch.ts';
import { DROP, DataplaneStats } from '../../agent/dataplane/stats.ts';
import { Tap } from '../../agent/dataplane/tap.ts';
import { Transmitter } from '../../agent/dataplane/transmitter.ts';
import { WriteBatch } from '../../agent/dataplane/write-batch.ts';
import { CAPTURE_POINTS, type CaptureFilter } from '../../proto/capture-filter.ts';
import {
  CAPTURE_BYTES,
  CaptureRingReader,
  CaptureRingWriter,
  type CapturedPacket,
  encodeCaptureHeader,
} from '../../proto/capture-ring.ts';
import { ETHERTYPE_PROBE } from '../../proto/ethernet.ts';
import { VIRTIO_NET_HDR_GSO_TCPV4 } from '../../proto/virtio-net.ts';
import {
  NOBODYS_POD,
  PEER_ADDRESS,
  PEER_MAC,
  PEER_POD,
  PEER_SLOT,
  SELF_MAC,
  SELF_POD,
  overlayFrame,
  takeWrites,
  tcpPacket,
  testMemory,
  threeNodes,
  udpPacket,
  withVirtio,
} from '../support/dataplane-rig.ts';

const EMSGSIZE = 90;
const ALL: CaptureFilter = {
  points: CAPTURE_POINTS,
  row: undefined,
  host: undefined,
  port: undefined,
  protocol: undefined,
  reason: undefined,
  snapLength: 65_535,
};

interface Rig {
  egress(read: Uint8Array): void;
  ingress(datagram: Uint8Array, segmentBytes?: number, source?: number): void;
  taken(): readonly CapturedPacket[];
  readonly tap: Tap;
  readonly memory: ReturnType<typeof testMemory>;
  /** Payloads that sendmsg was given. */
  readonly sent: Uint8Array[];
  readonly written: Uint8Array[];
}

function createRig({
  filter = ALL,
  isOn = true,
  fails = 0,
}: { filter?: CaptureFilter; isOn?: boolean; fails?: number } = {}): Rig {
  const memory = testMemory(8 << 20);
  const stats = new DataplaneStats();
  const records = new PeerRecords(memory);
  records.write(threeNodes());
  const file = memory.allocate(CAPTURE_BYTES);
  memory.bytes.set(encodeCaptureHeader(filter, 0), file);
  const ring = new CaptureRingWriter(memory, file);
  ring.begin(1, [41_000, 41_001, 41_002, 41_003, 41_004, 41_005, 41_006, 41_007]);
  const tap = new Tap(memory);
  if (isOn) tap.turnOn({ ring, records, nowMs: () => 5 });
  const sends = new SendBatch(memory);
  const writes = new WriteBatch(memory);
  const sent: Uint8Array[] = [];
  const written: Uint8Array[] = [];
  const calls = {
    sendmsg: (_fd = 0, at = 0): number => {
      if (fails !== 0) return -1;
      sent.push(...datagramsOf(memory, at));
      return 1;
    },
    sendmmsg: (_fd = 0, at = 0, count = 0): number => {
      if (fails !== 0) return -1;
      for (let index = 0; index < count; index++) sent.push(...datagramsOf(memory, at + index * 64));
      return count;
    },
    poll: (): number => 0,
    errno: (): number => fails,
  };
  const transmitter = new Transmitter({
    memory,
    base: 0,
    sockets: [1, 2, 3, 4, 5, 6, 7, 8],
    records,
    stats,
    report: () => undefined,
    tap,
    calls,
  });
  const flush = (): void => {
    transmitter.flush(sends);
  };
  const egress = new Egress(new Forwarding(threeNodes()), {
    memory,
    stats,
    records,
    batch: sends,
    flush,
    unreachable: () => undefined,
    tap,
  });
  const ingress = new Ingress(new Forwarding(threeNodes()), {
    memory,
    stats,
    batch: writes,
    flush: () => undefined,
    probe: () => true,
    tap,
  });
  const area = memory.allocate(70_000);
  return {
    tap,
    memory,
    sent,
    written,
    egress(read) {
      memory.bytes.set(read, area + 6);
      egress.accept(area + 6, read.length);
      flush();
      egress.sent();
    },
    ingress(datagram, segmentBytes = 0, source = PEER_ADDRESS) {
      memory.bytes.set(datagram, area + 10);
      ingress.accept({ offset: area + 10, length: datagram.length, segmentBytes, source, sourcePort: 4242 });
      ingress.finish();
      written.push(...takeWrites(memory, writes).map(({ packet }) => packet));
    },
    taken: () => new CaptureRingReader(memory.bytes.subarray(file, file + CAPTURE_BYTES)).take(1000),
  };
}

/** What the kernel would make of a struct msghdr: one datagram, or a train cut by UDP_SEGMENT. */
function datagramsOf({ view, bytes }: ReturnType<typeof testMemory>, message: number): readonly Uint8Array[] {
  const iovecs = view.getUint32(message + 16, true);
  const pieces = Array.from({ length: view.getUint32(message + 24, true) }, (_, index) => {
    const at = view.getUint32(iovecs + index * 16, true);
    return bytes.slice(at, at + view.getUint32(iovecs + index * 16 + 8, true));
  });
  const all = new Uint8Array(Buffer.concat(pieces));
  const control = view.getUint32(message + 32, true);
  const size = control === 0 ? all.length : view.getUint16(control + 16, true);
  return Array.from({ length: Math.ceil(all.length / size) }, (_, index) =>
    all.slice(index * size, (index + 1) * size),
  );
}

const outbound = { source: SELF_POD, destination: PEER_POD };
const inbound = { source: PEER_POD, destination: SELF_POD };
const pointsOf = (packets: readonly CapturedPacket[]): readonly string[] =>
  packets.map(({ point, reason }) => (reason === undefined ? point : `${point} ${reason}`));
const fromPeer = (packet: Uint8Array): Uint8Array =>
  overlayFrame(packet, { source: PEER_MAC, destination: SELF_MAC });

const superPacket = withVirtio(
  {
    needsChecksum: true,
    segmentation: VIRTIO_NET_HDR_GSO_TCPV4,
    headerLength: 40,
    gsoSize: 500,
    checksumStart: 20,
    checksumOffset: 16,
  },
  tcpPacket(outbound, { payload: new Uint8Array(1800).map((_, index) => index) }),
);

test('a packet that is sent: the inner one, and the very datagram', () => {
  const rig = createRig();
  const packet = udpPacket(outbound, { payload: new Uint8Array(30).fill(7) });
  rig.egress(withVirtio({}, packet));
  const [inner, outer, ...more] = rig.taken();
  assert.ok(inner !== undefined && outer !== undefined && more.length === 0);
  const pair = [outer, inner]; // the datagram leaves first where the batch is full, so the order is not promised
  const [sent] = rig.sent;
  for (const each of pair) {
    assert.equal(each.slot, PEER_SLOT);
    assert.equal(each.outerAddress, PEER_ADDRESS);
    assert.equal(each.outerPort, 6784);
    assert.equal(each.timeMs, 5);
    if (each.point === 'inner_egress') {
      assert.deepEqual([each.form, each.bytes, each.length], ['packet', packet, packet.length]);
    } else {
      assert.deepEqual([each.point, each.form, each.bytes], ['outer_egress', 'frame', sent]);
      assert.ok(each.sourcePort !== undefined && each.sourcePort >= 41_000 && each.sourcePort <= 41_007);
    }
  }
});

test('a super-packet: once inside, outside every segment as it was sent', () => {
  const rig = createRig();
  rig.egress(superPacket);
  const packets = rig.taken();
  assert.equal(rig.sent.length, 4);
  assert.deepEqual(
    packets.filter(({ point }) => point === 'outer_egress').map(({ bytes }) => bytes),
    rig.sent,
  );
  const inner = packets.filter(({ point }) => point === 'inner_egress');
  assert.deepEqual(
    inner.map(({ length }) => length),
    [1840],
  );
});

test('the snap length cuts copies, whose length stays known', () => {
  const rig = createRig({ filter: { ...ALL, snapLength: 100 } });
  rig.egress(superPacket);
  for (const { bytes, length } of rig.taken()) {
    assert.ok(bytes.length <= 100 && length > 300);
    assert.equal(bytes.length, 100);
  }
});

test('refusals on the way out, with the reason and whole packets', () => {
  const rig = createRig();
  const lost = udpPacket({ source: SELF_POD, destination: NOBODYS_POD }, {});
  const foreign = udpPacket({ source: NOBODYS_POD, destination: PEER_POD }, {});
  rig.egress(withVirtio({}, lost));
  rig.egress(withVirtio({}, foreign));
  rig.egress(withVirtio({}, Uint8Array.of(0x60, 0, 0, 0)));
  rig.egress(Uint8Array.of(1, 2, 3));
  const packets = rig.taken();
  assert.deepEqual(pointsOf(packets), [
    'dropped_egress egress_no_owner',
    'dropped_egress egress_source_not_local',
    'dropped_egress egress_not_ipv4',
    'dropped_egress egress_truncated',
  ]);
  assert.deepEqual([packets[0]?.bytes, packets[1]?.bytes], [lost, foreign]);
  assert.ok(packets.every(({ slot }) => slot === undefined));
});

test('what the kernel does not send is captured as refused, segment by segment', () => {
  const rig = createRig({ fails: EMSGSIZE });
  rig.egress(superPacket);
  const refused = rig.taken().filter(({ point }) => point === 'dropped_egress');
  assert.deepEqual(
    refused.map(({ reason }) => reason),
    Array.from({ length: 4 }, () => 'egress_too_big'),
  );
});

test('a train that arrives: every frame outside, every packet inside, the refused one with its reason', () => {
  const rig = createRig();
  const payload = new Uint8Array(200).fill(3);
  const packets = [0, 1, 2, 3].map((index) =>
    tcpPacket({ ...inbound, identification: index }, { sequence: 1 + index * 200, payload }),
  );
  const frames = packets.map((packet, index) =>
    index === 2
      ? overlayFrame(packet, { source: PEER_MAC, destination: SELF_MAC, vni: 9 })
      : fromPeer(packet),
  );
  const size = frames[0]!.length; // !: there are four
  rig.ingress(new Uint8Array(Buffer.concat(frames)), size);
  const taken = rig.taken();
  const at = (point: string): readonly Uint8Array[] =>
    taken.filter((each) => each.point === point).map(({ bytes }) => bytes);
  assert.deepEqual(at('outer_ingress'), frames);
  assert.deepEqual(
    at('inner_ingress'),
    packets.filter((_, index) => index !== 2),
  );
  assert.deepEqual(pointsOf(taken.filter(({ reason }) => reason !== undefined)), [
    'dropped_ingress vxlan_vni',
  ]);
  assert.deepEqual(at('dropped_ingress'), [frames[2]]);
  assert.ok(taken.every(({ slot }) => slot === PEER_SLOT));
  assert.ok(
    taken
      .filter(({ form }) => form === 'frame')
      .every(({ outerPort, outerAddress }) => outerPort === 4242 && outerAddress === PEER_ADDRESS),
  );
});

test('an unknown sender, a datagram that is too short, a probe', () => {
  const rig = createRig();
  rig.ingress(fromPeer(udpPacket(inbound, {})), 0, 0x0a00_0001);
  rig.ingress(new Uint8Array(0));
  rig.ingress(
    overlayFrame(new Uint8Array(20), { source: PEER_MAC, destination: SELF_MAC, etherType: ETHERTYPE_PROBE }),
  );
  assert.deepEqual(pointsOf(rig.taken()), [
    'outer_ingress',
    'dropped_ingress unknown_sender',
    'outer_ingress',
    'dropped_ingress truncated',
    'outer_ingress',
  ]);
});

test('what the TUN does not take', () => {
  const rig = createRig();
  const { tap, memory } = rig;
  const packet = tcpPacket(inbound, { payload: new Uint8Array(64).fill(9) });
  const [header, rest, iovecs] = [memory.allocate(100), memory.allocate(100), memory.allocate(64)];
  const fill = (skip: number): void => {
    memory.bytes.set(packet.subarray(0, skip), header + 10);
    memory.bytes.set(packet.subarray(skip), rest);
    for (const [index, [offset, length]] of [
      [header, 10 + skip] as const,
      [rest, packet.length - skip] as const,
    ].entries()) {
      memory.view.setUint32(iovecs + index * 16, offset, true);
      memory.view.setUint32(iovecs + index * 16 + 8, length, true);
    }
  };
  for (const skip of [0, 40]) {
    fill(skip);
    tap.notWritten(iovecs, 2, 10, 2 + PEER_SLOT, DROP.tun_write_failed);
  }
  const packets = rig.taken();
  assert.deepEqual(pointsOf(packets), [
    'dropped_ingress tun_write_failed',
    'dropped_ingress tun_write_failed',
  ]);
  assert.deepEqual(
    packets.map(({ bytes }) => bytes),
    [packet, packet],
  );
});

test('the filter decides, and what passes is the same with the tap on, off and full', () => {
  const work = (rig: Rig): unknown => {
    rig.egress(superPacket);
    rig.egress(withVirtio({}, udpPacket(outbound, { destinationPort: 53 })));
    rig.ingress(fromPeer(tcpPacket(inbound, { payload: new Uint8Array(90) })));
    return { sent: rig.sent, written: rig.written };
  };
  const [on, off] = [createRig({ filter: { ...ALL, port: 53 } }), createRig({ isOn: false })];
  assert.deepEqual(work(on), work(off));
  assert.deepEqual(pointsOf(on.taken()).toSorted(), ['inner_egress', 'outer_egress']);
  assert.deepEqual(off.taken(), []);
  const full = createRig();
  for (let round = 0; round < 3000; round++) full.egress(superPacket);
  full.sent.splice(0);
  assert.deepEqual(work(full), { sent: off.sent, written: off.written });
});
