// ICMP (RFC 792): echo and destination unreachable by meaning, every other type carried whole. Big-endian. Decoding verifies the checksum,
// encoding computes it; it covers the message and no pseudo header.
//
//   0      1      2          4                         8
//   | type | code | checksum | identifier | sequence   | data                          echo
//   | type | code | checksum | 0 | length | next-hop MTU | the refused packet's start   unreachable (RFC 1191, RFC 4884)
import { viewOf } from './byte-view.ts';
import { complement, fold, storeWord, sumWords } from './checksum.ts';
import { type Decoded, decoded, refused } from './decoded.ts';

export const ICMP_TYPE_OFFSET = 0;
export const ICMP_CODE_OFFSET = 1;
export const ICMP_CHECKSUM_OFFSET = 2;
export const ICMP_REST_OFFSET = 4;
export const ICMP_IDENTIFIER_OFFSET = 4;
export const ICMP_SEQUENCE_OFFSET = 6;
export const ICMP_UNUSED_OFFSET = 4;
export const ICMP_QUOTED_WORDS_OFFSET = 5;
export const ICMP_NEXT_HOP_MTU_OFFSET = 6;
export const ICMP_HEADER_BYTES = 8;
/** An error's IPv4 packet is no longer than this (RFC 1812 section 4.3.2.3). */
export const ICMP_ERROR_MAX_PACKET_BYTES = 576;

export const ICMP_ECHO_REPLY = 0;
export const ICMP_DESTINATION_UNREACHABLE = 3;
export const ICMP_SOURCE_QUENCH = 4;
export const ICMP_REDIRECT = 5;
export const ICMP_ECHO_REQUEST = 8;
export const ICMP_TIME_EXCEEDED = 11;
export const ICMP_PARAMETER_PROBLEM = 12;

export const ICMP_CODE_HOST_UNREACHABLE = 1;
export const ICMP_CODE_PORT_UNREACHABLE = 3;
export const ICMP_CODE_FRAGMENTATION_NEEDED = 4;

/** Types that report an error: never answered by another error (RFC 1122 section 3.2.2). */
export const isIcmpErrorType = (type: number): boolean =>
  type === ICMP_DESTINATION_UNREACHABLE ||
  type === ICMP_SOURCE_QUENCH ||
  type === ICMP_REDIRECT ||
  type === ICMP_TIME_EXCEEDED ||
  type === ICMP_PARAMETER_PROBLEM;

export interface IcmpEcho {
  readonly kind: 'echo_request' | 'echo_reply';
  readonly identifier: number;
  readonly sequence: number;
  readonly data: Uint8Array;
}

export interface IcmpUnreachable {
  readonly kind: 'unreachable';
  readonly code: number;
  /** Meaningful with ICMP_CODE_FRAGMENTATION_NEEDED; 0 = not stated. */
  readonly nextHopMtu: number;
  /** Length of the quotation in 32-bit words where extensions follow it (RFC 4884), otherwise 0. */
  readonly quotedWords: number;
  /** Start of the packet that was refused: decodeIpv4Header reads it. */
  readonly quoted: Uint8Array;
}

export interface IcmpOther {
  readonly kind: 'other';
  readonly type: number;
  readonly code: number;
  /** The four bytes after the checksum. */
  readonly rest: number;
  readonly data: Uint8Array;
}

export type IcmpMessage = IcmpEcho | IcmpUnreachable | IcmpOther;
export type IcmpRefusal = 'truncated' | 'checksum' | 'echo_code' | 'unused_bits';

/** A checksum of 0xffff where 0x0000 is meant is taken and encoded as 0x0000. */
export function decodeIcmp(bytes: Uint8Array): Decoded<IcmpMessage, IcmpRefusal> {
  if (bytes.length < ICMP_HEADER_BYTES) return refused('truncated');
  if (fold(sumWords(bytes, 0, bytes.length)) !== 0xffff) return refused('checksum');
  const view = viewOf(bytes);
  const type = view.getUint8(ICMP_TYPE_OFFSET);
  const code = view.getUint8(ICMP_CODE_OFFSET);
  const data = bytes.subarray(ICMP_HEADER_BYTES);
  switch (type) {
    case ICMP_ECHO_REQUEST:
    case ICMP_ECHO_REPLY:
      if (code !== 0) return refused('echo_code');
      return decoded({
        kind: type === ICMP_ECHO_REQUEST ? 'echo_request' : 'echo_reply',
        identifier: view.getUint16(ICMP_IDENTIFIER_OFFSET),
        sequence: view.getUint16(ICMP_SEQUENCE_OFFSET),
        data,
      });
    case ICMP_DESTINATION_UNREACHABLE:
      if (view.getUint8(ICMP_UNUSED_OFFSET) !== 0) return refused('unused_bits');
      return decoded({
        kind: 'unreachable',
        code,
        nextHopMtu: view.getUint16(ICMP_NEXT_HOP_MTU_OFFSET),
        quotedWords: view.getUint8(ICMP_QUOTED_WORDS_OFFSET),
        quoted: data,
      });
    default:
      return decoded({ kind: 'other', type, code, rest: view.getUint32(ICMP_REST_OFFSET), data });
  }
}

/** Writes message and checksum; returns the bytes written. */
export function encodeIcmpInto(target: Uint8Array, offset: number, message: IcmpMessage): number {
  const body = message.kind === 'unreachable' ? message.quoted : message.data;
  encodeHeaderInto(viewOf(target.subarray(offset)), message);
  target.set(body, offset + ICMP_HEADER_BYTES);
  const length = ICMP_HEADER_BYTES + body.length;
  storeWord(target, offset + ICMP_CHECKSUM_OFFSET, complement(sumWords(target, offset, length)));
  return length;
}

/** The header with a checksum of 0. */
function encodeHeaderInto(view: DataView, message: IcmpMessage): void {
  view.setUint16(ICMP_CHECKSUM_OFFSET, 0);
  switch (message.kind) {
    case 'echo_request':
    case 'echo_reply':
      view.setUint8(ICMP_TYPE_OFFSET, message.kind === 'echo_request' ? ICMP_ECHO_REQUEST : ICMP_ECHO_REPLY);
      view.setUint8(ICMP_CODE_OFFSET, 0);
      view.setUint16(ICMP_IDENTIFIER_OFFSET, message.identifier);
      view.setUint16(ICMP_SEQUENCE_OFFSET, message.sequence);
      return;
    case 'unreachable':
      view.setUint8(ICMP_TYPE_OFFSET, ICMP_DESTINATION_UNREACHABLE);
      view.setUint8(ICMP_CODE_OFFSET, message.code);
      view.setUint8(ICMP_UNUSED_OFFSET, 0);
      view.setUint8(ICMP_QUOTED_WORDS_OFFSET, message.quotedWords);
      view.setUint16(ICMP_NEXT_HOP_MTU_OFFSET, message.nextHopMtu);
      return;
    case 'other':
      view.setUint8(ICMP_TYPE_OFFSET, message.type);
      view.setUint8(ICMP_CODE_OFFSET, message.code);
      view.setUint32(ICMP_REST_OFFSET, message.rest);
      return;
    default:
      message satisfies never;
  }
}
