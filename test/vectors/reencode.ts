// Decodes a frame layer by layer and encodes it again from the meanings alone: equal bytes prove that nothing was lost or invented. Every
// emission goes to an odd offset of a poisoned buffer whose surroundings must stay intact. Shared by the vector and the fuzz tests.
import assert from 'node:assert/strict';

import { type Decoded, decoded, refused } from '../../proto/decoded.ts';
import {
  ETHERTYPE_IPV4,
  ETHERTYPE_PROBE,
  ETHERNET_HEADER_BYTES,
  decodeEthernet,
  encodeEthernetInto,
} from '../../proto/ethernet.ts';
import { decodeIcmp, encodeIcmpInto } from '../../proto/icmp.ts';
import {
  IP_PROTOCOL_ICMP,
  IP_PROTOCOL_TCP,
  IP_PROTOCOL_UDP,
  decodeIpv4Packet,
  encodeIpv4PacketInto,
  ipv4HeaderBytes,
} from '../../proto/ipv4-packet.ts';
import { decodeProbe, encodeProbeInto } from '../../proto/probe.ts';
import { decodeTcp, encodeTcpInto } from '../../proto/tcp.ts';
import { UDP_HEADER_BYTES, decodeUdp, encodeUdpInto } from '../../proto/udp.ts';
import { VXLAN_HEADER_BYTES, decodeVxlan, encodeVxlanInto } from '../../proto/vxlan.ts';
import { POISON, placed, surroundingsIntact } from '../support/random.ts';
import { TUNNEL_PORT } from './vxlan-vectors.ts';

/** The bytes again, or the layer and the reason of the first refusal: `icmp: checksum`. */
export type Reencoded = Decoded<Uint8Array>;
type Emit = (target: Uint8Array, offset: number) => number;

/** What `emit` writes, which must be `length` bytes and nothing around them. */
export function emitted(length: number, emit: Emit): Uint8Array {
  const place = placed(new Uint8Array(length).fill(POISON));
  assert.equal(emit(place.buffer, place.offset), length, 'bytes written');
  assert.ok(surroundingsIntact(place), 'written outside of its place');
  return place.view;
}

const labelled = (layer: string, { reason }: { readonly reason: string }): Reencoded =>
  refused(`${layer}: ${reason}`);

/** What a layer leaves out at its end (padding, surplus) is taken from the input. */
function withRest(bytes: Uint8Array, again: Uint8Array): Reencoded {
  if (again.length >= bytes.length) return decoded(again);
  const whole = bytes.slice();
  whole.set(again);
  return decoded(whole);
}

export function reencodeEthernet(bytes: Uint8Array): Reencoded {
  const result = decodeEthernet(bytes);
  if (!result.ok) return labelled('ethernet', result);
  const inner = reencodeEtherType(result.value.etherType, result.value.payload);
  if (!inner.ok) return inner;
  const frame = { ...result.value, payload: inner.value };
  return decoded(
    emitted(ETHERNET_HEADER_BYTES + inner.value.length, (...to) => encodeEthernetInto(...to, frame)),
  );
}

function reencodeEtherType(etherType: number, payload: Uint8Array): Reencoded {
  if (etherType === ETHERTYPE_IPV4) return reencodeIpv4(payload);
  if (etherType === ETHERTYPE_PROBE) return reencodeProbe(payload);
  return decoded(payload);
}

export function reencodeProbe(bytes: Uint8Array): Reencoded {
  const result = decodeProbe(bytes);
  if (!result.ok) return labelled('probe', result);
  return decoded(emitted(bytes.length, (...to) => encodeProbeInto(...to, result.value)));
}

export function reencodeIpv4(bytes: Uint8Array): Reencoded {
  const result = decodeIpv4Packet(bytes);
  if (!result.ok) return labelled('ipv4', result);
  const packet = result.value;
  const isFragment = packet.moreFragments || packet.fragmentOffset > 0;
  const inner = isFragment ? decoded(packet.payload) : reencodeTransport(packet.protocol, packet.payload);
  if (!inner.ok) return inner;
  const again = { ...packet, payload: inner.value };
  const length = ipv4HeaderBytes(packet) + inner.value.length;
  return withRest(
    bytes,
    emitted(length, (...to) => encodeIpv4PacketInto(...to, again)),
  );
}

function reencodeTransport(protocol: number, payload: Uint8Array): Reencoded {
  switch (protocol) {
    case IP_PROTOCOL_ICMP:
      return reencodeIcmp(payload);
    case IP_PROTOCOL_TCP:
      return reencodeTcp(payload);
    case IP_PROTOCOL_UDP:
      return reencodeUdp(payload);
    default:
      return decoded(payload);
  }
}

export function reencodeIcmp(bytes: Uint8Array): Reencoded {
  const result = decodeIcmp(bytes);
  if (!result.ok) return labelled('icmp', result);
  return decoded(emitted(bytes.length, (...to) => encodeIcmpInto(...to, result.value)));
}

export function reencodeTcp(bytes: Uint8Array): Reencoded {
  const result = decodeTcp(bytes);
  if (!result.ok) return labelled('tcp', result);
  return decoded(emitted(bytes.length, (...to) => encodeTcpInto(...to, result.value)));
}

export function reencodeUdp(bytes: Uint8Array): Reencoded {
  const result = decodeUdp(bytes);
  if (!result.ok) return labelled('udp', result);
  const inner =
    result.value.destinationPort === TUNNEL_PORT
      ? reencodeVxlan(result.value.payload)
      : decoded(result.value.payload);
  if (!inner.ok) return inner;
  const datagram = { ...result.value, payload: inner.value };
  return withRest(
    bytes,
    emitted(UDP_HEADER_BYTES + inner.value.length, (...to) => encodeUdpInto(...to, datagram)),
  );
}

export function reencodeVxlan(bytes: Uint8Array): Reencoded {
  const result = decodeVxlan(bytes);
  if (!result.ok) return labelled('vxlan', result);
  const inner = reencodeEthernet(result.value.frame);
  if (!inner.ok) return inner;
  const { vni } = result.value;
  return decoded(
    emitted(VXLAN_HEADER_BYTES + inner.value.length, (...to) =>
      encodeVxlanInto(...to, { vni, frame: inner.value }),
    ),
  );
}
