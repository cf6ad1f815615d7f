// Whether what ingress wrote is what arrived: every write, cut by the naive implementation, gives accepted packets of one flow, each once, in
// the order in which they came; nothing is lost, invented or mended. And what was merged obeys the strict side of the kernel's GRO and of
// wireguard-go: plain IPv4 headers, no fragments, flags ACK and ECE, PSH on the last, nothing from a super-packet.
import assert from 'node:assert/strict';

import {
  IPV4_FLAG_DONT_FRAGMENT,
  IPV4_FRAGMENT_OFFSET,
  IPV4_HEADER_BYTES,
  IPV4_TOTAL_LENGTH_OFFSET,
  IP_PROTOCOL_TCP,
  IP_PROTOCOL_UDP,
} from '../../proto/ipv4-packet.ts';
import { TCP_CHECKSUM_OFFSET, TCP_DATA_OFFSET_OFFSET, TCP_FLAGS_OFFSET } from '../../proto/tcp.ts';
import { UDP_CHECKSUM_OFFSET } from '../../proto/udp.ts';
import type { TunWrite } from './dataplane-rig.ts';
import {
  DATA_VALID,
  GSO_NONE,
  GSO_TCPV4,
  GSO_UDP_L4,
  NEEDS_CHECKSUM,
  type Offload,
  allHeaderBytesOf,
  checksumFieldOf,
  cut,
  flowOf,
  headerBytesOf,
  isPartial,
  isRight,
  onesSum,
  pseudoSum,
  readOffload,
  refusalOf,
  transportOf,
  viewOver,
  wholeOf,
} from './naive-offload.ts';
import type { Datagram } from './offload-rig.ts';
import { PEERS } from './random-arrivals.ts';

const OVERLAY_BYTES = 22;
const ACK = 0x10;
const MERGEABLE_FLAGS = 0x58; // ACK, PSH, ECE

/** An accepted packet: the one packet that it counts as, or what a super-packet is cut into. */
interface Arrival {
  readonly packets: readonly Uint8Array[];
  readonly isSuperPacket: boolean;
}

export interface Expectation {
  readonly arrivals: ReadonlyMap<string, readonly Arrival[]>;
  readonly refusals: Readonly<Record<string, number>>;
  readonly frames: number;
}

/** The frames of a datagram. One whose first packet is as long as all of it is one frame: UDP_GRO then names the inner segments. */
function* framesOf({ bytes, segmentBytes }: Datagram): Generator<{ frame: Uint8Array; hint: number }> {
  const isOne = segmentBytes === 0 || segmentBytes >= bytes.length;
  const isSuperPacket =
    !isOne &&
    viewOver(bytes).getUint16(OVERLAY_BYTES + IPV4_TOTAL_LENGTH_OFFSET) + OVERLAY_BYTES === bytes.length;
  if (isOne || isSuperPacket) {
    yield { frame: bytes, hint: isSuperPacket ? segmentBytes : 0 };
    return;
  }
  for (let at = 0; at < bytes.length; at += segmentBytes) {
    yield { frame: bytes.subarray(at, at + segmentBytes), hint: 0 };
  }
}

/** Which bytes of the overlay headers are held against what, in the order of the checks. */
const OVERLAY_CHECKS: readonly (readonly [reason: string, bytes: readonly number[]])[] = [
  ['vxlan_flags', [0, 1, 2, 3, 7]],
  ['vxlan_vni', [4, 5, 6]],
  ['inner_mac', [8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19]],
  ['inner_ethertype', [20, 21]],
];

/**
 * Why a frame must be refused before its packet is looked at, or undefined. No datagram has wrong overlay headers, but one frame that says
 * another length than it has is cut where none are.
 */
function overlayRefusalOf(frame: Uint8Array, source: number): string | undefined {
  if (frame.length < OVERLAY_BYTES + IPV4_HEADER_BYTES) return 'truncated';
  const right = PEERS.find(({ address }) => address === source)?.overlay;
  assert.ok(right !== undefined, `${source} is a peer`);
  return OVERLAY_CHECKS.find(([, bytes]) => bytes.some((at) => frame[at] !== right[at]))?.[0];
}

/** What must come of datagrams whose inner addresses are right. */
export function expectationOf(datagrams: readonly Datagram[], mtu: number): Expectation {
  const arrivals = new Map<string, Arrival[]>();
  const refusals: Record<string, number> = {};
  let frames = 0;
  for (const datagram of datagrams) {
    for (const { frame, hint } of framesOf(datagram)) {
      frames += 1;
      const packet = frame.subarray(OVERLAY_BYTES);
      const refusal = overlayRefusalOf(frame, datagram.source) ?? refusalOf(packet);
      if (refusal !== undefined) {
        refusals[refusal] = (refusals[refusal] ?? 0) + 1;
        continue;
      }
      const accepted = packet.subarray(0, viewOver(packet).getUint16(IPV4_TOTAL_LENGTH_OFFSET));
      const flow = flowOf(accepted);
      const arrival = arrivalOf(accepted, hint, mtu);
      const known = arrivals.get(flow);
      if (known === undefined) arrivals.set(flow, [arrival]);
      else known.push(arrival);
    }
  }
  return { arrivals, refusals, frames };
}

/** A partial packet above the MTU is a super-packet that a kernel VXLAN device handed over uncut. */
function arrivalOf(packet: Uint8Array, hint: number, mtu: number): Arrival {
  const isSuperPacket = isPartial(packet) && packet.length > mtu && packet.length > allHeaderBytesOf(packet);
  if (!isSuperPacket) return { packets: [wholeOf(packet)], isSuperPacket };
  const isTcp = transportOf(packet) === IP_PROTOCOL_TCP;
  const offload = {
    flags: NEEDS_CHECKSUM,
    gsoType: isTcp ? GSO_TCPV4 : GSO_UDP_L4,
    headerLength: 0,
    gsoSize: isTcp || hint === 0 ? mtu - allHeaderBytesOf(packet) : hint,
    checksumStart: 0,
    checksumOffset: 0,
  };
  return { packets: cut(offload, packet), isSuperPacket };
}

/** Throws unless the writes are what is expected. Returns how many packets were merged into another's write. */
export function checkWrites(writes: readonly TunWrite[], { arrivals }: Expectation): number {
  const next = new Map<string, number>();
  let merged = 0;
  for (const [index, { header, packet }] of writes.entries()) {
    const offload = readOffload(header);
    checkOffload(offload, packet);
    const packets = cut(offload, packet);
    const flow = flowOf(packet);
    const known = arrivals.get(flow) ?? [];
    let at = next.get(flow) ?? 0;
    const first = at;
    for (let done = 0; done < packets.length; at++) {
      const arrival = known[at];
      assert.ok(arrival !== undefined, `write ${index}: a packet of flow ${flow} that did not arrive`);
      for (const arrived of arrival.packets) {
        const actual = packets[done++];
        const expected = actual === undefined ? arrived : countedUp(arrived, { actual, first: known[first] });
        if (actual !== undefined && Buffer.compare(actual, expected) === 0) continue;
        assert.deepEqual(actual, expected, `write ${index}: arrival ${at} of flow ${flow}`);
      }
    }
    next.set(flow, at);
    if (at - first > 1) checkMerged(offload, packet, known.slice(first, at));
    merged += at - first - 1;
  }
  for (const [flow, known] of arrivals) {
    assert.equal(next.get(flow) ?? 0, known.length, `packets of flow ${flow} that were written`);
  }
  return merged;
}

/**
 * UDP packets that may not be fragmented and all have one identification are cut with identifications that count up, as after the kernel's
 * GRO: theirs says nothing (RFC 6864 section 4.1).
 */
function countedUp(
  arrived: Uint8Array,
  { actual, first }: { readonly actual: Uint8Array; readonly first: Arrival | undefined },
): Uint8Array {
  const isAtomic = (viewOver(arrived).getUint16(IPV4_FRAGMENT_OFFSET) & ~0x8000) === IPV4_FLAG_DONT_FRAGMENT;
  const repeats = first?.packets[0]?.subarray(4, 6).every((byte, at) => byte === arrived[4 + at]) === true;
  if (transportOf(arrived) !== IP_PROTOCOL_UDP || !isAtomic || !repeats) return arrived;
  const counted = arrived.slice();
  counted.set(actual.subarray(4, 6), 4);
  counted.set(actual.subarray(10, 12), 10);
  assert.equal(onesSum(counted, 0, headerBytesOf(counted)), 0xffff, 'the IPv4 header checksum is right');
  return counted;
}

/** What the kernel relies on in a packet that is written with a virtio_net_hdr. */
function checkOffload(offload: Offload, packet: Uint8Array): void {
  assert.equal(offload.flags & ~(NEEDS_CHECKSUM | DATA_VALID), 0);
  if ((offload.flags & DATA_VALID) !== 0) assert.ok(isRight(packet), 'what is called valid is right');
  if ((offload.flags & NEEDS_CHECKSUM) === 0) {
    assert.equal(offload.gsoType, GSO_NONE);
    return;
  }
  const protocol = transportOf(packet);
  const start = headerBytesOf(packet);
  const offset = protocol === IP_PROTOCOL_TCP ? TCP_CHECKSUM_OFFSET : UDP_CHECKSUM_OFFSET;
  assert.deepEqual([offload.checksumStart, offload.checksumOffset], [start, offset]);
  const field = viewOver(packet).getUint16(checksumFieldOf(packet, protocol));
  assert.equal(field, pseudoSum(packet, protocol), 'a partial checksum is the pseudo header’s sum');
  if (offload.gsoType === GSO_NONE) return;
  assert.equal(offload.headerLength, allHeaderBytesOf(packet));
  assert.equal(viewOver(packet).getUint16(IPV4_TOTAL_LENGTH_OFFSET), packet.length);
  assert.equal(onesSum(packet, 0, start), 0xffff, 'the IPv4 header checksum is right');
  assert.ok(offload.gsoSize > 0);
}

function checkMerged(offload: Offload, packet: Uint8Array, arrivals: readonly Arrival[]): void {
  const isTcp = transportOf(packet) === IP_PROTOCOL_TCP;
  assert.equal(packet[0], 0x45, 'a merged packet has no IPv4 options');
  assert.equal(offload.gsoType, isTcp ? GSO_TCPV4 : GSO_UDP_L4);
  assert.ok(
    arrivals.every(({ isSuperPacket }) => !isSuperPacket),
    'a super-packet is not merged',
  );
  if (!isTcp) return;
  const flags = packet[20 + TCP_FLAGS_OFFSET]!; // !: a whole header
  assert.equal(flags & ~MERGEABLE_FLAGS, 0, `merged segments with flags ${flags}`);
  assert.equal(flags & ACK, ACK);
  assert.equal(packet[20 + TCP_DATA_OFFSET_OFFSET]! & 0x0f, 0, 'no AE or reserved bits'); // !: a whole header
}
