// Random TCP and UDP packets for the offload tests, written byte by byte: super-packets as a TUN gives them, and trains of segments as
// peers send them, with everything on the way that keeps segments apart or breaks them. Everything follows from the seed.
import { IP_PROTOCOL_TCP, IP_PROTOCOL_UDP } from '../../proto/ipv4-packet.ts';
import {
  checksumFieldOf,
  folded,
  headerBytesOf,
  onesSum,
  pseudoSum,
  transportOf,
  viewOver,
} from './naive-offload.ts';
import { randomBytes, seededRandom } from './random.ts';

/** Random choices; its bytes are pieces of one pool, because filling payloads byte by byte would be most of a run's time. */
export class Chance {
  readonly next: () => number;
  readonly #pool: Uint8Array;

  constructor(seed: number) {
    this.next = seededRandom(seed);
    this.#pool = randomBytes(this.next, 1 << 18);
  }

  /** 0 ≤ x < bound. */
  below(bound: number): number {
    return Math.floor(this.next() * bound);
  }

  is(probability: number): boolean {
    return this.next() < probability;
  }

  oneOf<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)]!; // !: below the length
  }

  /** A view of the pool: to be copied, not changed. */
  bytes(length: number): Uint8Array {
    const from = this.below(this.#pool.length - length);
    return this.#pool.subarray(from, from + length);
  }
}

export interface PacketFields {
  readonly protocol: number;
  readonly source: number;
  readonly destination: number;
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly typeOfService: number;
  readonly timeToLive: number;
  /** Flags and offset of fragments: 0x4000 = DF. */
  readonly fragment: number;
  readonly identification: number;
  readonly ipOptions: Uint8Array;
  readonly sequence: number;
  readonly acknowledgment: number;
  /** Twelve bits, AE and reserved ones above. */
  readonly flags: number;
  readonly window: number;
  readonly urgentPointer: number;
  readonly tcpOptions: Uint8Array;
  readonly payload: Uint8Array;
}

export const MAX_PAYLOAD_BYTES: number = 65_535 - 120; // 120: the longest headers

const TIMESTAMPS = Uint8Array.from([1, 1, 8, 10, 0, 0, 1, 1, 0, 0, 2, 2]);
const NONE = new Uint8Array(0);

/** Any values, many of them near an edge. */
export function randomFields(chance: Chance, protocol: number): PacketFields {
  return {
    protocol,
    source: 0,
    destination: 0,
    sourcePort: chance.below(0x1_0000),
    destinationPort: chance.below(0x1_0000),
    typeOfService: chance.below(256),
    timeToLive: 1 + chance.below(255),
    fragment: chance.is(0.7) ? 0x4000 : 0,
    identification: chance.is(0.3) ? 0xffff - chance.below(4) : chance.below(0x1_0000),
    ipOptions: chance.is(0.1) ? chance.bytes(4 * chance.below(11)) : NONE,
    sequence: chance.is(0.3) ? 2 ** 32 - 1 - chance.below(3000) : chance.below(2 ** 32),
    acknowledgment: chance.below(2 ** 32),
    flags: chance.below(0x1000),
    window: chance.below(0x1_0000),
    urgentPointer: chance.is(0.5) ? 0 : chance.below(0x1_0000),
    tcpOptions: chance.oneOf([NONE, TIMESTAMPS, chance.bytes(4 * chance.below(11))]),
    payload: NONE,
  };
}

/** With right checksums. */
export function buildPacket(fields: PacketFields): Uint8Array {
  const { protocol, ipOptions, tcpOptions, payload } = fields;
  const transport = 20 + ipOptions.length;
  const headers = transport + (protocol === IP_PROTOCOL_TCP ? 20 + tcpOptions.length : 8);
  const packet = new Uint8Array(headers + payload.length);
  const view = viewOver(packet);
  view.setUint8(0, 0x40 | (transport / 4));
  view.setUint8(1, fields.typeOfService);
  view.setUint16(2, packet.length);
  view.setUint16(4, fields.identification);
  view.setUint16(6, fields.fragment);
  view.setUint8(8, fields.timeToLive);
  view.setUint8(9, protocol);
  view.setUint32(12, fields.source);
  view.setUint32(16, fields.destination);
  packet.set(ipOptions, 20);
  view.setUint16(transport, fields.sourcePort);
  view.setUint16(transport + 2, fields.destinationPort);
  if (protocol === IP_PROTOCOL_TCP) {
    view.setUint32(transport + 4, fields.sequence);
    view.setUint32(transport + 8, fields.acknowledgment);
    view.setUint16(transport + 12, (((headers - transport) / 4) << 12) | fields.flags);
    view.setUint16(transport + 14, fields.window);
    view.setUint16(transport + 18, fields.urgentPointer);
    packet.set(tcpOptions, transport + 20);
  } else {
    view.setUint16(transport + 4, packet.length - transport);
  }
  packet.set(payload, headers);
  return withRightChecksums(packet);
}

/** Changes the packet itself. */
export function withRightChecksums(packet: Uint8Array): Uint8Array {
  const view = viewOver(packet);
  const headerBytes = headerBytesOf(packet);
  view.setUint16(10, 0);
  view.setUint16(10, 0xffff - onesSum(packet, 0, headerBytes));
  const protocol = transportOf(packet);
  if (protocol === 0) return packet;
  const field = checksumFieldOf(packet, protocol);
  view.setUint16(field, 0);
  const sum = 0xffff - folded(pseudoSum(packet, protocol) + onesSum(packet, headerBytes, packet.length));
  view.setUint16(field, protocol === IP_PROTOCOL_UDP ? sum || 0xffff : sum);
  return packet;
}

/** As a kernel VXLAN peer over veth sends it: only the pseudo header's sum in the field. Changes the packet itself. */
export function withPartialChecksum(packet: Uint8Array): Uint8Array {
  const protocol = transportOf(packet);
  viewOver(packet).setUint16(checksumFieldOf(packet, protocol), pseudoSum(packet, protocol));
  return packet;
}

/** Changes two bytes of the payload so that the right checksum is 0, the value that RFC 768 gives another meaning. */
export function withZeroChecksum(packet: Uint8Array): Uint8Array {
  const view = viewOver(packet);
  const start = headerBytesOf(packet);
  const protocol = transportOf(packet);
  const word = packet.length - 2 - ((packet.length - start) % 2);
  view.setUint16(word, 0);
  view.setUint16(checksumFieldOf(packet, protocol), 0);
  view.setUint16(word, 0xffff - folded(pseudoSum(packet, protocol) + onesSum(packet, start, packet.length)));
  return packet;
}

/** Places whose change keeps a packet from being merged with its neighbours, from the IPv4 header and from the transport's. */
const IP_PLACES = [1, 5, 6, 8, 19] as const; // type of service, identification, flags, time to live, destination
const TCP_PLACES = [1, 3, 4, 7, 8, 11, 12, 13, 13, 13, 14, 15, 18, 19, 20, 27] as const;
const UDP_PLACES = [1, 3] as const;

/** One bit of one field is another; the checksums are right. Not all changes are valid packets. */
export function differing(chance: Chance, original: Uint8Array): Uint8Array {
  const packet = original.slice();
  const transport = headerBytesOf(packet);
  const places = packet[9] === IP_PROTOCOL_TCP ? TCP_PLACES : UDP_PLACES;
  const at = chance.is(0.4) ? chance.oneOf(IP_PLACES) : transport + chance.oneOf(places);
  // Destination: the low bits only, so that it stays in the block. Data offset: the reserved bits and AE only.
  const bits = at === 19 ? 2 : at === transport + 12 ? 4 : 8;
  if (at < packet.length) packet[at]! ^= 1 << chance.below(bits); // !: bound checked
  return withRightChecksums(packet);
}

/** One flipped bit, anywhere; no checksum follows it. */
export function corrupted(chance: Chance, original: Uint8Array): Uint8Array {
  const packet = original.slice();
  const at = chance.is(0.5) ? chance.below(Math.min(packet.length, 60)) : chance.below(packet.length);
  packet[at]! ^= 1 << chance.below(8); // !: below the length
  return packet;
}

export const randomProtocol = (chance: Chance): number =>
  chance.is(0.65) ? IP_PROTOCOL_TCP : IP_PROTOCOL_UDP;
