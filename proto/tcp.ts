// TCP header (RFC 9293 section 3.1). Big-endian. The checksum covers a pseudo header too: checksum.ts computes it, this file carries it.
//
//   0                        16 (bits)              31
//   | source port            | destination port      |  0
//   | sequence number                                |  4
//   | acknowledgment number                          |  8
//   | data offset | flags    | window                | 12
//   | checksum               | urgent pointer        | 16
//   | options, padded to 32 bits (offset × 4 - 20)   | 20
import { viewOf } from './byte-view.ts';
import { type Decoded, decoded, refused } from './decoded.ts';
import { invariant } from './invariant.ts';

export const TCP_SOURCE_PORT_OFFSET = 0;
export const TCP_DESTINATION_PORT_OFFSET = 2;
export const TCP_SEQUENCE_OFFSET = 4;
export const TCP_ACKNOWLEDGMENT_OFFSET = 8;
/** Upper four bits: header length in 32-bit words; lower four: reserved bits and AE. */
export const TCP_DATA_OFFSET_OFFSET = 12;
export const TCP_FLAGS_OFFSET = 13;
export const TCP_WINDOW_OFFSET = 14;
export const TCP_CHECKSUM_OFFSET = 16;
export const TCP_URGENT_POINTER_OFFSET = 18;
export const TCP_OPTIONS_OFFSET = 20;
/** Without options. */
export const TCP_HEADER_BYTES = 20;
export const TCP_MAX_HEADER_BYTES = 60;

// Bits of the byte at TCP_FLAGS_OFFSET.
export const TCP_FLAG_FIN = 0x01;
export const TCP_FLAG_SYN = 0x02;
export const TCP_FLAG_PSH = 0x08;
export const TCP_FLAG_ACK = 0x10;
export const TCP_FLAG_ECE = 0x40;
export const TCP_FLAG_CWR = 0x80;

export const TCP_OPTION_END = 0;
export const TCP_OPTION_NO_OPERATION = 1;
export const TCP_OPTION_MAXIMUM_SEGMENT_SIZE = 2;

export interface TcpSegment {
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly sequence: number;
  readonly acknowledgment: number;
  /** Twelve bits: TCP_FLAG_*, and from the byte before it AE (Accurate ECN, RFC 9768) and the three reserved bits, not interpreted. */
  readonly flags: number;
  readonly window: number;
  /** As on the wire, big-endian; swapBytes gives checksum.ts' order. */
  readonly checksum: number;
  readonly urgentPointer: number;
  /** Raw, 0 to 40 bytes, a multiple of 4; decodeTcpOptions walks them. */
  readonly options: Uint8Array;
  readonly payload: Uint8Array;
}

export type TcpRefusal = 'truncated' | 'data_offset';

export interface TcpOption {
  readonly kind: number;
  /** Without kind and length. Empty for a no-operation. */
  readonly data: Uint8Array;
}

export type TcpOptionsRefusal = 'option_length';

export function decodeTcp(bytes: Uint8Array): Decoded<TcpSegment, TcpRefusal> {
  if (bytes.length < TCP_HEADER_BYTES) return refused('truncated');
  const view = viewOf(bytes);
  const offsetAndFlags = view.getUint16(TCP_DATA_OFFSET_OFFSET);
  const headerBytes = (offsetAndFlags >>> 12) * 4;
  if (headerBytes < TCP_HEADER_BYTES) return refused('data_offset');
  if (headerBytes > bytes.length) return refused('truncated');
  return decoded({
    sourcePort: view.getUint16(TCP_SOURCE_PORT_OFFSET),
    destinationPort: view.getUint16(TCP_DESTINATION_PORT_OFFSET),
    sequence: view.getUint32(TCP_SEQUENCE_OFFSET),
    acknowledgment: view.getUint32(TCP_ACKNOWLEDGMENT_OFFSET),
    flags: offsetAndFlags & 0x0fff,
    window: view.getUint16(TCP_WINDOW_OFFSET),
    checksum: view.getUint16(TCP_CHECKSUM_OFFSET),
    urgentPointer: view.getUint16(TCP_URGENT_POINTER_OFFSET),
    options: bytes.subarray(TCP_OPTIONS_OFFSET, headerBytes),
    payload: bytes.subarray(headerBytes),
  });
}

/** Writes header and payload; returns the bytes written. */
export function encodeTcpInto(target: Uint8Array, offset: number, segment: TcpSegment): number {
  const headerBytes = TCP_HEADER_BYTES + segment.options.length;
  invariant(
    headerBytes <= TCP_MAX_HEADER_BYTES && headerBytes % 4 === 0,
    () => `TCP options of ${segment.options.length} bytes: 0 to 40 and a multiple of 4`,
  );
  const view = viewOf(target);
  view.setUint16(offset + TCP_SOURCE_PORT_OFFSET, segment.sourcePort);
  view.setUint16(offset + TCP_DESTINATION_PORT_OFFSET, segment.destinationPort);
  view.setUint32(offset + TCP_SEQUENCE_OFFSET, segment.sequence);
  view.setUint32(offset + TCP_ACKNOWLEDGMENT_OFFSET, segment.acknowledgment);
  view.setUint16(offset + TCP_DATA_OFFSET_OFFSET, ((headerBytes / 4) << 12) | (segment.flags & 0x0fff));
  view.setUint16(offset + TCP_WINDOW_OFFSET, segment.window);
  view.setUint16(offset + TCP_CHECKSUM_OFFSET, segment.checksum);
  view.setUint16(offset + TCP_URGENT_POINTER_OFFSET, segment.urgentPointer);
  target.set(segment.options, offset + TCP_OPTIONS_OFFSET);
  target.set(segment.payload, offset + headerBytes);
  return headerBytes + segment.payload.length;
}

/** Walks a segment's options up to the end of the list; what follows it is padding. */
export function decodeTcpOptions(options: Uint8Array): Decoded<readonly TcpOption[], TcpOptionsRefusal> {
  const found: TcpOption[] = [];
  let at = 0;
  while (at < options.length) {
    const kind = options[at]!; // !: at < length
    if (kind === TCP_OPTION_END) break;
    if (kind === TCP_OPTION_NO_OPERATION) {
      found.push({ kind, data: options.subarray(at, at) });
      at += 1;
      continue;
    }
    const length = options[at + 1];
    if (length === undefined || length < 2 || at + length > options.length) return refused('option_length');
    found.push({ kind, data: options.subarray(at + 2, at + length) });
    at += length;
  }
  return decoded(found);
}
