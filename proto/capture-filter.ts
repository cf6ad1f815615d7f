// Which packets a capture wants: written by `weft capture` into the ring's header (capture-ring.ts), read once by each worker of the data
// plane, and evaluated there on every packet while the capture lasts. Nothing is allocated by the evaluation.
import { type Cidr, type Ipv4, ipv4 } from './address.ts';
import {
  IPV4_DESTINATION_OFFSET,
  IPV4_FRAGMENT_MASK,
  IPV4_FRAGMENT_OFFSET,
  IPV4_HEADER_BYTES,
  IPV4_PROTOCOL_OFFSET,
  IPV4_SOURCE_OFFSET,
  IP_PROTOCOL_TCP,
  IP_PROTOCOL_UDP,
} from './ipv4-packet.ts';

/** Where in the data plane a copy was taken; its number in a record is the place in this list. */
export const CAPTURE_POINTS = [
  'inner_egress', // read from the TUN and sent: as the node's stack handed it over, so maybe not cut into segments yet
  'inner_ingress', // taken out of a peer's datagram and written to the TUN: one by one, as it was on the wire
  'outer_egress', // what the underlay is given, from the VXLAN header on
  'outer_ingress', // what the underlay gave, before any check
  'dropped_egress',
  'dropped_ingress',
] as const;

export type CapturePoint = (typeof CAPTURE_POINTS)[number];

export const pointNumber = (point: CapturePoint): number => CAPTURE_POINTS.indexOf(point);

export interface CaptureFilter {
  readonly points: readonly CapturePoint[];
  /** Row of the statistics of a peer: FIRST_PEER_ROW + slot. */
  readonly row: number | undefined;
  /** Inner source or destination, or the outer address of the other node. */
  readonly host: Cidr | undefined;
  /** TCP or UDP port of the inner packet, source or destination. */
  readonly port: number | undefined;
  /** Of the inner packet. */
  readonly protocol: number | undefined;
  /** Place in DROP_REASONS; only refused packets have one. */
  readonly reason: number | undefined;
  /** So much of each packet is copied at most. */
  readonly snapLength: number;
}

const ANY = 0xffff_ffff;
const HOST_ANY = 0xff;

//   0        4     8           12           16     20         24       28            32
//   | points | row | host base | prefix u8  | port | protocol | reason | snap length |
export function encodeFilterInto(view: DataView, at: number, filter: CaptureFilter): void {
  view.setUint32(
    at,
    filter.points.reduce((mask, point) => mask | (1 << pointNumber(point)), 0),
    true,
  );
  view.setUint32(at + 4, filter.row ?? ANY, true);
  view.setUint32(at + 8, filter.host?.base ?? 0, true);
  view.setUint32(at + 12, filter.host?.prefixLength ?? HOST_ANY, true);
  view.setUint32(at + 16, filter.port ?? ANY, true);
  view.setUint32(at + 20, filter.protocol ?? ANY, true);
  view.setUint32(at + 24, filter.reason ?? ANY, true);
  view.setUint32(at + 28, filter.snapLength, true);
}

/** The packet in question, as CapturedBy asks it. */
export interface CaptureMatch {
  /** Whether packets of the point (its number) are wanted at all. */
  wants(point: number): boolean;
  /** `reason`: place in DROP_REASONS, or -1. */
  concerns(row: number, reason: number): boolean;
  /**
   * Whether the IPv4 packet at `ip`, of which `length` bytes are there, is wanted; `outer` is the other node's address, 0 = none. A packet
   * whose headers are not there is wanted only by who does not ask for them.
   */
  matches(ip: number, length: number, outer: Ipv4): boolean;
  readonly snapLength: number;
}

/** Reads the filter at `at` once; packets are looked at in `packets`. */
export function decodeFilter(view: DataView, at: number, packets: DataView): CaptureMatch {
  const points = view.getUint32(at, true);
  const row = view.getUint32(at + 4, true);
  const prefixLength = view.getUint32(at + 12, true);
  const anyHost = prefixLength > 32;
  const mask = prefixLength === 0 || anyHost ? 0 : (ANY << (32 - prefixLength)) >>> 0;
  const base = (view.getUint32(at + 8, true) & mask) >>> 0;
  const port = view.getUint32(at + 16, true);
  const protocol = view.getUint32(at + 20, true);
  const wantedReason = view.getUint32(at + 24, true);
  const asksOfPacket = !anyHost || port !== ANY || protocol !== ANY;
  const isHost = (address: number): boolean => (address & mask) >>> 0 === base;
  const hasPort = (ip: number, length: number): boolean => {
    const carried = packets.getUint8(ip + IPV4_PROTOCOL_OFFSET);
    if (carried !== IP_PROTOCOL_TCP && carried !== IP_PROTOCOL_UDP) return false;
    if ((packets.getUint16(ip + IPV4_FRAGMENT_OFFSET) & IPV4_FRAGMENT_MASK) !== 0) return false;
    const headerBytes = (packets.getUint8(ip) & 0x0f) * 4;
    if (length < headerBytes + 4) return false;
    return packets.getUint16(ip + headerBytes) === port || packets.getUint16(ip + headerBytes + 2) === port;
  };
  return {
    snapLength: view.getUint32(at + 28, true),
    wants: (point) => (points & (1 << point)) !== 0,
    concerns: (asked, reason) =>
      (row === ANY || asked === row) && (wantedReason === ANY || reason === wantedReason),
    matches(ip, length, outer) {
      if (!asksOfPacket) return true;
      const isPacket = length >= IPV4_HEADER_BYTES && packets.getUint8(ip) >>> 4 === 4;
      if (!anyHost) {
        const inner =
          isPacket &&
          (isHost(packets.getUint32(ip + IPV4_SOURCE_OFFSET)) ||
            isHost(packets.getUint32(ip + IPV4_DESTINATION_OFFSET)));
        if (!inner && (outer === 0 || !isHost(outer))) return false;
      }
      if (protocol !== ANY && !(isPacket && packets.getUint8(ip + IPV4_PROTOCOL_OFFSET) === protocol)) {
        return false;
      }
      return port === ANY || (isPacket && hasPort(ip, length));
    },
  };
}

/** No address: `outer` of a packet that concerns no other node. */
export const NO_OUTER: Ipv4 = ipv4(0);
