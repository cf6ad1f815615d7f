// Differential with the kernel: random super-packets are handed to a veth that has no offloads, so that the kernel's software GSO cuts them
// (net/core/gso.c, net/ipv4/tcp_offload.c, udp_offload.c) and completes their checksums; what arrives at the other end is byte for byte
// what egress cuts, and what the naive implementation cuts. No header field differs.
//
//   packet socket with virtio_net_hdr ── k0 (no tso, no tx checksums) ═ veth ═ k1 ── packet socket
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';

import { ENCLOSURE, runScript } from '../lab/command.ts';
import { enterEnclosure } from '../lab/enclosure.ts';
import { type PacketTap, openPacketTap } from '../lab/packet-tap.ts';
import { GSO_NONE, GSO_UDP_L4, NEEDS_CHECKSUM, cut } from '../support/naive-offload.ts';
import { type EgressRig, createEgressRig } from '../support/offload-rig.ts';
import { Chance } from '../support/random-packets.ts';
import { type Read, bytesOf, randomRead } from '../support/random-reads.ts';
import { testSeed } from '../support/random.ts';

await enterEnclosure();

const CASES = Number(process.env['WEFT_KERNEL_CASES'] ?? 20_000);
const OVERLAY_BYTES = 22;
const VIRTIO_BYTES = 10;
const ETHERNET_BYTES = 14;
const CHECKSUM_START_AT = 6;
const UDP_MAX_SEGMENTS = 128;
const BOUND_MS = 2000;
/** Destination and source MAC of nobody, EtherType IPv4. */
const ETHERNET = Uint8Array.from([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0]);

let sender: PacketTap;
let receiver: PacketTap;
let egress: EgressRig;

before(async () => {
  await runScript(ENCLOSURE, [
    'echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6',
    'ip link add k0 mtu 65535 type veth peer name k1 mtu 65535',
    'ethtool -K k0 tx off tso off tx-udp-segmentation off gso on',
    'ethtool -K k1 gro off',
    'ip link set k0 up',
    'ip link set k1 up',
  ]);
  const indexOf = (name: string): number => Number(readFileSync(`/sys/class/net/${name}/ifindex`, 'utf8'));
  sender = openPacketTap(indexOf('k0'), 'send');
  receiver = openPacketTap(indexOf('k1'), 'receive');
  egress = createEgressRig();
});

after(() => {
  sender.close();
  receiver.close();
});

/** As the packet socket takes it: positions count from the Ethernet header. */
function framed(read: Read): Uint8Array {
  const bytes = bytesOf(read);
  const frame = new Uint8Array(bytes.length + ETHERNET_BYTES);
  frame.set(bytes.subarray(0, VIRTIO_BYTES));
  frame.set(ETHERNET, VIRTIO_BYTES);
  frame.set(bytes.subarray(VIRTIO_BYTES), VIRTIO_BYTES + ETHERNET_BYTES);
  const view = new DataView(frame.buffer);
  for (const at of [2, CHECKSUM_START_AT])
    view.setUint16(at, view.getUint16(at, true) + ETHERNET_BYTES, true);
  return frame;
}

/** The kernel takes UDP super-packets only with a checksum to complete and of at most 128 segments, and none of less than two. */
function isForKernel({ offload, packet }: Read): boolean {
  if ((offload.flags & NEEDS_CHECKSUM) === 0) return false;
  if (offload.gsoType === GSO_NONE) return true;
  const segments = Math.ceil((packet.length - offload.headerLength) / offload.gsoSize);
  return segments > 1 && (offload.gsoType !== GSO_UDP_L4 || segments <= UDP_MAX_SEGMENTS);
}

function cutByKernel(read: Read, count: number): Uint8Array[] {
  sender.send(framed(read));
  const packets: Uint8Array[] = [];
  while (packets.length < count) {
    const frame = receiver.receive(BOUND_MS);
    assert.ok(frame !== undefined, `${packets.length} of ${count} packets arrived`);
    packets.push(frame.subarray(ETHERNET_BYTES));
  }
  return packets;
}

const cutByEgress = (read: Read): Uint8Array[] =>
  egress
    .send([bytesOf(read)])
    .trains.flatMap(({ segments }) => segments.map((segment) => segment.subarray(OVERLAY_BYTES)));

function assertSame(actual: readonly Uint8Array[], expected: readonly Uint8Array[], what: string): void {
  assert.equal(actual.length, expected.length, what);
  for (const [index, packet] of expected.entries()) {
    if (Buffer.compare(actual[index]!, packet) === 0) continue; // !: as many
    assert.deepEqual(actual[index], packet, `${what}, packet ${index} of ${expected.length}`);
  }
}

test('egress cuts super-packets as the kernel does', (t) => {
  const seed = testSeed();
  t.diagnostic(`WEFT_TEST_SEED=${seed}`);
  const chance = new Chance(seed);
  let packets = 0;
  for (let done = 0; done < CASES;) {
    const read = randomRead(chance);
    if (!isForKernel(read)) continue;
    const what = `case ${done}: ${JSON.stringify(read.offload)}`;
    const naive = cut(read.offload, read.packet);
    const kernel = cutByKernel(read, naive.length);
    assertSame(naive, kernel, `naive, ${what}`);
    assertSame(cutByEgress(read), kernel, `egress, ${what}`);
    done += 1;
    packets += kernel.length;
  }
  assert.equal(receiver.receive(0), undefined, 'the kernel made no more packets');
  t.diagnostic(`${CASES} packets and super-packets, ${packets} on the wire`);
});
