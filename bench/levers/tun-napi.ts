// What the NAPI flags of a TUN do for small TCP segments that are written one by one: the cost for the writer, and how many packets the
// pod gets after the kernel's GRO. IFF_NAPI alone flushes after every write; with gro_flush_timeout the device holds packets back and
// merges. IFF_NAPI_FRAGS exists for TAP only, so its device is one, and its packets bring an Ethernet header. The last variant is what the
// product does instead: it merges itself and writes one super-packet.
import { writeFileSync } from 'node:fs';

import type { Region } from '../../agent/linux/arena.ts';
import { libc } from '../../agent/linux/libc.ts';
import { ENCLOSURE, runCommand } from '../../test/lab/command.ts';
import { arena, costOf, expect, setIovec, threadNs } from './kernel.ts';
import { SEQUENCE_OFFSET, VIRTIO_NET_HDR_BYTES, tcpPacket } from './packets.ts';
import {
  IFF_NAPI,
  IFF_NAPI_FRAGS,
  IFF_TAP_NO_PI_VNET_HDR,
  makePod,
  openTunWith,
  podPackets,
} from './tun-lab.ts';
import { type Variant, compareInTurns } from './turns.ts';

const SEGMENTS = 4096;
const MERGED = 46;
const FLUSH_NS = 50_000;
/** Until the timer of gro_flush_timeout has surely run; spent in the kernel's time, not in the writer's. */
const SETTLE_NS = 2_000_000;

interface Device {
  readonly name: string;
  readonly flags: number;
  readonly mode?: number;
  readonly flushNs?: number;
}

const DEVICES: readonly (readonly [label: string, device: Device])[] = [
  ['TUN, no flag (product)', { name: 'plain', flags: 0 }],
  ['TUN, IFF_NAPI', { name: 'napi', flags: IFF_NAPI }],
  ['TUN, IFF_NAPI, gro_flush_timeout 50 µs', { name: 'napi-held', flags: IFF_NAPI, flushNs: FLUSH_NS }],
  ['TAP, no flag', { name: 'tap', flags: 0, mode: IFF_TAP_NO_PI_VNET_HDR }],
  [
    'TAP, IFF_NAPI | IFF_NAPI_FRAGS',
    { name: 'frags', flags: IFF_NAPI | IFF_NAPI_FRAGS, mode: IFF_TAP_NO_PI_VNET_HDR },
  ],
];

export async function measureTunNapi(): Promise<void> {
  await makePod();
  for (const payloadBytes of [64, 1398]) {
    const arrived = new Map<string, number>();
    const variants: Variant[] = [];
    const fds: number[] = [];
    for (const [label, device] of DEVICES) {
      const fd = await openTunWith({ ...device, address: '10.9.0.1' });
      fds.push(fd);
      if (device.flushNs !== undefined) {
        writeFileSync(`/sys/class/net/${device.name}/gro_flush_timeout`, String(device.flushNs));
        writeFileSync(`/sys/class/net/${device.name}/napi_defer_hard_irqs`, '1');
      }
      const mac = device.mode === undefined ? undefined : await macOf(device.name);
      variants.push(oneByOne({ label, fd, payloadBytes, mac, arrived }));
    }
    variants.push(
      merged({
        label: 'TUN, merged to super-packets of 46 (product)',
        fd: fds[0] ?? -1,
        payloadBytes,
        arrived,
      }),
    );
    await compareInTurns({
      title: `TUN writes of TCP segments of ${payloadBytes} B in sequence, up to the pod`,
      unit: 'ns of thread CPU per segment',
      rounds: 7,
      digits: 0,
      variants,
    });
    for (const [label, packets] of arrived) {
      process.stdout.write(`  ${label}: ${SEGMENTS} segments arrive as ${packets} packets\n`);
    }
    for (const fd of fds) libc.close(fd);
  }
}

interface Way {
  readonly label: string;
  readonly fd: number;
  readonly payloadBytes: number;
  readonly mac?: Uint8Array | undefined;
  readonly arrived: Map<string, number>;
}

function variant({ label, arrived }: Way, write: () => number): Variant {
  return {
    name: label,
    async take() {
      const before = await podPackets();
      let written = 0;
      const cost = costOf(SEGMENTS, () => (written = write()));
      expect(written, SEGMENTS, `segments written (${label})`);
      for (const until = threadNs() + SETTLE_NS; threadNs() < until;) continue;
      arrived.set(label, (await podPackets()) - before);
      return cost;
    },
  };
}

function oneByOne(way: Way): Variant {
  const { fd, payloadBytes, mac } = way;
  const packet = tcpPacket({ payloadBytes, sourcePort: 4000 + fd });
  const iovecs = arena.allocate(48);
  let count = 0;
  const add = (address: number, length: number): void => setIovec(iovecs, count++ * 16, address, length);
  add(packet.address, VIRTIO_NET_HDR_BYTES);
  if (mac !== undefined) {
    add(ethernetHeader(mac).address, 14);
    packet.view.setUint16(6, 34, true); // csum_start counts from the Ethernet header
  }
  add(packet.address + VIRTIO_NET_HDR_BYTES, packet.byteLength - VIRTIO_NET_HDR_BYTES);
  let sequence = 1;
  return variant(way, () => {
    let written = 0;
    for (let segment = 0; segment < SEGMENTS; segment++) {
      packet.view.setUint32(SEQUENCE_OFFSET, sequence >>> 0);
      sequence += payloadBytes;
      if (libc.writev(fd, iovecs.address, count) > 0) written++;
    }
    return written;
  });
}

function merged(way: Way): Variant {
  const of = (segments: number): Region =>
    tcpPacket({ payloadBytes: segments * way.payloadBytes, segmentBytes: way.payloadBytes });
  const packet = of(MERGED);
  const rest = of(SEGMENTS % MERGED);
  return variant(way, () => {
    let written = 0;
    while (written < SEGMENTS) {
      const isWhole = SEGMENTS - written >= MERGED;
      const { address, byteLength } = isWhole ? packet : rest;
      if (libc.write(way.fd, address, byteLength) < 0) break;
      written += isWhole ? MERGED : SEGMENTS % MERGED;
    }
    return written;
  });
}

async function macOf(device: string): Promise<Uint8Array> {
  const [link] = JSON.parse(await runCommand(ENCLOSURE, ['ip', '-j', 'link', 'show', device])) as {
    address: string;
  }[]; // as: iproute2's documented output
  return new Uint8Array((link?.address ?? '').split(':').map((octet) => Number.parseInt(octet, 16)));
}

function ethernetHeader(destination: Uint8Array): Region {
  const header = arena.allocate(14);
  header.bytes.set([...destination, 2, 0, 0, 0, 9, 2, 8, 0]);
  return header;
}
