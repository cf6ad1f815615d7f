// What the kernel makes of a write to the TUN when it has to cut it, made from the packet's meaning.
import assert from 'node:assert/strict';

import { type Ipv4Packet, IP_PROTOCOL_UDP, decodeIpv4Packet } from '../../proto/ipv4-packet.ts';
import { decodeTcp } from '../../proto/tcp.ts';
import { decodeUdp } from '../../proto/udp.ts';
import { decodeVirtioNetHeader } from '../../proto/virtio-net.ts';
import { type TunWrite, tcpPacket, udpPacket } from './dataplane-rig.ts';

/** The segments of a write (net/ipv4/tcp_offload.c), or the packet where it is one. */
export function cut({ header, packet }: TunWrite): Uint8Array[] {
  const virtio = decodeVirtioNetHeader(header);
  const ip = decodeIpv4Packet(packet);
  assert.ok(virtio.ok && ip.ok);
  if (virtio.value.segmentation === 0) return [packet];
  if (ip.value.protocol === IP_PROTOCOL_UDP) return cutUdp(ip.value, virtio.value.gsoSize);
  const tcp = decodeTcp(ip.value.payload);
  assert.ok(tcp.ok);
  assert.equal(ip.value.payload.length + 20, packet.length);
  const { gsoSize, headerLength, checksumStart, checksumOffset } = virtio.value;
  assert.deepEqual(
    [headerLength, checksumStart, checksumOffset],
    [packet.length - tcp.value.payload.length, 20, 16],
  );
  const { payload, flags, sequence } = tcp.value;
  assert.ok(payload.length > gsoSize);
  const segments: Uint8Array[] = [];
  for (let at = 0; at < payload.length; at += gsoSize) {
    const isLast = at + gsoSize >= payload.length;
    segments.push(
      tcpPacket(
        { ...ip.value, identification: (ip.value.identification + segments.length) & 0xffff },
        {
          ...tcp.value,
          checksum: 0,
          sequence: (sequence + at) % 2 ** 32,
          flags: isLast ? flags : flags & ~0x09,
          payload: payload.subarray(at, at + gsoSize),
        },
      ),
    );
  }
  return segments;
}

/** The same for UDP (net/ipv4/udp_offload.c). */
function cutUdp(ip: Ipv4Packet, gsoSize: number): Uint8Array[] {
  const udp = decodeUdp(ip.payload);
  assert.ok(udp.ok);
  const { payload } = udp.value;
  return Array.from({ length: Math.ceil(payload.length / gsoSize) }, (_, index) =>
    udpPacket(
      { ...ip, identification: (ip.identification + index) & 0xffff },
      { ...udp.value, checksum: 0, payload: payload.subarray(index * gsoSize, (index + 1) * gsoSize) },
    ),
  );
}
