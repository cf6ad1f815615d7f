// What writing to the TUN costs the writer, with the way through the kernel up to a pod that drops it: small UDP packets one by one, by
// io_uring, and as one USO packet; TCP super-packets gathered from 46 payloads by writev(2) and by io_uring.
import type { Region } from '../../agent/linux/arena.ts';
import { libc } from '../../agent/linux/libc.ts';
import { IoUring, OPERATION } from './io-uring.ts';
import { arena, costOf, expect, setIovec } from './kernel.ts';
import { TCP_HEADERS_BYTES, VIRTIO_NET_HDR_BYTES, tcpPacket, udpPacket } from './packets.ts';
import { IFF_MULTI_QUEUE, TUN_ADDRESS, makePod, openTunWith, podPackets } from './tun-lab.ts';
import { type Variant, compareInTurns } from './turns.ts';

const PACKETS = 6400;
const PAYLOAD_BYTES = 64;
const SUPER_PACKETS = 256;
const SEGMENT_BYTES = 1398;
const SEGMENTS = 46;

interface Way {
  readonly name: string;
  /** Calls, and how many packets and bytes each writes. */
  readonly calls: number;
  readonly units: number;
  readonly bytes: number;
  /** Packets that the pod sees. */
  readonly arriving: number;
  readonly write: () => number;
}

export async function measureTunWrite(): Promise<void> {
  const tun = await openTunWith({ name: 'tun-write', flags: IFF_MULTI_QUEUE, address: TUN_ADDRESS });
  await makePod();
  await compareInTurns({
    title: `TUN write of UDP packets of ${PAYLOAD_BYTES} B, up to the pod`,
    unit: 'ns of thread CPU per packet',
    rounds: 11,
    digits: 0,
    variants: smallPackets(tun).map(measured),
  });
  await compareInTurns({
    title: `TUN write of a TCP super-packet of ${SEGMENTS} × ${SEGMENT_BYTES} B, up to the pod`,
    unit: 'µs of thread CPU per super-packet',
    rounds: 11,
    variants: superPackets(tun).map((way) => measured({ ...way, units: way.units * 1000 })),
  });
  libc.close(tun);
}

const measured = ({ name, calls, units, bytes, arriving, write }: Way): Variant => ({
  name,
  async take() {
    const before = await podPackets();
    let written = 0;
    const cost = costOf(units, () => {
      for (let call = 0; call < calls; call++) written += write();
    });
    expect(written, bytes, `bytes written (${name})`);
    expect((await podPackets()) - before, arriving, `packets at the pod (${name})`);
    return cost;
  },
});

function smallPackets(tun: number): Way[] {
  const packet = udpPacket({ payloadBytes: PAYLOAD_BYTES });
  const uso = udpPacket({ payloadBytes: 64 * PAYLOAD_BYTES, segmentBytes: PAYLOAD_BYTES });
  const iovecs = gathered(packet, [38, PAYLOAD_BYTES]);
  const of = { units: PACKETS, bytes: PACKETS * packet.byteLength, arriving: PACKETS };
  const single = { ...of, calls: PACKETS };
  return [
    { ...single, name: 'writev(), 2 iovecs (product)', write: () => libc.writev(tun, iovecs.address, 2) },
    { ...single, name: 'write()', write: () => libc.write(tun, packet.address, packet.byteLength) },
    ...[1, 16, 64].map((batch) => ({
      calls: PACKETS / batch,
      units: PACKETS,
      bytes: of.bytes,
      arriving: PACKETS,
      name: `io_uring WRITE, ${batch} at once`,
      write: ringWrite(tun, { operation: OPERATION.write, at: packet, length: packet.byteLength, batch }),
    })),
    {
      ...of,
      calls: PACKETS / 64,
      name: 'io_uring WRITEV, 64 at once',
      write: ringWrite(tun, { operation: OPERATION.writev, at: iovecs, length: 2, batch: 64 }),
    },
    {
      name: 'write() of one USO packet of 64 (product, equal sizes)',
      calls: PACKETS / 64,
      units: PACKETS,
      bytes: (PACKETS / 64) * uso.byteLength,
      arriving: PACKETS / 64,
      write: () => libc.write(tun, uso.address, uso.byteLength),
    },
  ];
}

function superPackets(tun: number): Way[] {
  const packet = tcpPacket({ payloadBytes: SEGMENTS * SEGMENT_BYTES, segmentBytes: SEGMENT_BYTES });
  const headers = VIRTIO_NET_HDR_BYTES + TCP_HEADERS_BYTES;
  const iovecs = gathered(packet, [headers, ...Array.from({ length: SEGMENTS }, () => SEGMENT_BYTES)]);
  const whole = gathered(packet, [packet.byteLength]);
  const of = { units: SUPER_PACKETS, bytes: SUPER_PACKETS * packet.byteLength, arriving: SUPER_PACKETS };
  return [
    {
      ...of,
      calls: SUPER_PACKETS,
      name: 'writev(), 1 + 46 iovecs (product)',
      write: () => libc.writev(tun, iovecs.address, 1 + SEGMENTS),
    },
    {
      ...of,
      calls: SUPER_PACKETS,
      name: 'writev(), 1 iovec',
      write: () => libc.writev(tun, whole.address, 1),
    },
    ...[1, 4, 16].map((batch) => ({
      calls: SUPER_PACKETS / batch,
      units: SUPER_PACKETS,
      bytes: of.bytes,
      arriving: SUPER_PACKETS,
      name: `io_uring WRITEV, 1 + 46 iovecs, ${batch} at once`,
      write: ringWrite(tun, { operation: OPERATION.writev, at: iovecs, length: 1 + SEGMENTS, batch }),
    })),
  ];
}

/** An iovec array over consecutive parts of a packet, each payload part apart from the next as buffers on the wire are. */
function gathered(packet: Region, parts: readonly number[]): Region {
  const iovecs = arena.allocate(parts.length * 16);
  let at = packet.address;
  for (const [index, length] of parts.entries()) {
    setIovec(iovecs, index * 16, at, length);
    at += length;
  }
  return iovecs;
}

/** Bytes that a batch wrote. */
function ringWrite(
  tun: number,
  way: { operation: number; at: Region; length: number; batch: number },
): () => number {
  const ring = new IoUring(64);
  const { operation, length, batch } = way;
  for (let index = 0; index < 64; index++)
    ring.prepare(index, { operation, fd: tun, address: way.at.address, length });
  return () => {
    const done = ring.submit(batch, batch);
    let written = 0;
    for (let index = 0; index < done; index++) written += ring.result(index);
    ring.forget(done);
    return written;
  };
}
