// UDP header (RFC 768). Big-endian. The checksum covers a pseudo header too: checksum.ts computes it, this file carries it.
//
//   0             2                  4        6          8
//   | source port | destination port | length | checksum | payload
import { viewOf } from './byte-view.ts';
import { type Decoded, decoded, refused } from './decoded.ts';
import { invariant } from './invariant.ts';

export const UDP_SOURCE_PORT_OFFSET = 0;
export const UDP_DESTINATION_PORT_OFFSET = 2;
export const UDP_LENGTH_OFFSET = 4;
export const UDP_CHECKSUM_OFFSET = 6;
export const UDP_HEADER_BYTES = 8;

export interface UdpDatagram {
  readonly sourcePort: number;
  readonly destinationPort: number;
  /** As on the wire, big-endian; swapBytes gives checksum.ts' order. 0 = none was computed; a computed 0 is sent as 0xffff. */
  readonly checksum: number;
  readonly payload: Uint8Array;
}

export type UdpRefusal = 'truncated' | 'length';

/** Bytes beyond the UDP length are the packet's surplus area (RFC 9868) and no part of the datagram. */
export function decodeUdp(bytes: Uint8Array): Decoded<UdpDatagram, UdpRefusal> {
  if (bytes.length < UDP_HEADER_BYTES) return refused('truncated');
  const view = viewOf(bytes);
  const length = view.getUint16(UDP_LENGTH_OFFSET);
  if (length < UDP_HEADER_BYTES || length > bytes.length) return refused('length');
  return decoded({
    sourcePort: view.getUint16(UDP_SOURCE_PORT_OFFSET),
    destinationPort: view.getUint16(UDP_DESTINATION_PORT_OFFSET),
    checksum: view.getUint16(UDP_CHECKSUM_OFFSET),
    payload: bytes.subarray(UDP_HEADER_BYTES, length),
  });
}

/** Writes header and payload; returns the bytes written. */
export function encodeUdpInto(target: Uint8Array, offset: number, datagram: UdpDatagram): number {
  const length = UDP_HEADER_BYTES + datagram.payload.length;
  invariant(length <= 0xffff, () => `UDP length ${length}: at most 65535`);
  const view = viewOf(target);
  view.setUint16(offset + UDP_SOURCE_PORT_OFFSET, datagram.sourcePort);
  view.setUint16(offset + UDP_DESTINATION_PORT_OFFSET, datagram.destinationPort);
  view.setUint16(offset + UDP_LENGTH_OFFSET, length);
  view.setUint16(offset + UDP_CHECKSUM_OFFSET, datagram.checksum);
  target.set(datagram.payload, offset + UDP_HEADER_BYTES);
  return length;
}
