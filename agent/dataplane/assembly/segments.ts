// AssemblyScript. Writes the headers and iovecs of a run of segments of one super-packet, as the kernel's software GSO does it
// (net/ipv4/tcp_offload.c, udp_offload.c): FIN and PSH on the last segment only, CWR on the first only, the identification counts up.
// The payload stays where it was read. The plain twin is test/support/packet-kernels-twin.ts.
import { complement, protocolLengthSum, sum } from './checksum';
import {
  CWR,
  FIN_PUSH,
  IOVEC_BYTES,
  OVERLAY_BYTES,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  SEGMENT_HEADERS_STRIDE,
} from '../kernel-layout';
import { base } from './memory';

/** Overlay, IPv4 and transport headers; up to 15 bytes more are overwritten, which the stride has room for. */
@inline
function copyHeaders(copy: usize, overlay: usize, ip: usize, headerBytes: i32): void {
  v128.store(copy, v128.load(overlay));
  v128.store(copy, v128.load(overlay, 16), 16);
  for (let at: usize = 0; at < <usize>headerBytes; at += 16) {
    v128.store(copy + OVERLAY_BYTES + at, v128.load(ip + at));
  }
}

@inline
function storeIovec(at: usize, offset: usize, length: i32): void {
  store<u64>(at, base + <u64>offset);
  store<u64>(at, <u64>length, 8);
}

/** `ipSum` is the sum of the header without length, identification and checksum. */
@inline
function patchIp(ip: usize, totalLength: i32, identification: i32, ipSum: i32): void {
  const lengthWord = bswap<u16>(<u16>totalLength);
  const identificationWord = bswap<u16>(<u16>identification);
  store<u16>(ip, lengthWord, 2);
  store<u16>(ip, identificationWord, 4);
  store<u16>(ip, complement(ipSum + lengthWord + identificationWord), 10);
}

@inline
function ipSumOf(ip: usize, ipHeaderBytes: i32): i32 {
  return sum(ip, ipHeaderBytes) - load<u16>(ip, 2) - load<u16>(ip, 4) - load<u16>(ip, 10);
}

/**
 * Segments `first` to `first + count - 1` of the TCP super-packet at `ip`: each header copy goes to the next stride from `copies` on, its two
 * iovecs (headers, payload) to the next 32 bytes from `iovecs` on. `overlay` has 32 readable bytes.
 */
export function cutTcp(
  ip: usize,
  ipHeaderBytes: i32,
  tcpHeaderBytes: i32,
  length: i32,
  gsoSize: i32,
  first: i32,
  count: i32,
  overlay: usize,
  copies: usize,
  iovecs: usize,
): void {
  const headerBytes = ipHeaderBytes + tcpHeaderBytes;
  const tcp = ip + ipHeaderBytes;
  const payloadBytes = length - headerBytes;
  const identification = <i32>bswap<u16>(load<u16>(ip, 4));
  const sequence = bswap<u32>(load<u32>(tcp, 4));
  const flags = <i32>load<u8>(tcp, 13);
  const ipSum = ipSumOf(ip, ipHeaderBytes);
  const tcpSum =
    sum(ip + 12, 8) +
    sum(tcp, tcpHeaderBytes) -
    load<u16>(tcp, 4) -
    load<u16>(tcp, 6) -
    (flags << 8) -
    load<u16>(tcp, 16);

  for (let index = first, end = first + count; index < end; index++) {
    const at = index * gsoSize;
    const size = min(gsoSize, payloadBytes - at);
    const copy = copies;
    copyHeaders(copy, overlay, ip, headerBytes);
    const segment = copy + OVERLAY_BYTES;
    patchIp(segment, headerBytes + size, identification + index, ipSum);

    let segmentFlags = flags;
    if (at + size < payloadBytes) segmentFlags &= ~FIN_PUSH;
    if (index > 0) segmentFlags &= ~CWR;
    const sequenceBytes = bswap<u32>(sequence + at);
    const header = segment + ipHeaderBytes;
    store<u32>(header, sequenceBytes, 4);
    store<u8>(header, <u8>segmentFlags, 13);
    const total =
      tcpSum +
      protocolLengthSum(PROTOCOL_TCP, tcpHeaderBytes + size) +
      (sequenceBytes & 0xffff) +
      (sequenceBytes >>> 16) +
      (segmentFlags << 8) +
      sum(ip + headerBytes + at, size);
    store<u16>(header, complement(total), 16);

    storeIovec(iovecs, copy, OVERLAY_BYTES + headerBytes);
    storeIovec(iovecs + IOVEC_BYTES, ip + headerBytes + at, size);
    iovecs += 2 * IOVEC_BYTES;
    copies += SEGMENT_HEADERS_STRIDE;
  }
}

/** As cutTcp, for a UDP super-packet. `checksummed` = 0 leaves the checksum 0: RFC 768, none. */
export function cutUdp(
  ip: usize,
  ipHeaderBytes: i32,
  checksummed: i32,
  length: i32,
  gsoSize: i32,
  first: i32,
  count: i32,
  overlay: usize,
  copies: usize,
  iovecs: usize,
): void {
  const headerBytes = ipHeaderBytes + 8;
  const udp = ip + ipHeaderBytes;
  const payloadBytes = length - headerBytes;
  const identification = <i32>bswap<u16>(load<u16>(ip, 4));
  const ipSum = ipSumOf(ip, ipHeaderBytes);
  const udpSum = sum(ip + 12, 8) + load<u16>(udp) + load<u16>(udp, 2);

  for (let index = first, end = first + count; index < end; index++) {
    const at = index * gsoSize;
    const size = min(gsoSize, payloadBytes - at);
    const copy = copies;
    copyHeaders(copy, overlay, ip, headerBytes);
    const segment = copy + OVERLAY_BYTES;
    patchIp(segment, headerBytes + size, identification + index, ipSum);

    const header = segment + ipHeaderBytes;
    const lengthWord = bswap<u16>(<u16>(8 + size));
    store<u16>(header, lengthWord, 4);
    let checksum: u16 = 0;
    if (checksummed) {
      checksum = complement(
        udpSum +
          protocolLengthSum(PROTOCOL_UDP, 8 + size) +
          lengthWord +
          sum(ip + headerBytes + at, size),
      );
      if (checksum == 0) checksum = 0xffff;
    }
    store<u16>(header, checksum, 6);

    storeIovec(iovecs, copy, OVERLAY_BYTES + headerBytes);
    storeIovec(iovecs + IOVEC_BYTES, ip + headerBytes + at, size);
    iovecs += 2 * IOVEC_BYTES;
    copies += SEGMENT_HEADERS_STRIDE;
  }
}
