// Internet checksum (RFC 1071) in plain TypeScript: the oracle of the WebAssembly kernel, and for what is off the packet path.
// Sums are over 16-bit little-endian words and unfolded, as the kernel's are. The one's-complement sum does not depend on the byte order,
// so a folded sum is stored low byte first (storeWord) and is right on the wire. Invariant: an unfolded sum is below 2^32, which holds for
// any packet of 65,535 bytes and its pseudo header. Positional parameters: these run per packet and must not allocate.
import type { Ipv4 } from './address.ts';

export const CHECKSUM_BYTES = 2;

/** Sum of `length` bytes from `offset`, unfolded; an odd last byte counts as the low byte of a word. */
export function sumWords(bytes: Uint8Array, offset: number, length: number): number {
  const end = offset + length;
  const evenEnd = end - (length & 1);
  let sum = 0;
  for (let at = offset; at < evenEnd; at += 2) sum += bytes[at]! | (bytes[at + 1]! << 8); // !: the caller's range
  if (evenEnd !== end) sum += bytes[evenEnd]!; // !: the caller's range
  return sum;
}

/** One's-complement 16-bit sum of an unfolded one. 0 only for 0. */
export function fold(sum: number): number {
  const once = (sum & 0xffff) + (sum >>> 16);
  return (once & 0xffff) + (once >>> 16);
}

/** What goes into a checksum field, as a little-endian word: the folded sum, inverted. */
export const complement = (sum: number): number => ~fold(sum) & 0xffff;

/** Converts a word between the wire's order and the order of the sums. */
export const swapBytes = (word: number): number => ((word & 0xff) << 8) | ((word >>> 8) & 0xff);

export const loadWord = (bytes: Uint8Array, offset: number): number =>
  bytes[offset]! | (bytes[offset + 1]! << 8); // !: the caller's range

export function storeWord(bytes: Uint8Array, offset: number, word: number): void {
  bytes[offset] = word & 0xff;
  bytes[offset + 1] = word >>> 8;
}

/** The part of the pseudo header that is not addresses: add it to the sum of the eight address bytes of an IPv4 header. */
export const protocolLengthSum = (protocol: number, transportBytes: number): number =>
  (protocol << 8) + swapBytes(transportBytes);

/** RFC 9293 section 3.1, RFC 768: what a TCP or UDP checksum covers beside the segment. */
export interface PseudoHeader {
  readonly source: Ipv4;
  readonly destination: Ipv4;
  readonly protocol: number;
  /** TCP or UDP header and payload. */
  readonly transportBytes: number;
}

const addressSum = (address: number): number => swapBytes(address >>> 16) + swapBytes(address & 0xffff);

/** Unfolded sum of the IPv4 pseudo header. */
export const pseudoHeaderSum = (header: PseudoHeader): number =>
  addressSum(header.source) +
  addressSum(header.destination) +
  protocolLengthSum(header.protocol, header.transportBytes);

/** RFC 1624 equation 3: the checksum after one covered word changed. All three in the same byte order. */
export const updateChecksum = (checksum: number, before: number, after: number): number =>
  complement((~checksum & 0xffff) + (~before & 0xffff) + after);

/** A TCP or UDP segment with what its checksum needs. `pseudoHeader.transportBytes` is `segment.length`. */
export interface ChecksummedSegment {
  readonly pseudoHeader: PseudoHeader;
  readonly segment: Uint8Array;
  /** Of the checksum field in the segment: TCP_CHECKSUM_OFFSET or UDP_CHECKSUM_OFFSET. */
  readonly checksumOffset: number;
}

/** The word to store in the segment's checksum field, whatever the field holds now. UDP: store 0xffff where this is 0 (RFC 768). */
export const transportChecksum = ({ pseudoHeader, segment, checksumOffset }: ChecksummedSegment): number =>
  complement(
    pseudoHeaderSum(pseudoHeader) +
      sumWords(segment, 0, checksumOffset) +
      sumWords(segment, checksumOffset + CHECKSUM_BYTES, segment.length - checksumOffset - CHECKSUM_BYTES),
  );

/** `partial`: only the pseudo header's sum is in the field; whoever sent the packet left the rest to hardware that never saw it. */
export type TransportChecksumState = 'complete' | 'partial' | 'wrong';

export function transportChecksumState(checksummed: ChecksummedSegment): TransportChecksumState {
  const { pseudoHeader, segment, checksumOffset } = checksummed;
  const pseudo = pseudoHeaderSum(pseudoHeader);
  if (fold(pseudo + sumWords(segment, 0, segment.length)) === 0xffff) return 'complete';
  return loadWord(segment, checksumOffset) === fold(pseudo) ? 'partial' : 'wrong';
}
