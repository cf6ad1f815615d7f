// What a TUN with offloads may give: random super-packets of TCP and UDP, and whole packets with a complete or a partial checksum.
import { IP_PROTOCOL_TCP } from '../../proto/ipv4-packet.ts';
import { OTHER_PEER_POD, PEER_POD, SELF_POD } from './dataplane-rig.ts';
import { GSO_ECN, GSO_NONE, GSO_TCPV4, GSO_UDP_L4, NEEDS_CHECKSUM, type Offload } from './naive-offload.ts';
import {
  type Chance,
  MAX_PAYLOAD_BYTES,
  buildPacket,
  randomFields,
  randomProtocol,
  withPartialChecksum,
  withZeroChecksum,
} from './random-packets.ts';

/** Largest packet that a datagram can carry: 22 bytes of overlay headers come before it. */
const MAX_WHOLE_BYTES = 65_507 - 22;

export interface Read {
  readonly offload: Offload;
  readonly packet: Uint8Array;
}

/** Mostly small, because that is where the edges are; now and then up to 64 KiB. */
const payloadBytes = (chance: Chance): number =>
  chance.is(0.002) ? 1 + chance.below(MAX_PAYLOAD_BYTES) : 1 + chance.below(chance.is(0.1) ? 4000 : 300);

export function randomRead(chance: Chance): Read {
  const protocol = randomProtocol(chance);
  const payload = chance.bytes(payloadBytes(chance));
  const packet = buildPacket({
    ...randomFields(chance, protocol),
    source: SELF_POD + chance.below(3),
    destination: (chance.is(0.8) ? PEER_POD : OTHER_PEER_POD) + chance.below(3),
    payload,
  });
  const checksumStart = (packet[0]! & 0x0f) * 4; // !: not empty
  const headerLength = packet.length - payload.length;
  const checksumOffset = protocol === IP_PROTOCOL_TCP ? 16 : 6;
  const partial = { flags: NEEDS_CHECKSUM, checksumStart, checksumOffset, headerLength };
  if (chance.is(0.15) && packet.length <= MAX_WHOLE_BYTES) {
    const whole = { gsoType: GSO_NONE, gsoSize: 0 };
    if (chance.is(0.1) && payload.length > 2) withZeroChecksum(packet);
    return chance.is(0.5)
      ? { offload: { ...partial, ...whole }, packet: withPartialChecksum(packet) }
      : { offload: { ...partial, ...whole, flags: 0 }, packet };
  }
  const gsoSize = randomGsoSize(chance, payload.length);
  if (protocol === IP_PROTOCOL_TCP) {
    const gsoType = GSO_TCPV4 | (chance.is(0.5) ? GSO_ECN : 0);
    return { offload: { ...partial, gsoType, gsoSize }, packet: withPartialChecksum(packet) };
  }
  if (chance.is(0.9)) {
    return { offload: { ...partial, gsoType: GSO_UDP_L4, gsoSize }, packet: withPartialChecksum(packet) };
  }
  if (chance.is(0.5)) packet.fill(0, checksumStart + 6, checksumStart + 8); // without a checksum
  return { offload: { ...partial, gsoType: GSO_UDP_L4, gsoSize, flags: 0 }, packet };
}

/** Two to a few segments, now and then many, and sizes that divide the payload. */
function randomGsoSize(chance: Chance, bytes: number): number {
  const segments = 1 + chance.below(chance.is(0.01) ? 200 : 5);
  const size = Math.max(1, Math.floor(bytes / segments) + (chance.is(0.3) ? 0 : chance.below(3)));
  return Math.min(size, 60_000);
}

/** As one read of the TUN gives it. */
export function bytesOf({ offload, packet }: Read): Uint8Array {
  const bytes = new Uint8Array(10 + packet.length);
  const view = new DataView(bytes.buffer);
  bytes[0] = offload.flags;
  bytes[1] = offload.gsoType;
  view.setUint16(2, offload.headerLength, true);
  view.setUint16(4, offload.gsoSize, true);
  view.setUint16(6, offload.checksumStart, true);
  view.setUint16(8, offload.checksumOffset, true);
  bytes.set(packet, 10);
  return bytes;
}
