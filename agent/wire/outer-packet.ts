// The outer packet of a captured frame. The data plane sees UDP payloads only: the IPv4 and UDP headers are the kernel's. They are made
// again here from what is known (addresses, ports, length), so that a reader takes the file apart by itself; identification, TTL and DSCP
// are not what was on the wire, and the UDP checksum is 0, which means "none".
import type { Ipv4 } from '../../proto/address.ts';
import { complement, storeWord, sumWords } from '../../proto/checksum.ts';
import {
  IPV4_CHECKSUM_OFFSET,
  IPV4_DESTINATION_OFFSET,
  IPV4_HEADER_BYTES,
  IPV4_MAX_PACKET_BYTES,
  IPV4_PROTOCOL_OFFSET,
  IPV4_SOURCE_OFFSET,
  IPV4_TIME_TO_LIVE_OFFSET,
  IPV4_TOTAL_LENGTH_OFFSET,
  IPV4_VERSION_IHL_PLAIN,
  IP_PROTOCOL_UDP,
} from '../../proto/ipv4-packet.ts';
import { UDP_HEADER_BYTES } from '../../proto/udp.ts';

export interface UdpEnd {
  readonly address: Ipv4;
  readonly port: number;
}

export const OUTER_HEADER_BYTES: number = IPV4_HEADER_BYTES + UDP_HEADER_BYTES;
const TIME_TO_LIVE = 64;

/** `frame` may be cut; `length` is what it was. */
export function outerPacket(
  frame: Uint8Array,
  length: number,
  ends: { readonly source: UdpEnd; readonly destination: UdpEnd },
): Uint8Array {
  const bytes = new Uint8Array(OUTER_HEADER_BYTES + frame.length);
  const view = new DataView(bytes.buffer);
  const total = Math.min(IPV4_MAX_PACKET_BYTES, OUTER_HEADER_BYTES + length);
  view.setUint8(0, IPV4_VERSION_IHL_PLAIN);
  view.setUint16(IPV4_TOTAL_LENGTH_OFFSET, total);
  view.setUint8(IPV4_TIME_TO_LIVE_OFFSET, TIME_TO_LIVE);
  view.setUint8(IPV4_PROTOCOL_OFFSET, IP_PROTOCOL_UDP);
  view.setUint32(IPV4_SOURCE_OFFSET, ends.source.address);
  view.setUint32(IPV4_DESTINATION_OFFSET, ends.destination.address);
  storeWord(bytes, IPV4_CHECKSUM_OFFSET, complement(sumWords(bytes, 0, IPV4_HEADER_BYTES)));
  view.setUint16(IPV4_HEADER_BYTES, ends.source.port);
  view.setUint16(IPV4_HEADER_BYTES + 2, ends.destination.port);
  view.setUint16(IPV4_HEADER_BYTES + 4, total - IPV4_HEADER_BYTES);
  bytes.set(frame, OUTER_HEADER_BYTES);
  return bytes;
}
