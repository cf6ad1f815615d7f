// A captured packet as one line for people, in the manner of tcpdump. What the headers do not hold, because the packet was cut or damaged, is
// said to be missing instead of guessed.
import { type Ipv4, formatIpv4, formatMac, ipv4 } from '../../proto/address.ts';
import { viewOf } from '../../proto/byte-view.ts';
import type { CapturedPacket } from '../../proto/capture-ring.ts';
import {
  ETHERNET_DESTINATION_OFFSET,
  ETHERNET_SOURCE_OFFSET,
  ETHERNET_TYPE_OFFSET,
  ETHERTYPE_IPV4,
  ETHERTYPE_PROBE,
  loadMac,
} from '../../proto/ethernet.ts';
import {
  ICMP_CODE_FRAGMENTATION_NEEDED,
  ICMP_CODE_HOST_UNREACHABLE,
  ICMP_CODE_PORT_UNREACHABLE,
  ICMP_DESTINATION_UNREACHABLE,
  ICMP_ECHO_REPLY,
  ICMP_ECHO_REQUEST,
  ICMP_HEADER_BYTES,
  ICMP_NEXT_HOP_MTU_OFFSET,
} from '../../proto/icmp.ts';
import {
  IPV4_DESTINATION_OFFSET,
  IPV4_FLAG_MORE_FRAGMENTS,
  IPV4_FRAGMENT_MASK,
  IPV4_FRAGMENT_OFFSET,
  IPV4_HEADER_BYTES,
  IPV4_PROTOCOL_OFFSET,
  IPV4_SOURCE_OFFSET,
  IPV4_TOTAL_LENGTH_OFFSET,
  IP_PROTOCOL_ICMP,
  IP_PROTOCOL_TCP,
  IP_PROTOCOL_UDP,
} from '../../proto/ipv4-packet.ts';
import { PROBE_BYTES, PROBE_REQUEST } from '../../proto/probe.ts';
import { PROBE_KIND_OFFSET, PROBE_SEQUENCE_OFFSET } from '../../proto/probe.ts';
import {
  TCP_DATA_OFFSET_OFFSET,
  TCP_FLAGS_OFFSET,
  TCP_HEADER_BYTES,
  TCP_SEQUENCE_OFFSET,
} from '../../proto/tcp.ts';
import { UDP_HEADER_BYTES } from '../../proto/udp.ts';
import { VXLAN_FLAGS_OFFSET, VXLAN_FLAGS_WORD, VXLAN_HEADER_BYTES } from '../../proto/vxlan.ts';
import { VXLAN_VNI_OFFSET, VXLAN_VNI_SHIFT } from '../../proto/vxlan.ts';

const ETHERNET_HEADER_BYTES = 14;
const FRAME_HEADER_BYTES = VXLAN_HEADER_BYTES + ETHERNET_HEADER_BYTES;
/** Bit 0 first, as tcpdump writes them. */
const TCP_FLAG_LETTERS = ['F', 'S', 'R', 'P', '.', 'U', 'E', 'W'];

const POINT_WORDS: Readonly<Record<CapturedPacket['point'], string>> = {
  inner_egress: 'inner out',
  inner_ingress: 'inner in ',
  outer_egress: 'outer out',
  outer_ingress: 'outer in ',
  dropped_egress: 'DROP  out',
  dropped_ingress: 'DROP  in ',
};

/** `time`: as it is to be shown; `peer`: who the packet goes to or comes from, '' where nobody is concerned. */
export function packetLine(
  packet: CapturedPacket,
  about: { readonly time: string; readonly peer: string },
): string {
  const what =
    packet.form === 'packet'
      ? ipv4Words(packet.bytes, packet.length)
      : frameWords(packet.bytes, packet.length);
  const reason = packet.reason === undefined ? '' : ` -- dropped: ${packet.reason}`;
  return `${about.time} ${POINT_WORDS[packet.point]} ${about.peer === '' ? '-' : about.peer} | ${what}${reason}`;
}

function frameWords(bytes: Uint8Array, length: number): string {
  if (bytes.length < FRAME_HEADER_BYTES) return `${length} B, too short for VXLAN and Ethernet headers`;
  const view = viewOf(bytes);
  const flags = view.getUint32(VXLAN_FLAGS_OFFSET);
  const vni = view.getUint32(VXLAN_VNI_OFFSET) >>> VXLAN_VNI_SHIFT;
  const vxlan = `vni ${vni}${flags === VXLAN_FLAGS_WORD ? '' : ` flags 0x${flags.toString(16).padStart(8, '0')}`}`;
  const source = formatMac(loadMac(view, VXLAN_HEADER_BYTES + ETHERNET_SOURCE_OFFSET));
  const destination = formatMac(loadMac(view, VXLAN_HEADER_BYTES + ETHERNET_DESTINATION_OFFSET));
  const etherType = view.getUint16(VXLAN_HEADER_BYTES + ETHERNET_TYPE_OFFSET);
  const inner = bytes.subarray(FRAME_HEADER_BYTES);
  return `${vxlan} ${source} > ${destination} | ${innerWords(etherType, inner, length - FRAME_HEADER_BYTES)}`;
}

function innerWords(etherType: number, inner: Uint8Array, length: number): string {
  if (etherType === ETHERTYPE_IPV4) return ipv4Words(inner, length);
  if (etherType !== ETHERTYPE_PROBE || inner.length < PROBE_BYTES) {
    return `ethertype 0x${etherType.toString(16).padStart(4, '0')}, ${length} B`;
  }
  const view = viewOf(inner);
  const kind = view.getUint8(PROBE_KIND_OFFSET) === PROBE_REQUEST ? 'request' : 'answer';
  return `peer probe ${kind} ${view.getUint32(PROBE_SEQUENCE_OFFSET)}, ${length} B`;
}

function ipv4Words(bytes: Uint8Array, length: number): string {
  if (bytes.length < IPV4_HEADER_BYTES) return `${length} B, too short for an IPv4 header`;
  const view = viewOf(bytes);
  const version = view.getUint8(0) >>> 4;
  if (version !== 4) return `IP version ${version}, ${length} B`;
  const headerBytes = (view.getUint8(0) & 0x0f) * 4;
  const total = view.getUint16(IPV4_TOTAL_LENGTH_OFFSET);
  const fragment = view.getUint16(IPV4_FRAGMENT_OFFSET);
  const offset = (fragment & IPV4_FRAGMENT_MASK) * 8;
  const fragmentWords =
    offset === 0 && (fragment & IPV4_FLAG_MORE_FRAGMENTS) === 0
      ? ''
      : `, fragment at ${offset}${(fragment & IPV4_FLAG_MORE_FRAGMENTS) === 0 ? ' (last)' : '+'}`;
  const source = ipv4(view.getUint32(IPV4_SOURCE_OFFSET));
  const destination = ipv4(view.getUint32(IPV4_DESTINATION_OFFSET));
  const lengthWords = total === length ? `${total} B` : `${total} B of ${length} B`;
  const transport =
    offset > 0
      ? undefined
      : transportWords(bytes.subarray(headerBytes), total - headerBytes, view.getUint8(IPV4_PROTOCOL_OFFSET));
  const ends = (left: string, right: string): string =>
    `${formatIpv4(source)}${left} > ${formatIpv4(destination)}${right}`;
  if (transport === undefined) {
    return `${ends('', '')} ${protocolName(view.getUint8(IPV4_PROTOCOL_OFFSET))}, ${lengthWords}${fragmentWords}`;
  }
  const { ports, words } = transport;
  const where = ports === undefined ? ends('', '') : ends(`:${ports[0]}`, `:${ports[1]}`);
  return `${where} ${words}, ${lengthWords}${fragmentWords}`;
}

interface TransportWords {
  readonly ports?: readonly [number, number];
  readonly words: string;
}

/** `length`: of the transport segment as the IPv4 header tells it. Undefined: nothing but the protocol is known. */
function transportWords(bytes: Uint8Array, length: number, protocol: number): TransportWords | undefined {
  const view = viewOf(bytes);
  switch (protocol) {
    case IP_PROTOCOL_TCP: {
      if (bytes.length < TCP_HEADER_BYTES) return undefined;
      const flags = view.getUint8(TCP_FLAGS_OFFSET);
      const letters = TCP_FLAG_LETTERS.filter((_, bit) => (flags & (1 << bit)) !== 0).join('');
      const payload = length - (view.getUint8(TCP_DATA_OFFSET_OFFSET) >>> 4) * 4;
      const sequence = view.getUint32(TCP_SEQUENCE_OFFSET);
      return { ports: portsOf(view), words: `tcp [${letters}] seq ${sequence} payload ${payload}` };
    }
    case IP_PROTOCOL_UDP:
      if (bytes.length < UDP_HEADER_BYTES) return undefined;
      return { ports: portsOf(view), words: `udp payload ${length - UDP_HEADER_BYTES}` };
    case IP_PROTOCOL_ICMP:
      return bytes.length < ICMP_HEADER_BYTES ? undefined : { words: `icmp ${icmpWords(view)}` };
    default:
      return undefined;
  }
}

const portsOf = (view: DataView): [number, number] => [view.getUint16(0), view.getUint16(2)];

function icmpWords(view: DataView): string {
  const type = view.getUint8(0);
  const code = view.getUint8(1);
  if (type === ICMP_ECHO_REQUEST || type === ICMP_ECHO_REPLY) {
    return `echo ${type === ICMP_ECHO_REQUEST ? 'request' : 'reply'} id ${view.getUint16(4)} seq ${view.getUint16(6)}`;
  }
  if (type !== ICMP_DESTINATION_UNREACHABLE) return `type ${type} code ${code}`;
  switch (code) {
    case ICMP_CODE_HOST_UNREACHABLE:
      return 'host unreachable';
    case ICMP_CODE_PORT_UNREACHABLE:
      return 'port unreachable';
    case ICMP_CODE_FRAGMENTATION_NEEDED:
      return `fragmentation needed, mtu ${view.getUint16(ICMP_NEXT_HOP_MTU_OFFSET)}`;
    default:
      return `unreachable, code ${code}`;
  }
}

function protocolName(protocol: number): string {
  const names = new Map([
    [IP_PROTOCOL_ICMP, 'icmp'],
    [IP_PROTOCOL_TCP, 'tcp'],
    [IP_PROTOCOL_UDP, 'udp'],
  ]);
  return names.get(protocol) ?? `protocol ${protocol}`;
}

/** `192.168.0.2:6784` */
export const formatEnd = (address: Ipv4, port: number): string => `${formatIpv4(address)}:${port}`;
