// Which send socket a packet leaves by: its outer source port is the flow's entropy for ECMP, RSS and SO_REUSEPORT (RFC 7348 section 5).
// Invariant: all packets of one flow leave by one socket, so their order is kept; fragments of a datagram too, by their addresses.
import {
  IPV4_DESTINATION_OFFSET,
  IPV4_FRAGMENT_OFFSET,
  IPV4_IS_FRAGMENT_MASK,
  IPV4_PROTOCOL_OFFSET,
  IPV4_SOURCE_OFFSET,
  IP_PROTOCOL_TCP,
  IP_PROTOCOL_UDP,
} from '../../proto/ipv4-packet.ts';

const SOCKET_SHIFT = 29; // the upper three bits: eight sockets
const PORTS_BYTES = 4;

/** 0 … SEND_SOCKETS - 1 for the packet at `ip`, whose header and length were checked. */
export function sendSocketOf(view: DataView, ip: number, headerBytes: number, length: number): number {
  const protocol = view.getUint8(ip + IPV4_PROTOCOL_OFFSET);
  let hash = Math.imul(view.getUint32(ip + IPV4_SOURCE_OFFSET) ^ protocol, 0x85eb_ca6b);
  hash = Math.imul((hash ^ (hash >>> 15)) + view.getUint32(ip + IPV4_DESTINATION_OFFSET), 0xc2b2_ae35);
  const ported = protocol === IP_PROTOCOL_TCP || protocol === IP_PROTOCOL_UDP;
  if (
    ported &&
    length >= headerBytes + PORTS_BYTES &&
    (view.getUint16(ip + IPV4_FRAGMENT_OFFSET) & IPV4_IS_FRAGMENT_MASK) === 0
  ) {
    hash = Math.imul((hash ^ (hash >>> 13)) + view.getUint32(ip + headerBytes), 0x27d4_eb2f);
  }
  return Math.imul(hash ^ (hash >>> 16), 0x9e37_79b1) >>> SOCKET_SHIFT;
}
