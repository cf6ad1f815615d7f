// Packets that the TUN levers write: a virtio_net_hdr, IPv4 and UDP or TCP headers, and payload; the transport checksum partial, as the
// product writes what it merged. One template in the arena; the sequence number may be advanced in place.
import { type Region } from '../../agent/linux/arena.ts';
import { arena } from './kernel.ts';
import { FAR_ADDRESS, POD_ADDRESS } from './tun-lab.ts';

export const VIRTIO_NET_HDR_BYTES = 10;
export const UDP_HEADERS_BYTES = 28;
export const TCP_HEADERS_BYTES = 52;
const GSO_TCPV4 = 1;
const GSO_UDP_L4 = 5;
const NEEDS_CHECKSUM = 1;
const UDP = 17;
const TCP = 6;

export interface PacketOptions {
  readonly payloadBytes: number;
  /** Payload of a segment, where it is a super-packet. */
  readonly segmentBytes?: number;
  readonly sourcePort?: number;
}

const octets = (address: string): number[] => address.split('.').map(Number);

function sum(bytes: Uint8Array, from: number, to: number): number {
  let total = 0;
  for (let at = from; at < to; at += 2) total += (bytes[at]! << 8) | bytes[at + 1]!; // !: even lengths inside
  while (total > 0xffff) total = (total & 0xffff) + (total >>> 16);
  return total;
}

function packet(protocol: number, transportBytes: number, options: PacketOptions): Region {
  const { payloadBytes, segmentBytes, sourcePort = 4000 } = options;
  const headersBytes = 20 + transportBytes;
  const region = arena.allocate(VIRTIO_NET_HDR_BYTES + headersBytes + payloadBytes);
  const { view, bytes } = region;
  view.setUint8(0, NEEDS_CHECKSUM);
  if (segmentBytes !== undefined) {
    view.setUint8(1, protocol === UDP ? GSO_UDP_L4 : GSO_TCPV4);
    view.setUint16(2, headersBytes, true);
    view.setUint16(4, segmentBytes, true);
  }
  view.setUint16(6, 20, true);
  view.setUint16(8, protocol === UDP ? 6 : 16, true);
  const ip = VIRTIO_NET_HDR_BYTES;
  view.setUint8(ip, 0x45);
  view.setUint16(ip + 2, headersBytes + payloadBytes);
  view.setUint16(ip + 6, 0x4000);
  view.setUint8(ip + 8, 64);
  view.setUint8(ip + 9, protocol);
  bytes.set([...octets(FAR_ADDRESS), ...octets(POD_ADDRESS)], ip + 12);
  view.setUint16(ip + 10, ~sum(bytes, ip, ip + 20) & 0xffff);
  const transport = ip + 20;
  view.setUint16(transport, sourcePort);
  view.setUint16(transport + 2, 5001);
  const pseudo = sum(bytes, ip + 12, ip + 20) + protocol + transportBytes + payloadBytes;
  const partial = (pseudo & 0xffff) + (pseudo >>> 16);
  if (protocol === UDP) {
    view.setUint16(transport + 4, transportBytes + payloadBytes);
    view.setUint16(transport + 6, partial);
  } else {
    bytes.set([0x80, 0x10, 0xff, 0xff], transport + 12); // 32 bytes of header, ACK
    view.setUint16(transport + 16, partial);
    bytes.set([1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 1], transport + 20); // timestamps
  }
  return region;
}

export const udpPacket = (options: PacketOptions): Region => packet(UDP, UDP_HEADERS_BYTES - 20, options);
export const tcpPacket = (options: PacketOptions): Region => packet(TCP, TCP_HEADERS_BYTES - 20, options);

/** Where the TCP sequence number is, in a packet of tcpPacket. */
export const SEQUENCE_OFFSET: number = VIRTIO_NET_HDR_BYTES + 24;
