// AssemblyScript. Takes frames that continue an open flow: every byte of their headers is what the flow's first packet has, but for what
// counts up; lengths, IPv4 checksum and transport checksum are right. Then only an iovec is added. Everything else is left to
// coalescing.ts. The plain twin is test/support/packet-kernels-twin.ts.
import { fold, protocolLengthSum, sum } from './checksum';
import {
  FLOWS,
  FLOW_BYTES,
  FLOW_CLOSED,
  FLOW_FIRST,
  FLOW_HEADER_BYTES,
  FLOW_IDENTIFICATION,
  FLOW_IDENTIFICATION_STEP,
  FLOW_LAST_FLAGS,
  FLOW_NEXT_SEQUENCE,
  FLOW_OPEN,
  FLOW_ROW,
  FLOW_SEGMENT_BYTES,
  FLOW_STATE,
  FLOW_TOTAL_LENGTH,
  FLOW_VERIFIED,
  FLOW_WRITE,
  IOVEC_BYTES,
  LARGEST_PACKET_BYTES,
  LEDGER_BYTES,
  LEDGER_IOVECS,
  LEDGER_PACKETS,
  LEDGER_WIRE_BYTES,
  OVERLAY_BYTES,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  PUSH,
  STEP_ONE,
  STEP_UNKNOWN,
  WRITE_IOVECS_STRIDE,
  WRITE_PACKETS,
} from '../kernel-layout';
import { base, flows, ledger, writeIovecs } from './memory';

/** The flow that grew last, 0 = none: most frames continue it. */
let current: usize = 0;

@inline
function be16(at: usize): i32 {
  return <i32>bswap<u16>(load<u16>(at));
}

/** Whether the transport checksum is complete and right. What looks partial is left to ingress: it may never have been cut. */
function isVerified(ip: usize, totalLength: i32, protocol: i32): bool {
  const transport = ip + 20;
  const transportBytes = totalLength - 20;
  const pseudo = sum(ip + 12, 8) + protocolLengthSum(protocol, transportBytes);
  const field = <u32>load<u16>(transport + (protocol == PROTOCOL_TCP ? 16 : 6));
  if (field == fold(pseudo)) return false;
  if (protocol == PROTOCOL_UDP && field == 0) return false; // none: merged ones would get one
  return fold(pseudo + sum(transport, transportBytes)) == 0xffff;
}

/** Overlay, IPv4 and transport headers as those of the flow's first frame, but for what differs from packet to packet. */
@inline
function hasHeadersOf(frame: usize, first: usize, headerBytes: i32, protocol: i32): bool {
  const VARIES: i8 = 0;
  // 16 … 31: overlay, IPv4 up to the protocol; the length and the identification vary.
  // 32 … 47: the IPv4 checksum varies, then addresses and ports; the last two are TCP's sequence or UDP's length.
  let differs = v128.xor(v128.load(frame), v128.load(first));
  differs = v128.or(
    differs,
    v128.and(
      v128.xor(v128.load(frame, 16), v128.load(first, 16)),
      i8x16(-1, -1, -1, -1, -1, -1, -1, -1, VARIES, VARIES, VARIES, VARIES, -1, -1, -1, -1),
    ),
  );
  differs = v128.or(
    differs,
    v128.and(
      v128.xor(v128.load(frame, 32), v128.load(first, 32)),
      i8x16(VARIES, VARIES, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, VARIES, VARIES),
    ),
  );
  if (protocol == PROTOCOL_TCP) {
    // 46 … 61: sequence, acknowledgment, offset, flags (PSH varies), window, checksum, urgent pointer.
    differs = v128.or(
      differs,
      v128.and(
        v128.xor(v128.load(frame, 46), v128.load(first, 46)),
        i8x16(VARIES, VARIES, VARIES, VARIES, -1, -1, -1, -1, -1, <i8>~PUSH, -1, -1, VARIES, VARIES, -1, -1),
      ),
    );
    for (let at: usize = OVERLAY_BYTES + 40; at < <usize>(OVERLAY_BYTES + headerBytes); at += 4) {
      if (load<u32>(frame + at) != load<u32>(first + at)) return false;
    }
  }
  return !v128.any_true(differs);
}

/** Adds the frame to the flow's write if it continues it. */
function extend(flow: usize, frame: usize, size: i32, row: i32): bool {
  if (load<u32>(flow, FLOW_STATE) != FLOW_OPEN || load<i32>(flow, FLOW_ROW) != row) return false;
  const headerBytes = load<i32>(flow, FLOW_HEADER_BYTES);
  if (size <= OVERLAY_BYTES + headerBytes) return false;
  const first = load<u32>(flow, FLOW_FIRST);
  const protocol = <i32>load<u8>(first, 9);
  if (!hasHeadersOf(frame, first - OVERLAY_BYTES, headerBytes, protocol)) return false;

  const ip = frame + OVERLAY_BYTES;
  const totalLength = be16(ip + 2);
  const payloadBytes = totalLength - headerBytes;
  const segmentBytes = load<i32>(flow, FLOW_SEGMENT_BYTES);
  const wholeLength = load<i32>(flow, FLOW_TOTAL_LENGTH) + payloadBytes;
  if (payloadBytes <= 0 || payloadBytes > segmentBytes || totalLength > size - OVERLAY_BYTES) return false;
  if (wholeLength > LARGEST_PACKET_BYTES) return false;

  const identification = be16(ip + 4);
  const steps = (identification - load<i32>(flow, FLOW_IDENTIFICATION)) & 0xffff;
  const step = load<i32>(flow, FLOW_IDENTIFICATION_STEP);
  if (step == STEP_UNKNOWN ? steps > STEP_ONE : steps != step) return false;
  let flags = 0;
  if (protocol == PROTOCOL_TCP) {
    if (bswap<u32>(load<u32>(ip, 24)) != load<u32>(flow, FLOW_NEXT_SEQUENCE)) return false;
    flags = <i32>load<u8>(ip, 33);
  } else if (be16(ip + 24) != payloadBytes + 8) {
    return false;
  }
  if (fold(sum(ip, 20)) != 0xffff) return false;
  if (load<u32>(flow, FLOW_VERIFIED) == 0) {
    if (!isVerified(first, headerBytes + segmentBytes, protocol)) return false;
    store<u32>(flow, 1, FLOW_VERIFIED);
  }
  if (!isVerified(ip, totalLength, protocol)) return false;

  const write = load<u32>(flow, FLOW_WRITE);
  const entry = ledger + write * LEDGER_BYTES;
  const pieces = load<u32>(entry, LEDGER_IOVECS);
  const packets = load<i32>(entry, LEDGER_PACKETS) + 1;
  const iovec = writeIovecs + write * WRITE_IOVECS_STRIDE + pieces * IOVEC_BYTES;
  store<u64>(iovec, base + <u64>(ip + headerBytes));
  store<u64>(iovec, <u64>payloadBytes, 8);
  store<u32>(entry, pieces + 1, LEDGER_IOVECS);
  store<i32>(entry, packets, LEDGER_PACKETS);
  store<i32>(entry, load<i32>(entry, LEDGER_WIRE_BYTES) + totalLength, LEDGER_WIRE_BYTES);

  store<i32>(flow, wholeLength, FLOW_TOTAL_LENGTH);
  store<u32>(flow, load<u32>(flow, FLOW_NEXT_SEQUENCE) + payloadBytes, FLOW_NEXT_SEQUENCE);
  store<i32>(flow, identification, FLOW_IDENTIFICATION);
  store<i32>(flow, steps, FLOW_IDENTIFICATION_STEP);
  store<i32>(flow, flags, FLOW_LAST_FLAGS);
  if (payloadBytes < segmentBytes || (flags & PUSH) != 0 || packets == WRITE_PACKETS) {
    store<u32>(flow, FLOW_CLOSED, FLOW_STATE);
  }
  return true;
}

/** The open flow with the addresses, ports and protocol of the packet at `ip`, 0 = none. */
function find(ip: usize): usize {
  const addresses = load<u64>(ip, 12);
  const ports = load<u32>(ip, 20);
  for (let flow = flows, end = flows + FLOWS * FLOW_BYTES; flow < end; flow += FLOW_BYTES) {
    if (load<u32>(flow, FLOW_STATE) != FLOW_OPEN) continue;
    const first = load<u32>(flow, FLOW_FIRST);
    if (
      load<u32>(first, 20) == ports &&
      load<u64>(first, 12) == addresses &&
      load<u8>(first, 9) == load<u8>(ip, 9)
    ) {
      return flow;
    }
  }
  return 0;
}

/**
 * Takes frames of `frameBytes` (the last may be shorter) from the `length` bytes at `offset` as long as each continues an open flow of `row`;
 * returns the bytes that were taken. Nothing of an unchecked frame is relied on: it is held against a first packet that was checked.
 */
export function take(offset: usize, length: i32, frameBytes: i32, row: i32): i32 {
  let at = 0;
  while (at < length) {
    const frame = offset + at;
    const size = min(frameBytes, length - at);
    if (current == 0 || !extend(current, frame, size, row)) {
      if (size < OVERLAY_BYTES + 28) break;
      const flow = find(frame + OVERLAY_BYTES);
      if (flow == 0 || flow == current || !extend(flow, frame, size, row)) break;
      current = flow;
    }
    at += size;
  }
  return at;
}

/** The flow of the packet at `ip` (no IPv4 options, at least 28 bytes) grows no more. */
export function close(ip: usize): void {
  const flow = find(ip);
  if (flow != 0) store<u32>(flow, FLOW_CLOSED, FLOW_STATE);
}
