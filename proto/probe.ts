// The peer probe: payload of an Ethernet frame of type ETHERTYPE_PROBE inside VXLAN. A data plane asks its peer for a sign of life. A request
// that is padded asks whether the path takes so much: its answer is short, since the way back may take less, and says how much arrived.
// Answers as long as their request, with 0 for its length, are of an earlier release and mean the same. Big-endian.
//
//   0       4         5      6               8          12               20
//   | WPRB  | version | kind | request bytes | sequence | sender's time  | padding
import { viewOf } from './byte-view.ts';
import { type Decoded, decoded, refused } from './decoded.ts';
import { ETHERNET_DESTINATION_OFFSET, ETHERNET_HEADER_BYTES, MAC_BYTES } from './ethernet.ts';

/** How often a peer is probed that has traffic, is new, or owes an answer since a moment ago. */
export const PROBE_INTERVAL_MS = 1000;
/** How many of the other peers are probed in an interval, in turn. */
export const QUIET_PEERS_A_ROUND = 40;

export const PROBE_MAGIC_OFFSET = 0;
export const PROBE_VERSION_OFFSET = 4;
export const PROBE_KIND_OFFSET = 5;
/** In the answer to a padded request: its length, magic to padding. Otherwise 0. */
export const PROBE_REQUEST_BYTES_OFFSET = 6;
export const PROBE_SEQUENCE_OFFSET = 8;
/** Microseconds of the sender's clock, high word then low word. Opaque to who answers. */
export const PROBE_TIME_HIGH_OFFSET = 12;
export const PROBE_TIME_LOW_OFFSET = 16;
/** Without padding. */
export const PROBE_BYTES = 20;

export const PROBE_MAGIC = 0x57505242; // "WPRB"
export const PROBE_VERSION = 1;
export const PROBE_REQUEST = 1;
export const PROBE_REPLY = 2;

export interface Probe {
  readonly kind: typeof PROBE_REQUEST | typeof PROBE_REPLY;
  /** See PROBE_REQUEST_BYTES_OFFSET; 0 in a request. */
  readonly requestBytes: number;
  readonly sequence: number;
  readonly timeHigh: number;
  readonly timeLow: number;
  readonly padding: Uint8Array;
}

export type ProbeRefusal = 'truncated' | 'magic' | 'version' | 'kind' | 'request_bytes';

/** Decodes the frame's payload (not its Ethernet header). */
export function decodeProbe(bytes: Uint8Array): Decoded<Probe, ProbeRefusal> {
  if (bytes.length < PROBE_BYTES) return refused('truncated');
  const view = viewOf(bytes);
  if (view.getUint32(PROBE_MAGIC_OFFSET) !== PROBE_MAGIC) return refused('magic');
  if (view.getUint8(PROBE_VERSION_OFFSET) !== PROBE_VERSION) return refused('version');
  const kind = view.getUint8(PROBE_KIND_OFFSET);
  if (kind !== PROBE_REQUEST && kind !== PROBE_REPLY) return refused('kind');
  const requestBytes = view.getUint16(PROBE_REQUEST_BYTES_OFFSET);
  if (kind === PROBE_REQUEST && requestBytes !== 0) return refused('request_bytes');
  return decoded({
    kind,
    requestBytes,
    sequence: view.getUint32(PROBE_SEQUENCE_OFFSET),
    timeHigh: view.getUint32(PROBE_TIME_HIGH_OFFSET),
    timeLow: view.getUint32(PROBE_TIME_LOW_OFFSET),
    padding: bytes.subarray(PROBE_BYTES),
  });
}

/** Writes probe and padding; returns the bytes written. */
export function encodeProbeInto(target: Uint8Array, offset: number, probe: Probe): number {
  const view = viewOf(target);
  view.setUint32(offset + PROBE_MAGIC_OFFSET, PROBE_MAGIC);
  view.setUint8(offset + PROBE_VERSION_OFFSET, PROBE_VERSION);
  view.setUint8(offset + PROBE_KIND_OFFSET, probe.kind);
  view.setUint16(offset + PROBE_REQUEST_BYTES_OFFSET, probe.requestBytes);
  view.setUint32(offset + PROBE_SEQUENCE_OFFSET, probe.sequence);
  view.setUint32(offset + PROBE_TIME_HIGH_OFFSET, probe.timeHigh);
  view.setUint32(offset + PROBE_TIME_LOW_OFFSET, probe.timeLow);
  target.set(probe.padding, offset + PROBE_BYTES);
  return PROBE_BYTES + probe.padding.length;
}

/** Turns a checked request, without its padding, into its answer where it lies. `offset` is the frame's, `requestBytes` what arrived. */
export function answerProbeInPlace(bytes: Uint8Array, offset: number, requestBytes: number): void {
  for (let at = 0; at < MAC_BYTES; at += 1) {
    const destinationAt = offset + ETHERNET_DESTINATION_OFFSET + at;
    const octet = bytes[destinationAt]!; // !: the caller checked the frame
    bytes[destinationAt] = bytes[destinationAt + MAC_BYTES]!; // !: the caller checked the frame
    bytes[destinationAt + MAC_BYTES] = octet;
  }
  const probe = offset + ETHERNET_HEADER_BYTES;
  const told = requestBytes > PROBE_BYTES ? requestBytes : 0;
  bytes[probe + PROBE_KIND_OFFSET] = PROBE_REPLY;
  bytes[probe + PROBE_REQUEST_BYTES_OFFSET] = told >>> 8;
  bytes[probe + PROBE_REQUEST_BYTES_OFFSET + 1] = told & 0xff;
}
