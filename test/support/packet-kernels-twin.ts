// The packet kernels in plain TypeScript: the oracle of agent/dataplane/assembly/, written for the eye. Reads and writes the same records.
import type { PacketKernels } from '../../agent/dataplane/packet-kernels.ts';
import {
  CWR,
  FIN_PUSH,
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
  SEGMENT_HEADERS_STRIDE,
  STEP_UNKNOWN,
  WRITE_IOVECS_STRIDE,
  WRITE_PACKETS,
} from '../../agent/dataplane/kernel-layout.ts';
import { complement, fold, loadWord, protocolLengthSum, storeWord, sumWords } from '../../proto/checksum.ts';

const UDP_HEADER_BYTES = 8;
const NONE = 0;

interface Segments {
  readonly ip: number;
  readonly ipHeaderBytes: number;
  readonly transportHeaderBytes: number;
  readonly length: number;
  readonly gsoSize: number;
  readonly first: number;
  readonly count: number;
  readonly overlay: number;
  readonly copies: number;
  readonly iovecs: number;
}

export function createPlainKernels(bytes: Uint8Array): PacketKernels {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const u32 = (at: number): number => view.getUint32(at, true);
  const store = (at: number, value: number): void => view.setUint32(at, value, true);
  let base = 0n;
  let flows = 0;
  let ledger = 0;
  let writeIovecs = 0;

  const storeIovec = (at: number, offset: number, length: number): void => {
    view.setBigUint64(at, base + BigInt(offset), true);
    view.setBigUint64(at + 8, BigInt(length), true);
  };
  const clearedSum = (at: number, length: number): number => sumWords(bytes, at, length);

  /** Calls `patch` with the transport header's copy, and the place and size of the payload, for each segment. */
  const cut = (
    segments: Segments,
    patch: (header: number, index: number, at: number, size: number) => void,
  ): void => {
    const { ip, ipHeaderBytes, overlay } = segments;
    const headerBytes = ipHeaderBytes + segments.transportHeaderBytes;
    const payloadBytes = segments.length - headerBytes;
    for (let run = 0; run < segments.count; run++) {
      const index = segments.first + run;
      const at = index * segments.gsoSize;
      const size = Math.min(segments.gsoSize, payloadBytes - at);
      const copy = segments.copies + run * SEGMENT_HEADERS_STRIDE;
      const segment = copy + OVERLAY_BYTES;
      bytes.copyWithin(copy, overlay, overlay + OVERLAY_BYTES);
      bytes.copyWithin(segment, ip, ip + headerBytes);
      view.setUint16(segment + 2, headerBytes + size);
      view.setUint16(segment + 4, (view.getUint16(ip + 4) + index) & 0xffff);
      view.setUint16(segment + 10, 0);
      storeWord(bytes, segment + 10, complement(clearedSum(segment, ipHeaderBytes)));
      patch(segment + ipHeaderBytes, index, at, size);
      const iovec = segments.iovecs + run * 2 * IOVEC_BYTES;
      storeIovec(iovec, copy, OVERLAY_BYTES + headerBytes);
      storeIovec(iovec + IOVEC_BYTES, ip + headerBytes + at, size);
    }
  };

  const isVerified = (ip: number, totalLength: number): boolean => {
    const protocol = bytes[ip + 9] ?? 0;
    const transportBytes = totalLength - 20;
    const pseudo = sumWords(bytes, ip + 12, 8) + protocolLengthSum(protocol, transportBytes);
    const field = loadWord(bytes, ip + 20 + (protocol === PROTOCOL_TCP ? 16 : 6));
    if (field === fold(pseudo) || (protocol === PROTOCOL_UDP && field === 0)) return false;
    return fold(pseudo + sumWords(bytes, ip + 20, transportBytes)) === 0xffff;
  };

  /** Offsets in a frame whose bytes may differ from packet to packet of a flow. */
  const varies = (at: number, protocol: number): boolean => {
    const inIp = at - OVERLAY_BYTES;
    const inTransport = inIp - 20;
    if ((inIp >= 2 && inIp < 6) || (inIp >= 10 && inIp < 12)) return true;
    if (protocol === PROTOCOL_UDP) return inTransport >= 4 && inTransport < 8;
    return (inTransport >= 4 && inTransport < 8) || (inTransport >= 16 && inTransport < 18);
  };

  const hasHeadersOf = (frame: number, first: number, headerBytes: number): boolean => {
    const protocol = bytes[first + OVERLAY_BYTES + 9] ?? 0;
    for (let at = 0; at < OVERLAY_BYTES + headerBytes; at++) {
      if (varies(at, protocol)) continue;
      const allowed = protocol === PROTOCOL_TCP && at === OVERLAY_BYTES + 33 ? PUSH : 0;
      if ((((bytes[frame + at] ?? 0) ^ (bytes[first + at] ?? 0)) & ~allowed) !== 0) return false;
    }
    return true;
  };

  const extend = (flow: number, frame: number, { size, row }: { size: number; row: number }): boolean => {
    if (u32(flow + FLOW_STATE) !== FLOW_OPEN || u32(flow + FLOW_ROW) !== row) return false;
    const headerBytes = u32(flow + FLOW_HEADER_BYTES);
    const segmentBytes = u32(flow + FLOW_SEGMENT_BYTES);
    const first = u32(flow + FLOW_FIRST);
    if (size <= OVERLAY_BYTES + headerBytes) return false;
    if (!hasHeadersOf(frame, first - OVERLAY_BYTES, headerBytes)) return false;
    const ip = frame + OVERLAY_BYTES;
    const isTcp = bytes[ip + 9] === PROTOCOL_TCP;
    const totalLength = view.getUint16(ip + 2);
    const payloadBytes = totalLength - headerBytes;
    const wholeLength = u32(flow + FLOW_TOTAL_LENGTH) + payloadBytes;
    const steps = (view.getUint16(ip + 4) - u32(flow + FLOW_IDENTIFICATION)) & 0xffff;
    const step = u32(flow + FLOW_IDENTIFICATION_STEP);
    if (payloadBytes <= 0 || payloadBytes > segmentBytes || totalLength > size - OVERLAY_BYTES) return false;
    if (wholeLength > LARGEST_PACKET_BYTES) return false;
    if (step === STEP_UNKNOWN ? steps > 1 : steps !== step) return false;
    if (isTcp && view.getUint32(ip + 24) !== u32(flow + FLOW_NEXT_SEQUENCE)) return false;
    if (!isTcp && view.getUint16(ip + 24) !== payloadBytes + UDP_HEADER_BYTES) return false;
    if (fold(sumWords(bytes, ip, 20)) !== 0xffff) return false;
    if (u32(flow + FLOW_VERIFIED) === 0 && !isVerified(first, headerBytes + segmentBytes)) return false;
    store(flow + FLOW_VERIFIED, 1);
    if (!isVerified(ip, totalLength)) return false;

    const write = u32(flow + FLOW_WRITE);
    const entry = ledger + write * LEDGER_BYTES;
    const pieces = u32(entry + LEDGER_IOVECS);
    const packets = u32(entry + LEDGER_PACKETS) + 1;
    storeIovec(
      writeIovecs + write * WRITE_IOVECS_STRIDE + pieces * IOVEC_BYTES,
      ip + headerBytes,
      payloadBytes,
    );
    store(entry + LEDGER_IOVECS, pieces + 1);
    store(entry + LEDGER_PACKETS, packets);
    store(entry + LEDGER_WIRE_BYTES, u32(entry + LEDGER_WIRE_BYTES) + totalLength);
    const flags = isTcp ? (bytes[ip + 33] ?? 0) : 0;
    store(flow + FLOW_TOTAL_LENGTH, wholeLength);
    store(flow + FLOW_NEXT_SEQUENCE, u32(flow + FLOW_NEXT_SEQUENCE) + payloadBytes);
    store(flow + FLOW_IDENTIFICATION, view.getUint16(ip + 4));
    store(flow + FLOW_IDENTIFICATION_STEP, steps);
    store(flow + FLOW_LAST_FLAGS, flags);
    if (payloadBytes < segmentBytes || (flags & PUSH) !== 0 || packets === WRITE_PACKETS) {
      store(flow + FLOW_STATE, FLOW_CLOSED);
    }
    return true;
  };

  const find = (ip: number): number => {
    for (let flow = flows; flow < flows + FLOWS * FLOW_BYTES; flow += FLOW_BYTES) {
      if (u32(flow + FLOW_STATE) !== FLOW_OPEN) continue;
      const first = u32(flow + FLOW_FIRST);
      const isSame = [9, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23].every(
        (at) => bytes[first + at] === bytes[ip + at],
      );
      if (isSame) return flow;
    }
    return NONE;
  };

  return {
    sum: (offset, length) => {
      if (offset < 0 || length < 0 || offset + length > bytes.length) throw new RangeError('out of memory');
      return sumWords(bytes, offset, length);
    },
    setBase: (low, high) => void (base = (BigInt(high) << 32n) | BigInt(low)),
    setWrites: (flowRecords, writeLedger, iovecs) => {
      [flows, ledger, writeIovecs] = [flowRecords, writeLedger, iovecs];
    },
    cutTcp(ip, ipHeaderBytes, tcpHeaderBytes, length, gsoSize, first, count, overlay, copies, iovecs) {
      const segments = { ip, ipHeaderBytes, transportHeaderBytes: tcpHeaderBytes, length, gsoSize, first };
      const payload = ip + ipHeaderBytes + tcpHeaderBytes;
      const payloadBytes = length - ipHeaderBytes - tcpHeaderBytes;
      cut({ ...segments, count, overlay, copies, iovecs }, (header, index, at, size) => {
        const flags = bytes[header + 13] ?? 0;
        view.setUint32(header + 4, view.getUint32(ip + ipHeaderBytes + 4) + at);
        bytes[header + 13] = flags & ~(at + size < payloadBytes ? FIN_PUSH : 0) & ~(index > 0 ? CWR : 0);
        view.setUint16(header + 16, 0);
        const total =
          sumWords(bytes, ip + 12, 8) +
          protocolLengthSum(PROTOCOL_TCP, tcpHeaderBytes + size) +
          sumWords(bytes, header, tcpHeaderBytes) +
          sumWords(bytes, payload + at, size);
        storeWord(bytes, header + 16, complement(total));
      });
    },
    cutUdp(ip, ipHeaderBytes, checksummed, length, gsoSize, first, count, overlay, copies, iovecs) {
      const segments = { ip, ipHeaderBytes, transportHeaderBytes: UDP_HEADER_BYTES, length, gsoSize, first };
      const payload = ip + ipHeaderBytes + UDP_HEADER_BYTES;
      cut({ ...segments, count, overlay, copies, iovecs }, (header, _index, at, size) => {
        view.setUint16(header + 4, UDP_HEADER_BYTES + size);
        view.setUint16(header + 6, 0);
        if (checksummed === 0) return;
        const total =
          sumWords(bytes, ip + 12, 8) +
          protocolLengthSum(PROTOCOL_UDP, UDP_HEADER_BYTES + size) +
          sumWords(bytes, header, UDP_HEADER_BYTES) +
          sumWords(bytes, payload + at, size);
        storeWord(bytes, header + 6, complement(total) || 0xffff);
      });
    },
    take(offset, length, frameBytes, row) {
      let at = 0;
      for (; at < length; at += Math.min(frameBytes, length - at)) {
        const size = Math.min(frameBytes, length - at);
        if (size < OVERLAY_BYTES + 28) break;
        const flow = find(offset + at + OVERLAY_BYTES);
        if (flow === NONE || !extend(flow, offset + at, { size, row })) break;
      }
      return at;
    },
    close(ip) {
      const flow = find(ip);
      if (flow !== NONE) store(flow + FLOW_STATE, FLOW_CLOSED);
    },
  };
}
