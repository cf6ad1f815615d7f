// Every reason for which egress refuses a packet, checksum completion, and mutated reads from the TUN.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Egress } from '../../agent/dataplane/egress.ts';
import { Forwarding } from '../../agent/dataplane/forwarding.ts';
import { PeerRecords } from '../../agent/dataplane/peer-records.ts';
import { SendBatch } from '../../agent/dataplane/send-batch.ts';
import { DROP, DataplaneStats } from '../../agent/dataplane/stats.ts';
import { ipv4 } from '../../proto/address.ts';
import { type DropReason, DROP_REASONS } from '../../proto/drop-reason.ts';
import {
  type SentTrain,
  GATEWAY,
  NOBODYS_POD,
  OTHER_PEER_MAC,
  OTHER_PEER_POD,
  OTHER_PEER_SLOT,
  PEER_POD,
  PEER_SLOT,
  SELF_MAC,
  SELF_POD,
  ipPacket,
  nonZero,
  overlayFrame,
  takeTrains,
  tcpPacket,
  testMemory,
  threeNodes,
  udpPacket,
  withVirtio,
} from '../support/dataplane-rig.ts';
import { POISON, randomInt, seededRandom, testSeed } from '../support/random.ts';

const seed = testSeed();
const OTHER_PEER_MTU = 1000;

interface Rig {
  send(read: Uint8Array): { trains: SentTrain[]; unreachable: number; drops: Record<number, object> };
  /** The read as it lies in the area now: what the next process finds when this one is killed. */
  left(length: number): Uint8Array;
  /** Kills the process, once, before or after it stores a single byte of a packet in hand: send() throws. */
  killAtStore(when: 'before' | 'after'): void;
  /** What is sent from now on was taken by a process that is gone. */
  recover(): void;
}

function createRig(poison: number = POISON): Rig {
  const memory = testMemory(2 << 20, poison);
  const batch = new SendBatch(memory);
  const records = new PeerRecords(memory);
  records.write(threeNodes());
  records.setPathMtu(OTHER_PEER_SLOT, OTHER_PEER_MTU);
  const stats = new DataplaneStats();
  let unreachable = 0;
  let trains: SentTrain[] = [];
  const egress = new Egress(new Forwarding(threeNodes()), {
    memory,
    stats,
    batch,
    records,
    flush: () => void trains.push(...takeTrains(memory, batch)),
    unreachable: () => void (unreachable += 1),
  });
  const area = memory.allocate(70_000);
  return {
    send(read) {
      stats.cells.fill(0);
      unreachable = 0;
      trains = [];
      memory.bytes.fill(poison, area, area + 70_000);
      memory.bytes.set(read, area + 6);
      egress.accept(area + 6, read.length);
      trains.push(...takeTrains(memory, batch));
      egress.sent();
      const drops: Record<number, object> = {};
      for (const row of [0, 1, 2 + PEER_SLOT, 2 + OTHER_PEER_SLOT]) {
        const counted = nonZero(DROP, (column) => stats.get(row, column));
        if (Object.keys(counted).length > 0) drops[row] = counted;
      }
      return { trains, unreachable, drops };
    },
    left: (length) => memory.bytes.slice(area + 6, area + 6 + length),
    recover: () => void (egress.recovering = true),
    killAtStore(when) {
      const { view } = memory;
      const store = view.setUint8.bind(view);
      view.setUint8 = (at, value) => {
        view.setUint8 = store;
        if (when === 'after') store(at, value);
        throw new Error('killed');
      };
    },
  };
}

const good = udpPacket({}, { payload: new Uint8Array(30) });
const patched = (packet: Uint8Array, at: number, value: number): Uint8Array => {
  const copy = packet.slice();
  copy[at] = value;
  return copy;
};
const THREE = { payload: new Uint8Array(3000) };
const tcp = tcpPacket({}, THREE);
const PEER_ROW = 2 + PEER_SLOT;
const tooBig = { destination: OTHER_PEER_POD };
const OTHER_ROW = 2 + OTHER_PEER_SLOT;

type Refusal = readonly [what: string, read: Uint8Array, row: number, reason: DropReason, packets?: number];

const REFUSALS: readonly Refusal[] = [
  ['only a virtio_net_hdr', withVirtio({}, new Uint8Array(0)), 0, 'egress_truncated'],
  ['less than a virtio_net_hdr', new Uint8Array(4), 0, 'egress_truncated'],
  ['half a header', withVirtio({}, good.slice(0, 12)), 0, 'egress_truncated'],
  ['a total length beyond the read', withVirtio({}, good.slice(0, -1)), 0, 'egress_truncated'],
  ['a header length below 20', withVirtio({}, patched(good, 0, 0x44)), 0, 'egress_truncated'],
  ['IPv6', withVirtio({}, patched(good, 0, 0x60)), 0, 'egress_not_ipv4'],
  ["a peer's source", withVirtio({}, udpPacket({ source: PEER_POD }, {})), 0, 'egress_source_not_local'],
  [
    'a foreign source',
    withVirtio({}, udpPacket({ source: ipv4(0x7f00_0001) }, {})),
    0,
    'egress_source_not_local',
  ],
  ['source 0.0.0.0', withVirtio({}, udpPacket({ source: ipv4(0) }, {})), 0, 'egress_source_not_local'],
  [
    'an address outside',
    withVirtio({}, udpPacket({ destination: ipv4(0x0808_0808) }, {})),
    0,
    'egress_out_of_range',
  ],
  ['multicast', withVirtio({}, udpPacket({ destination: ipv4(0xe000_00fb) }, {})), 0, 'egress_out_of_range'],
  ["nobody's block", withVirtio({}, udpPacket({ destination: NOBODYS_POD }, {})), 0, 'egress_no_owner'],
  ['an own block', withVirtio({}, udpPacket({ destination: SELF_POD }, {})), 0, 'egress_local'],
  ['too big', withVirtio({}, ipPacket({ payload: new Uint8Array(65_480) })), PEER_ROW, 'egress_too_big'],
  [
    'DF and too big for the path',
    withVirtio({}, udpPacket(tooBig, { payload: new Uint8Array(973) })),
    OTHER_ROW,
    'egress_path_mtu',
  ],
  [
    'TSO with DF and segments too big for the path',
    withVirtio({ segmentation: 1, gsoSize: 961 }, tcpPacket(tooBig, { payload: new Uint8Array(3000) })),
    OTHER_ROW,
    'egress_path_mtu',
    4,
  ],
  [
    'USO with DF and segments too big for the path',
    withVirtio({ segmentation: 5, gsoSize: 973 }, udpPacket(tooBig, { payload: new Uint8Array(3000) })),
    OTHER_ROW,
    'egress_path_mtu',
    4,
  ],
  [
    "TSO to nobody's block",
    withVirtio({ segmentation: 1, ecn: true, gsoSize: 1000 }, tcpPacket({ destination: NOBODYS_POD }, THREE)),
    0,
    'egress_no_owner',
    3,
  ],
  [
    "USO of a peer's source",
    withVirtio({ segmentation: 5, gsoSize: 999 }, udpPacket({ source: PEER_POD }, THREE)),
    0,
    'egress_source_not_local',
    4,
  ],
  [
    'TSO with a total length beyond the read',
    withVirtio({ segmentation: 1, gsoSize: 1000 }, tcp.slice(0, -1)),
    0,
    'egress_truncated',
  ],
  ['UFO', withVirtio({ segmentation: 3, gsoSize: 9 }, good), PEER_ROW, 'egress_unsupported_offload'],
  ['TSO of IPv6', withVirtio({ segmentation: 4, gsoSize: 9 }, good), PEER_ROW, 'egress_unsupported_offload'],
  ['TSO of UDP', withVirtio({ segmentation: 1, gsoSize: 9 }, good), PEER_ROW, 'egress_unsupported_offload'],
  ['USO of TCP', withVirtio({ segmentation: 5, gsoSize: 9 }, tcp), PEER_ROW, 'egress_unsupported_offload'],
  ['TSO without size', withVirtio({ segmentation: 1 }, tcp), PEER_ROW, 'egress_unsupported_offload'],
  [
    'TSO of a fragment',
    withVirtio(
      { segmentation: 1, gsoSize: 9 },
      tcpPacket({ moreFragments: true }, { payload: new Uint8Array(99) }),
    ),
    PEER_ROW,
    'egress_unsupported_offload',
    11,
  ],
  [
    'TSO without payload',
    withVirtio({ segmentation: 1, gsoSize: 9 }, tcpPacket({}, {})),
    PEER_ROW,
    'egress_truncated',
  ],
  [
    'a TCP header beyond',
    withVirtio({ segmentation: 1, gsoSize: 9 }, ipPacket({ protocol: 6 })),
    PEER_ROW,
    'egress_truncated',
  ],
  [
    'USO without payload',
    withVirtio({ segmentation: 5, gsoSize: 9 }, udpPacket({}, {})),
    PEER_ROW,
    'egress_truncated',
  ],
  [
    'a segment too big',
    withVirtio({ segmentation: 1, gsoSize: 65_480 }, tcpPacket({}, { payload: new Uint8Array(65_480) })),
    PEER_ROW,
    'egress_too_big',
  ],
  [
    'a checksum field beyond the packet',
    withVirtio({ needsChecksum: true, checksumStart: 20, checksumOffset: 37 }, good),
    PEER_ROW,
    'egress_unsupported_offload',
  ],
  [
    'a checksum start inside the IPv4 header',
    withVirtio({ needsChecksum: true, checksumStart: 4, checksumOffset: 6 }, good),
    PEER_ROW,
    'egress_unsupported_offload',
  ],
];

test('Egress: what is refused is counted under its reason, in its row, a super-packet as its segments', async (t) => {
  const rig = createRig();
  for (const [what, read, row, reason, packets = 1] of REFUSALS) {
    await t.test(`${what}: ${reason}`, () => {
      const { trains, drops, unreachable } = rig.send(read);
      assert.deepEqual(drops, { [row]: { [reason]: packets } });
      assert.deepEqual(trains, []);
      assert.equal(unreachable, reason === 'egress_no_owner' ? 1 : 0);
    });
  }
});

test('Egress: every egress reason has a case, but for the one that sendmsg gives', () => {
  const tried = new Set<string>(REFUSALS.map(([, , , reason]) => reason));
  const all = DROP_REASONS.filter(
    (reason) => reason.startsWith('egress_') && reason !== 'egress_send_failed',
  );
  assert.deepEqual(
    all.filter((reason) => !tried.has(reason)),
    [],
  );
});

test("Egress: a packet of a pod or of the gateway goes out behind its peer's headers", () => {
  const rig = createRig();
  for (const source of [SELF_POD, GATEWAY]) {
    const packet = udpPacket({ source, destination: OTHER_PEER_POD }, { payload: new Uint8Array(9) });
    const { trains, drops } = rig.send(withVirtio({}, packet));
    assert.deepEqual(drops, {});
    assert.equal(trains[0]?.row, 2 + OTHER_PEER_SLOT);
    assert.deepEqual(trains[0].segments, [
      overlayFrame(packet, { source: SELF_MAC, destination: OTHER_PEER_MAC }),
    ]);
  }
});

test('Egress: padding behind the packet is not sent', () => {
  const { trains } = createRig().send(withVirtio({}, new Uint8Array([...good, 0, 0, 0])));
  assert.equal(trains[0]?.segments[0]?.length, 22 + good.length);
});

test('Egress: a partial checksum is completed; UDP never gets 0', () => {
  const rig = createRig();
  for (let word = 0; word < 0x10000; word += 257) {
    const complete = udpPacket({}, { payload: new Uint8Array([word >>> 8, word & 255, 7]) });
    const pseudo = pseudoHeaderField(complete);
    const read = withVirtio({ needsChecksum: true, checksumStart: 20, checksumOffset: 6 }, pseudo);
    assert.deepEqual(rig.send(read).trains[0]?.segments[0]?.slice(22), complete);
  }
});

test('Egress: what a killed process had already handled goes out the same from the next one', () => {
  const rig = createRig();
  const reads = [
    withVirtio({ needsChecksum: true, checksumStart: 20, checksumOffset: 6 }, pseudoHeaderField(good)),
    withVirtio({ segmentation: 1, gsoSize: 700, needsChecksum: true }, tcp),
    withVirtio({ segmentation: 5, gsoSize: 7, needsChecksum: true }, good),
  ];
  for (const read of reads) {
    const first = rig.send(read);
    assert.equal(first.trains.length, 1);
    assert.deepEqual(rig.send(rig.left(read.length)), first);
  }
});

test('Egress: killed while it completes a checksum, it leaves a packet that the next process completes or sends as it is', () => {
  const partial = pseudoHeaderField(good);
  const read = withVirtio({ needsChecksum: true, checksumStart: 20, checksumOffset: 6 }, partial);
  for (const when of ['before', 'after'] as const) {
    const rig = createRig();
    rig.killAtStore(when);
    assert.throws(() => rig.send(read), /killed/);
    rig.recover();
    const [train] = rig.send(rig.left(read.length)).trains;
    assert.deepEqual(train?.segments[0]?.slice(22), good, when);
  }
});

test('Egress: a UDP checksum that comes out as 0 is sent as 0xffff', () => {
  const before = udpPacket({}, { payload: new Uint8Array(4) });
  const zero = udpPacket({}, { payload: new Uint8Array([before[26]!, before[27]!, 0, 0]) }); // !: the checksum field
  assert.deepEqual([...zero.subarray(26, 28)], [0xff, 0xff]);
  const read = withVirtio(
    { needsChecksum: true, checksumStart: 20, checksumOffset: 6 },
    pseudoHeaderField(zero),
  );
  assert.deepEqual(createRig().send(read).trains[0]?.segments[0]?.slice(22), zero);
});

/** The packet with its checksum field as the stack leaves it to the device. */
function pseudoHeaderField(packet: Uint8Array): Uint8Array {
  const copy = packet.slice();
  let sum = 17 + copy.length - 20;
  for (let at = 12; at < 20; at += 2) sum += (copy[at]! << 8) | copy[at + 1]!; // !: inside the header
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  copy[26] = sum >>> 8;
  copy[27] = sum & 255;
  return copy;
}

test(`Egress: mutated reads never throw, and bytes beyond the read decide nothing (seed ${seed})`, () => {
  const random = seededRandom(seed);
  const one = createRig(0x00);
  const other = createRig(0xff);
  const models = [
    withVirtio({}, good),
    withVirtio({ needsChecksum: true, checksumStart: 20, checksumOffset: 6 }, good),
    withVirtio({ segmentation: 1, gsoSize: 700, needsChecksum: true }, tcp),
    withVirtio({ segmentation: 5, gsoSize: 7, needsChecksum: true }, good),
  ];
  for (let round = 0; round < 3000; round++) {
    let read = models[round % models.length]!.slice(); // !: not empty
    for (let changes = 1 + randomInt(random, 4); changes > 0; changes--) {
      read[randomInt(random, Math.min(read.length, 60))] = randomInt(random, 256);
    }
    if (random() < 0.3) read = read.slice(0, randomInt(random, read.length));
    assert.deepEqual(one.send(read), other.send(read), `round ${round}`);
  }
});
