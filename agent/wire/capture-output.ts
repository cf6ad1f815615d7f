// What `weft capture` writes: captured packets as a pcapng file, or as lines. Both get the same packets; the file's interfaces are the
// places in the data plane where copies are taken. Pure: bytes and text out, names and addresses in.
import { type Ipv4, formatIpv4 } from '../../proto/address.ts';
import type { CapturePoint } from '../../proto/capture-filter.ts';
import type { CapturedPacket } from '../../proto/capture-ring.ts';
import { OUTER_HEADER_BYTES, type UdpEnd, outerPacket } from './outer-packet.ts';
import { packetLine } from './packet-line.ts';
import {
  enhancedPacket,
  interfaceDescription,
  interfaceStatistics,
  nameResolution,
  sectionHeader,
} from './pcapng.ts';

export interface CaptureSurroundings {
  /** This node's end of the tunnel. */
  readonly own: UdpEnd;
  /** The name of the node in a slot; undefined: there is none any more. */
  readonly nameOfSlot: (slot: number) => string | undefined;
  readonly names: readonly { readonly address: Ipv4; readonly name: string }[];
  /** Microseconds since 1970 of a moment on CLOCK_MONOTONIC. */
  readonly wallUs: (monotonicMs: number) => number;
  readonly version: string;
  readonly snapLength: number;
}

/** In the order of their numbers in the file. */
const INTERFACES = [
  {
    name: 'inner-egress',
    description: 'from the pods: as read from the TUN, maybe larger than the MTU and with partial checksums',
  },
  { name: 'inner-ingress', description: 'to the pods: as taken out of the datagrams of other nodes' },
  {
    name: 'outer',
    description:
      'VXLAN to and from other nodes; the IPv4 and UDP headers are reconstructed, all behind them is real',
  },
  { name: 'dropped', description: 'refused packets; the comment of each has the reason' },
] as const;

const INTERFACE_OF: Readonly<Record<CapturePoint, number>> = {
  inner_egress: 0,
  inner_ingress: 1,
  outer_egress: 2,
  outer_ingress: 2,
  dropped_egress: 3,
  dropped_ingress: 3,
};

const isInbound = (point: CapturePoint): boolean => point.endsWith('ingress');

const peerOf = (packet: CapturedPacket, { nameOfSlot }: CaptureSurroundings): string => {
  const known = packet.slot === undefined ? undefined : nameOfSlot(packet.slot);
  return known ?? (packet.outerAddress === 0 ? '' : formatIpv4(packet.outerAddress));
};

/** What a pcapng file starts with. */
export function fileHeader(
  surroundings: CaptureSurroundings,
  about: { readonly node: string; readonly command: string },
): Uint8Array {
  const { snapLength, version, names, own } = surroundings;
  // The same for all: libpcap reads no file whose interfaces differ. Outer packets are longer by the headers that are made here.
  return concat([
    sectionHeader({
      application: `weft ${version}`,
      system: 'Linux',
      comment: `node ${about.node}: ${about.command}; the tunnel is VXLAN on UDP ${own.port} (Wireshark: Decode As, tshark: -d udp.port==${own.port},vxlan)`,
    }),
    ...INTERFACES.map(({ name, description }) =>
      interfaceDescription({ name, description, snapLength: snapLength + OUTER_HEADER_BYTES }),
    ),
    nameResolution(names),
  ]);
}

export function filePacket(packet: CapturedPacket, surroundings: CaptureSurroundings): Uint8Array {
  const inbound = isInbound(packet.point);
  const peer = peerOf(packet, surroundings);
  const about = peer === '' ? '' : `${inbound ? 'from' : 'to'} ${peer}`;
  const comment = [about, packet.reason === undefined ? '' : `dropped: ${packet.reason}`]
    .filter((part) => part !== '')
    .join(', ');
  const { bytes, length } = packet.form === 'packet' ? packet : withOuterHeaders(packet, surroundings);
  return enhancedPacket({
    interface: INTERFACE_OF[packet.point],
    timeUs: surroundings.wallUs(packet.timeMs),
    bytes,
    length,
    isInbound: inbound,
    comment,
  });
}

function withOuterHeaders(
  packet: CapturedPacket,
  { own }: CaptureSurroundings,
): { bytes: Uint8Array; length: number } {
  const other: UdpEnd = { address: packet.outerAddress, port: packet.outerPort };
  const ends = isInbound(packet.point)
    ? { source: other, destination: own }
    : { source: { address: own.address, port: packet.sourcePort ?? own.port }, destination: other };
  const bytes = outerPacket(packet.bytes, packet.length, ends);
  return { bytes, length: bytes.length - packet.bytes.length + packet.length };
}

/** What it ends with: `counts` by interface; what was left out cannot be told apart and is said of each. */
export function fileTrailer(counts: readonly number[], leftOut: number, timeUs: number): Uint8Array {
  return concat(
    INTERFACES.map((_, index) =>
      interfaceStatistics({
        interface: index,
        timeUs,
        received: (counts[index] ?? 0) + leftOut,
        dropped: leftOut,
      }),
    ),
  );
}

export const interfaceOf = (packet: CapturedPacket): number => INTERFACE_OF[packet.point];

/** With the line's end. */
export function line(packet: CapturedPacket, surroundings: CaptureSurroundings): string {
  const time = timeOfDay(surroundings.wallUs(packet.timeMs));
  return `${packetLine(packet, { time, peer: peerOf(packet, surroundings) })}\n`;
}

/** UTC, with microseconds: 15:04:05.123456 */
export function timeOfDay(us: number): string {
  const whole = Math.floor(us);
  const day = new Date(Math.floor(whole / 1000)).toISOString().slice(11, 19);
  return `${day}.${String(whole % 1_000_000).padStart(6, '0')}`;
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
