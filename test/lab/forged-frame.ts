// VXLAN datagrams written byte by byte, right or wrong on purpose; independent of proto/, so that it can contradict it.
//
//   | flags 0x08 | 0 (3) | VNI (3) | 0 | inner: destination MAC (6) | source MAC (6) | type (2) | IPv4 (20) | UDP (8) | payload |

export interface FrameParts {
  readonly destinationMac: string;
  readonly sourceMac: string;
  /** Inner addresses, four decimal octets. */
  readonly source: string;
  readonly destination: string;
  readonly destinationPort: number;
  readonly payload: string;
  readonly vni?: number;
  readonly flags?: number;
  /** The reserved octet after the VNI. */
  readonly reserved?: number;
  readonly etherType?: number;
  /** What the IPv4 header says; by default the truth. */
  readonly totalLength?: number;
  readonly versionAndHeaderLength?: number;
  readonly protocol?: number;
}

const IPV4_AT = 22;
const UDP_AT = 42;
const PAYLOAD_AT = 50;

const macBytes = (text: string): Buffer => Buffer.from(text.replaceAll(':', ''), 'hex');
const addressBytes = (text: string): Buffer => Buffer.from(text.split('.').map(Number));

export function forgeFrame(parts: FrameParts): Uint8Array {
  const payload = Buffer.from(parts.payload);
  const frame = Buffer.alloc(PAYLOAD_AT + payload.length);
  frame[0] = parts.flags ?? 0x08;
  frame.writeUIntBE(parts.vni ?? 1, 4, 3);
  frame[7] = parts.reserved ?? 0;
  macBytes(parts.destinationMac).copy(frame, 8);
  macBytes(parts.sourceMac).copy(frame, 14);
  frame.writeUInt16BE(parts.etherType ?? 0x0800, 20);
  frame[IPV4_AT] = parts.versionAndHeaderLength ?? 0x45;
  frame.writeUInt16BE(parts.totalLength ?? frame.length - IPV4_AT, IPV4_AT + 2);
  frame[IPV4_AT + 8] = 64;
  frame[IPV4_AT + 9] = parts.protocol ?? 17;
  addressBytes(parts.source).copy(frame, IPV4_AT + 12);
  addressBytes(parts.destination).copy(frame, IPV4_AT + 16);
  frame.writeUInt16BE(checksum(frame.subarray(IPV4_AT, UDP_AT)), IPV4_AT + 10);
  frame.writeUInt16BE(40_000, UDP_AT);
  frame.writeUInt16BE(parts.destinationPort, UDP_AT + 2);
  frame.writeUInt16BE(8 + payload.length, UDP_AT + 4);
  payload.copy(frame, PAYLOAD_AT);
  frame.writeUInt16BE(udpChecksum(frame), UDP_AT + 6);
  return frame;
}

/** RFC 1071, two bytes at a time. */
function checksum(bytes: Uint8Array): number {
  const even = Buffer.concat([bytes, Buffer.alloc(bytes.length % 2)]);
  let sum = 0;
  for (let at = 0; at < even.length; at += 2) sum += even.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

function udpChecksum(frame: Buffer): number {
  const segment = frame.subarray(UDP_AT);
  const pseudoHeader = Buffer.alloc(12);
  frame.copy(pseudoHeader, 0, IPV4_AT + 12, IPV4_AT + 20);
  pseudoHeader[9] = 17;
  pseudoHeader.writeUInt16BE(segment.length, 10);
  return checksum(Buffer.concat([pseudoHeader, segment])) || 0xffff;
}
