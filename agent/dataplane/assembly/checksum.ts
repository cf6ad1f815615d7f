// AssemblyScript. The internet checksum (RFC 1071) over the arena, 64 bytes a step. Sums are over 16-bit little-endian words and unfolded, as
// in proto/checksum.ts, which is the plain twin; a sum over 65,535 bytes stays below 2^31.

export function sum(offset: usize, length: i32): i32 {
  let first: v128 = i64x2.splat(0);
  let second: v128 = i64x2.splat(0);
  let at = offset;
  for (const end = offset + (length & -64); at < end; at += 64) {
    first = i32x4.add(first, i32x4.extadd_pairwise_i16x8_u(v128.load(at)));
    second = i32x4.add(second, i32x4.extadd_pairwise_i16x8_u(v128.load(at, 16)));
    first = i32x4.add(first, i32x4.extadd_pairwise_i16x8_u(v128.load(at, 32)));
    second = i32x4.add(second, i32x4.extadd_pairwise_i16x8_u(v128.load(at, 48)));
  }
  for (const end = offset + (length & -16); at < end; at += 16) {
    first = i32x4.add(first, i32x4.extadd_pairwise_i16x8_u(v128.load(at)));
  }
  first = i32x4.add(first, second);
  let total =
    i32x4.extract_lane(first, 0) +
    i32x4.extract_lane(first, 1) +
    i32x4.extract_lane(first, 2) +
    i32x4.extract_lane(first, 3);
  for (const end = offset + (length & -2); at < end; at += 2) total += load<u16>(at);
  if (length & 1) total += load<u8>(at);
  return total;
}

/** One's-complement 16-bit sum of an unfolded one. */
@inline
export function fold(unfolded: u32): u32 {
  const once = (unfolded & 0xffff) + (unfolded >>> 16);
  return (once & 0xffff) + (once >>> 16);
}

/** What goes into a checksum field, as a little-endian word. */
@inline
export function complement(unfolded: u32): u16 {
  return <u16>(~fold(unfolded) & 0xffff);
}

/** The part of the pseudo header that is not addresses. */
@inline
export function protocolLengthSum(protocol: u32, transportBytes: u32): u32 {
  return (protocol << 8) + bswap<u16>(<u16>transportBytes);
}
