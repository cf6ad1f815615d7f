// IPv4 header (RFC 791). Big-endian. Decoding verifies the header checksum, encoding computes it.
//
//   0                8 (bits)     16                     31
//   | version | IHL  | DSCP | ECN | total length          |  0
//   | identification              | -DM | fragment offset |  4
//   | time to live   | protocol   | header checksum       |  8
//   | source address                                      | 12
//   | destination address                                 | 16
//   | options, padded to 32 bits (IHL × 4 - 20 bytes)     | 20
import { type Ipv4, ipv4 } from './address.ts';
import { viewOf } from './byte-view.ts';
import { complement, fold, storeWord, sumWords } from './checksum.ts';
import { type Decoded, decoded, refused } from './decoded.ts';
import { invariant } from './invariant.ts';

export const IPV4_VERSION_IHL_OFFSET = 0;
export const IPV4_TYPE_OF_SERVICE_OFFSET = 1;
export const IPV4_TOTAL_LENGTH_OFFSET = 2;
export const IPV4_IDENTIFICATION_OFFSET = 4;
export const IPV4_FRAGMENT_OFFSET = 6;
export const IPV4_TIME_TO_LIVE_OFFSET = 8;
export const IPV4_PROTOCOL_OFFSET = 9;
export const IPV4_CHECKSUM_OFFSET = 10;
export const IPV4_SOURCE_OFFSET = 12;
export const IPV4_DESTINATION_OFFSET = 16;
export const IPV4_OPTIONS_OFFSET = 20;
/** Without options. */
export const IPV4_HEADER_BYTES = 20;
export const IPV4_MAX_HEADER_BYTES = 60;
export const IPV4_MAX_PACKET_BYTES = 65_535;
/** Version 4 and IHL 5: the first byte of a header without options. */
export const IPV4_VERSION_IHL_PLAIN = 0x45;

// Bits of the 16-bit word at IPV4_FRAGMENT_OFFSET.
export const IPV4_FLAG_RESERVED = 0x8000;
export const IPV4_FLAG_DONT_FRAGMENT = 0x4000;
export const IPV4_FLAG_MORE_FRAGMENTS = 0x2000;
/** In units of 8 bytes. */
export const IPV4_FRAGMENT_MASK = 0x1fff;
/** Any bit set: the packet is a fragment. */
export const IPV4_IS_FRAGMENT_MASK: number = IPV4_FLAG_MORE_FRAGMENTS | IPV4_FRAGMENT_MASK;

// ECN field of the type of service (RFC 3168 section 5).
export const ECN_MASK = 0x03;
export const ECN_NOT_CAPABLE = 0;
export const ECN_CAPABLE_1 = 1;
export const ECN_CAPABLE_0 = 2;
export const ECN_CONGESTION_EXPERIENCED = 3;

export const IP_PROTOCOL_ICMP = 1;
export const IP_PROTOCOL_TCP = 6;
export const IP_PROTOCOL_UDP = 17;

export interface Ipv4Fields {
  /** DSCP in the upper six bits, ECN in the lower two. */
  readonly typeOfService: number;
  readonly identification: number;
  /** RFC 791's unused flag: carried, not interpreted, as the kernel does. */
  readonly reservedFlag: boolean;
  readonly dontFragment: boolean;
  readonly moreFragments: boolean;
  /** Bytes, a multiple of 8. */
  readonly fragmentOffset: number;
  readonly timeToLive: number;
  readonly protocol: number;
  readonly source: Ipv4;
  readonly destination: Ipv4;
  /** Raw, 0 to 40 bytes, a multiple of 4. */
  readonly options: Uint8Array;
}

export interface Ipv4Header extends Ipv4Fields {
  /** Header, options and payload. */
  readonly totalLength: number;
}

export interface Ipv4Packet extends Ipv4Fields {
  readonly payload: Uint8Array;
}

export type Ipv4Refusal = 'truncated' | 'version' | 'header_length' | 'total_length' | 'header_checksum';

export const ipv4HeaderBytes = (fields: Ipv4Fields): number => IPV4_HEADER_BYTES + fields.options.length;

/**
 * The header alone: the rest of the packet need not be there, as in an ICMP error's quotation. A checksum of 0xffff where 0x0000 is meant is
 * taken (RFC 1624 section 3) and encoded as 0x0000.
 */
export function decodeIpv4Header(bytes: Uint8Array): Decoded<Ipv4Header, Ipv4Refusal> {
  if (bytes.length < IPV4_HEADER_BYTES) return refused('truncated');
  const view = viewOf(bytes);
  const versionIhl = view.getUint8(IPV4_VERSION_IHL_OFFSET);
  if (versionIhl >>> 4 !== 4) return refused('version');
  const headerBytes = (versionIhl & 0x0f) * 4;
  if (headerBytes < IPV4_HEADER_BYTES) return refused('header_length');
  if (headerBytes > bytes.length) return refused('truncated');
  const totalLength = view.getUint16(IPV4_TOTAL_LENGTH_OFFSET);
  if (totalLength < headerBytes) return refused('total_length');
  if (fold(sumWords(bytes, 0, headerBytes)) !== 0xffff) return refused('header_checksum');
  const fragment = view.getUint16(IPV4_FRAGMENT_OFFSET);
  return decoded({
    typeOfService: view.getUint8(IPV4_TYPE_OF_SERVICE_OFFSET),
    totalLength,
    identification: view.getUint16(IPV4_IDENTIFICATION_OFFSET),
    reservedFlag: (fragment & IPV4_FLAG_RESERVED) !== 0,
    dontFragment: (fragment & IPV4_FLAG_DONT_FRAGMENT) !== 0,
    moreFragments: (fragment & IPV4_FLAG_MORE_FRAGMENTS) !== 0,
    fragmentOffset: (fragment & IPV4_FRAGMENT_MASK) * 8,
    timeToLive: view.getUint8(IPV4_TIME_TO_LIVE_OFFSET),
    protocol: view.getUint8(IPV4_PROTOCOL_OFFSET),
    source: ipv4(view.getUint32(IPV4_SOURCE_OFFSET)),
    destination: ipv4(view.getUint32(IPV4_DESTINATION_OFFSET)),
    options: bytes.subarray(IPV4_OPTIONS_OFFSET, headerBytes),
  });
}

/** A whole packet. Bytes beyond its total length are the link's padding and no part of it. */
export function decodeIpv4Packet(bytes: Uint8Array): Decoded<Ipv4Packet, Ipv4Refusal> {
  const result = decodeIpv4Header(bytes);
  if (!result.ok) return result;
  const { totalLength, ...fields } = result.value;
  if (totalLength > bytes.length) return refused('total_length');
  return decoded({ ...fields, payload: bytes.subarray(ipv4HeaderBytes(fields), totalLength) });
}

/** Writes the header and its checksum; returns the bytes written. */
export function encodeIpv4HeaderInto(target: Uint8Array, offset: number, header: Ipv4Header): number {
  const headerBytes = ipv4HeaderBytes(header);
  invariant(
    headerBytes <= IPV4_MAX_HEADER_BYTES && headerBytes % 4 === 0,
    () => `IPv4 options of ${header.options.length} bytes: 0 to 40 and a multiple of 4`,
  );
  invariant(
    header.totalLength >= headerBytes && header.totalLength <= IPV4_MAX_PACKET_BYTES,
    () => `IPv4 total length ${header.totalLength}: ${headerBytes} to ${IPV4_MAX_PACKET_BYTES}`,
  );
  invariant(
    header.fragmentOffset % 8 === 0 && header.fragmentOffset <= IPV4_FRAGMENT_MASK * 8,
    () => `IPv4 fragment offset ${header.fragmentOffset}: 0 to 65528 and a multiple of 8`,
  );
  const view = viewOf(target);
  view.setUint8(offset + IPV4_VERSION_IHL_OFFSET, 0x40 | (headerBytes / 4));
  view.setUint8(offset + IPV4_TYPE_OF_SERVICE_OFFSET, header.typeOfService);
  view.setUint16(offset + IPV4_TOTAL_LENGTH_OFFSET, header.totalLength);
  view.setUint16(offset + IPV4_IDENTIFICATION_OFFSET, header.identification);
  view.setUint16(
    offset + IPV4_FRAGMENT_OFFSET,
    (header.reservedFlag ? IPV4_FLAG_RESERVED : 0) |
      (header.dontFragment ? IPV4_FLAG_DONT_FRAGMENT : 0) |
      (header.moreFragments ? IPV4_FLAG_MORE_FRAGMENTS : 0) |
      (header.fragmentOffset / 8),
  );
  view.setUint8(offset + IPV4_TIME_TO_LIVE_OFFSET, header.timeToLive);
  view.setUint8(offset + IPV4_PROTOCOL_OFFSET, header.protocol);
  view.setUint16(offset + IPV4_CHECKSUM_OFFSET, 0);
  view.setUint32(offset + IPV4_SOURCE_OFFSET, header.source);
  view.setUint32(offset + IPV4_DESTINATION_OFFSET, header.destination);
  target.set(header.options, offset + IPV4_OPTIONS_OFFSET);
  storeWord(target, offset + IPV4_CHECKSUM_OFFSET, complement(sumWords(target, offset, headerBytes)));
  return headerBytes;
}

/** Writes header and payload; returns the bytes written, which is the total length. */
export function encodeIpv4PacketInto(target: Uint8Array, offset: number, packet: Ipv4Packet): number {
  const totalLength = ipv4HeaderBytes(packet) + packet.payload.length;
  const headerBytes = encodeIpv4HeaderInto(target, offset, { ...packet, totalLength });
  target.set(packet.payload, offset + headerBytes);
  return totalLength;
}
