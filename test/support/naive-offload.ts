// What offloads do to packets, slowly and obviously: a virtio_net_hdr and a packet become the packets that the wire would show (RFC 9293,
// RFC 768, RFC 3168; net/ipv4/tcp_offload.c and udp_offload.c; skb_checksum_help()). The oracle of the data plane's segmentation and merging:
// nothing of the product is used but the constants of proto/. Checksums by a plain loop over big-endian words.
import {
  IPV4_CHECKSUM_OFFSET,
  IPV4_FRAGMENT_OFFSET,
  IPV4_HEADER_BYTES,
  IPV4_IDENTIFICATION_OFFSET,
  IPV4_IS_FRAGMENT_MASK,
  IPV4_PROTOCOL_OFFSET,
  IPV4_SOURCE_OFFSET,
  IPV4_TOTAL_LENGTH_OFFSET,
  IP_PROTOCOL_TCP,
  IP_PROTOCOL_UDP,
} from '../../proto/ipv4-packet.ts';
import {
  TCP_CHECKSUM_OFFSET,
  TCP_DATA_OFFSET_OFFSET,
  TCP_FLAGS_OFFSET,
  TCP_FLAG_CWR,
  TCP_FLAG_FIN,
  TCP_FLAG_PSH,
  TCP_HEADER_BYTES,
  TCP_SEQUENCE_OFFSET,
} from '../../proto/tcp.ts';
import { UDP_CHECKSUM_OFFSET, UDP_HEADER_BYTES, UDP_LENGTH_OFFSET } from '../../proto/udp.ts';

export const NEEDS_CHECKSUM = 1;
export const DATA_VALID = 2;
export const GSO_NONE = 0;
export const GSO_TCPV4 = 1;
export const GSO_UDP_L4 = 5;
export const GSO_ECN = 0x80;

/** struct virtio_net_hdr, little-endian. */
export interface Offload {
  readonly flags: number;
  readonly gsoType: number;
  readonly headerLength: number;
  readonly gsoSize: number;
  readonly checksumStart: number;
  readonly checksumOffset: number;
}

export const viewOver = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.length);

export function readOffload(header: Uint8Array): Offload {
  const view = viewOver(header);
  return {
    flags: view.getUint8(0),
    gsoType: view.getUint8(1),
    headerLength: view.getUint16(2, true),
    gsoSize: view.getUint16(4, true),
    checksumStart: view.getUint16(6, true),
    checksumOffset: view.getUint16(8, true),
  };
}

/** RFC 1071: the folded sum of the bytes as big-endian words, an odd last one padded with 0. */
export function onesSum(bytes: Uint8Array, from: number, to: number): number {
  let sum = 0;
  for (let at = from; at < to; at += 2) sum += bytes[at]! * 256 + (at + 1 < to ? bytes[at + 1]! : 0); // !: the caller's range
  return folded(sum);
}

export function folded(sum: number): number {
  let left = sum;
  while (left > 0xffff) left = (left & 0xffff) + Math.floor(left / 0x1_0000);
  return left;
}

export const headerBytesOf = (packet: Uint8Array): number => (packet[0]! & 0x0f) * 4; // !: not empty

export const isFragment = (view: DataView): boolean =>
  (view.getUint16(IPV4_FRAGMENT_OFFSET) & IPV4_IS_FRAGMENT_MASK) !== 0;

/** TCP or UDP of a packet that is no fragment; else 0. */
export const transportOf = (packet: Uint8Array): number => {
  const protocol = packet[IPV4_PROTOCOL_OFFSET]!; // !: a whole header
  const ported = protocol === IP_PROTOCOL_TCP || protocol === IP_PROTOCOL_UDP;
  return ported && !isFragment(viewOver(packet)) ? protocol : 0;
};

/** What a partial checksum field holds. */
export const pseudoSum = (packet: Uint8Array, protocol: number): number => {
  const transportBytes = packet.length - headerBytesOf(packet);
  return folded(onesSum(packet, IPV4_SOURCE_OFFSET, IPV4_SOURCE_OFFSET + 8) + protocol + transportBytes);
};

export const checksumFieldOf = (packet: Uint8Array, protocol: number): number =>
  headerBytesOf(packet) + (protocol === IP_PROTOCOL_TCP ? TCP_CHECKSUM_OFFSET : UDP_CHECKSUM_OFFSET);

/** Whether the field holds just the pseudo header's sum: the sender left the rest to whoever takes the packet. */
export function isPartial(packet: Uint8Array): boolean {
  const protocol = transportOf(packet);
  if (protocol === 0) return false;
  const view = viewOver(packet);
  const start = headerBytesOf(packet);
  if (protocol === IP_PROTOCOL_UDP && view.getUint16(start + UDP_LENGTH_OFFSET) !== packet.length - start) {
    return false;
  }
  return view.getUint16(checksumFieldOf(packet, protocol)) === pseudoSum(packet, protocol);
}

/** Whether the transport checksum is right and complete. */
export function isRight(packet: Uint8Array): boolean {
  const protocol = transportOf(packet);
  if (protocol === 0) return false;
  const sum = onesSum(packet, headerBytesOf(packet), packet.length);
  return folded(pseudoSum(packet, protocol) + sum) === 0xffff;
}

/** skb_checksum_help(): the sum from `start` to the end, field included; 0 is stored as 0xffff. */
export function completed(packet: Uint8Array, start: number, offset: number): Uint8Array {
  const copy = packet.slice();
  const sum = onesSum(copy, start, copy.length);
  viewOver(copy).setUint16(start + offset, 0xffff - sum || 0xffff);
  return copy;
}

/** The packet as it counts: with its checksum complete where it was partial. */
export function wholeOf(packet: Uint8Array): Uint8Array {
  if (!isPartial(packet)) return packet;
  const start = headerBytesOf(packet);
  return completed(packet, start, checksumFieldOf(packet, transportOf(packet)) - start);
}

/** The packets that a virtio_net_hdr and a packet stand for. */
export function cut(offload: Offload, packet: Uint8Array): Uint8Array[] {
  switch (offload.gsoType & ~GSO_ECN) {
    case GSO_NONE:
      return (offload.flags & NEEDS_CHECKSUM) === 0
        ? [packet]
        : [completed(packet, offload.checksumStart, offload.checksumOffset)];
    case GSO_TCPV4:
      return cutTcp(packet, offload.gsoSize);
    case GSO_UDP_L4:
      return cutUdp(packet, offload);
    default:
      throw new Error(`GSO type ${offload.gsoType} is none that this device has`);
  }
}

/** FIN and PSH on the last only, CWR on the first only; sequence and identification count up; everything else is the same. */
function cutTcp(packet: Uint8Array, gsoSize: number): Uint8Array[] {
  const tcp = headerBytesOf(packet);
  const headers = tcp + (packet[tcp + TCP_DATA_OFFSET_OFFSET]! >>> 4) * 4; // !: a whole header
  const sequence = viewOver(packet).getUint32(tcp + TCP_SEQUENCE_OFFSET);
  return pieces(packet, headers, gsoSize).map((segment, index, all) => {
    const view = viewOver(segment);
    view.setUint32(tcp + TCP_SEQUENCE_OFFSET, (sequence + index * gsoSize) % 2 ** 32);
    let flags = segment[tcp + TCP_FLAGS_OFFSET]!; // !: a whole header
    if (index < all.length - 1) flags &= ~(TCP_FLAG_FIN | TCP_FLAG_PSH);
    if (index > 0) flags &= ~TCP_FLAG_CWR;
    segment[tcp + TCP_FLAGS_OFFSET] = flags;
    view.setUint16(tcp + TCP_CHECKSUM_OFFSET, 0);
    const sum = folded(pseudoSum(segment, IP_PROTOCOL_TCP) + onesSum(segment, tcp, segment.length));
    view.setUint16(tcp + TCP_CHECKSUM_OFFSET, 0xffff - sum);
    return segment;
  });
}

/** Without a checksum it stays without, unless one is asked for; a computed 0 is sent as 0xffff (RFC 768). */
function cutUdp(packet: Uint8Array, { gsoSize, flags }: Offload): Uint8Array[] {
  const udp = headerBytesOf(packet);
  const checksummed =
    (flags & NEEDS_CHECKSUM) !== 0 || viewOver(packet).getUint16(udp + UDP_CHECKSUM_OFFSET) !== 0;
  return pieces(packet, udp + UDP_HEADER_BYTES, gsoSize).map((segment) => {
    const view = viewOver(segment);
    view.setUint16(udp + UDP_LENGTH_OFFSET, segment.length - udp);
    view.setUint16(udp + UDP_CHECKSUM_OFFSET, 0);
    if (!checksummed) return segment;
    const sum = folded(pseudoSum(segment, IP_PROTOCOL_UDP) + onesSum(segment, udp, segment.length));
    view.setUint16(udp + UDP_CHECKSUM_OFFSET, 0xffff - sum || 0xffff);
    return segment;
  });
}

/** Copies of the headers before each piece of the payload, as IPv4 packets of their own: length, identification, header checksum. */
function pieces(packet: Uint8Array, headers: number, gsoSize: number): Uint8Array[] {
  const identification = viewOver(packet).getUint16(IPV4_IDENTIFICATION_OFFSET);
  const segments: Uint8Array[] = [];
  for (let at = headers; at < packet.length; at += gsoSize) {
    const payload = packet.subarray(at, at + gsoSize);
    const segment = new Uint8Array(headers + payload.length);
    segment.set(packet.subarray(0, headers));
    segment.set(payload, headers);
    const view = viewOver(segment);
    view.setUint16(IPV4_TOTAL_LENGTH_OFFSET, segment.length);
    view.setUint16(IPV4_IDENTIFICATION_OFFSET, (identification + segments.length) % 0x1_0000);
    view.setUint16(IPV4_CHECKSUM_OFFSET, 0);
    view.setUint16(IPV4_CHECKSUM_OFFSET, 0xffff - onesSum(segment, 0, headerBytesOf(segment)));
    segments.push(segment);
  }
  return segments;
}

/** What keeps its order among itself: the 5-tuple; fragments and what has no ports by their addresses and protocol. */
export function flowOf(packet: Uint8Array): string {
  const view = viewOver(packet);
  const start = headerBytesOf(packet);
  const ports = transportOf(packet) === 0 ? -1 : view.getUint32(start);
  const apart = isFragment(view) ? 'fragment' : packet[IPV4_PROTOCOL_OFFSET];
  return `${view.getUint32(IPV4_SOURCE_OFFSET)} ${view.getUint32(IPV4_SOURCE_OFFSET + 4)} ${apart} ${ports}`;
}

/** Header bytes of a TCP or UDP packet, IPv4 and transport. */
export const allHeaderBytesOf = (packet: Uint8Array): number => {
  const start = headerBytesOf(packet);
  return (
    start +
    (transportOf(packet) === IP_PROTOCOL_TCP
      ? (packet[start + TCP_DATA_OFFSET_OFFSET]! >>> 4) * 4 // !: a whole header
      : UDP_HEADER_BYTES)
  );
};

/** Why an inner packet of `available` bytes must be refused, or undefined: version, lengths, header checksum, transport header. */
export function refusalOf(bytes: Uint8Array): 'inner_header' | 'truncated' | 'inner_transport' | undefined {
  const view = viewOver(bytes);
  const headerBytes = headerBytesOf(bytes);
  const length = view.getUint16(IPV4_TOTAL_LENGTH_OFFSET);
  if (bytes[0]! >>> 4 !== 4 || headerBytes < IPV4_HEADER_BYTES) return 'inner_header'; // !: at least 20 bytes
  if (length > bytes.length || headerBytes > bytes.length) return 'truncated';
  if (length < headerBytes || onesSum(bytes, 0, headerBytes) !== 0xffff) return 'inner_header';
  const transportBytes = length - headerBytes;
  switch (transportOf(bytes)) {
    case IP_PROTOCOL_TCP: {
      if (transportBytes < TCP_HEADER_BYTES) return 'inner_transport';
      const tcpBytes = (bytes[headerBytes + TCP_DATA_OFFSET_OFFSET]! >>> 4) * 4; // !: bound checked
      return tcpBytes < TCP_HEADER_BYTES || tcpBytes > transportBytes ? 'inner_transport' : undefined;
    }
    case IP_PROTOCOL_UDP: {
      if (transportBytes < UDP_HEADER_BYTES) return 'inner_transport';
      const udpBytes = view.getUint16(headerBytes + UDP_LENGTH_OFFSET);
      return udpBytes < UDP_HEADER_BYTES || udpBytes > transportBytes ? 'inner_transport' : undefined;
    }
    default:
      return undefined;
  }
}
