// What a node may receive in one batch: trains of several flows, damaged in every way that a network or a peer damages them, interleaved, and
// put into datagrams one by one or as UDP_GRO joins them.
import { IP_PROTOCOL_ICMP, IP_PROTOCOL_UDP } from '../../proto/ipv4-packet.ts';
import {
  OTHER_PEER_ADDRESS,
  OTHER_PEER_MAC,
  OTHER_PEER_POD,
  PEER_ADDRESS,
  PEER_MAC,
  PEER_POD,
  SELF_POD,
  overlayFrame,
} from './dataplane-rig.ts';
import { checksumFieldOf, headerBytesOf, pseudoSum, viewOver } from './naive-offload.ts';
import type { Datagram } from './offload-rig.ts';
import {
  type Chance,
  type PacketFields,
  buildPacket,
  corrupted,
  differing,
  randomFields,
  randomProtocol,
  withPartialChecksum,
  withRightChecksums,
} from './random-packets.ts';

interface Peer {
  readonly pod: number;
  readonly address: number;
  /** VXLAN and Ethernet headers of its frames to this node. */
  readonly overlay: Uint8Array;
}

const NOTHING = new Uint8Array(0);
export const PEERS: readonly Peer[] = [
  { pod: PEER_POD, address: PEER_ADDRESS, overlay: overlayFrame(NOTHING, { source: PEER_MAC }) },
  {
    pod: OTHER_PEER_POD,
    address: OTHER_PEER_ADDRESS,
    overlay: overlayFrame(NOTHING, { source: OTHER_PEER_MAC }),
  },
];
const ACK = 0x10;
const PSH = 0x08;
const ECE = 0x40;
const LONGEST_TRAIN = 40;
const MTU = 1450;

interface Arriving {
  readonly peer: Peer;
  readonly packet: Uint8Array;
}

function flowFields(chance: Chance, peer: Peer): PacketFields {
  const protocol = randomProtocol(chance);
  return {
    ...randomFields(chance, protocol),
    source: peer.pod + chance.below(2),
    destination: SELF_POD,
    // Few, so that two trains of a batch are one flow now and then.
    sourcePort: 1000 + chance.below(3),
    destinationPort: 80,
    ipOptions: chance.is(0.02) ? chance.bytes(4) : NOTHING,
    flags: chance.is(0.9) ? chance.oneOf([ACK, ACK, ACK | ECE]) : chance.below(0x1000),
    urgentPointer: chance.is(0.95) ? 0 : 1,
  };
}

/** Of the segments of a train. */
function randomSizes(chance: Chance): number[] {
  const large = 1000 + chance.below(2000);
  if (chance.is(0.004)) return Array.from({ length: 64 }, () => large); // beyond what one write can hold
  const size = 1 + chance.below(chance.is(0.05) ? 1300 : 150);
  const count = 1 + chance.below(chance.is(0.5) ? 4 : LONGEST_TRAIN);
  const uneven = chance.is(0.15);
  return Array.from({ length: count }, (_, index) => {
    const isLast = index === count - 1;
    if (uneven && chance.is(0.3)) return 1 + chance.below(2 * size);
    return isLast && chance.is(0.6) ? chance.below(size + 1) : size;
  });
}

/** Mostly segments of one size, the last shorter or not and pushed or not: what one super-packet is cut into. */
function train(chance: Chance, fields: PacketFields): Uint8Array[] {
  const sizes = randomSizes(chance);
  const counting = chance.is(0.95) ? 1 : 0;
  let sequence = fields.sequence;
  return sizes.map((size, index) => {
    const isPushed = index === sizes.length - 1 ? chance.is(0.4) : chance.is(0.01);
    const packet = buildPacket({
      ...fields,
      sequence,
      flags: isPushed ? fields.flags | PSH : fields.flags & ~PSH,
      identification: (fields.identification + index * counting) & 0xffff,
      payload: chance.bytes(size),
    });
    sequence = (sequence + size) % 2 ** 32;
    return packet;
  });
}

function withoutChecksum(packet: Uint8Array): void {
  viewOver(packet).setUint16(checksumFieldOf(packet, IP_PROTOCOL_UDP), 0);
}

/** Bytes behind the UDP datagram (RFC 9868), and in its checksum what would be partial for the datagram alone. */
function withSurplus(chance: Chance, packet: Uint8Array): void {
  const shorter = packet.subarray(0, packet.length - 1 - chance.below(4));
  const field = checksumFieldOf(packet, IP_PROTOCOL_UDP);
  viewOver(packet).setUint16(field, pseudoSum(shorter, IP_PROTOCOL_UDP));
  viewOver(packet).setUint16(field - 2, shorter.length - headerBytesOf(packet));
}

/** Changes the train; most stay as they are. */
function disturb(chance: Chance, packets: Uint8Array[]): void {
  const at = chance.below(packets.length);
  const victim = packets[at]!; // !: below the length
  switch (chance.below(16)) {
    case 0:
      packets.splice(chance.below(packets.length), 0, victim); // a duplicate
      break;
    case 1:
      packets.splice(chance.below(packets.length), 0, ...packets.splice(at, 1)); // out of order
      break;
    case 2:
      if (packets.length > 1) packets.splice(at, 1); // lost
      break;
    case 3:
    case 4:
      packets[at] = differing(chance, victim);
      break;
    case 5:
      packets.splice(at, 0, differing(chance, victim));
      break;
    case 6:
      packets[at] = corrupted(chance, victim);
      break;
    case 7:
      for (const packet of packets) withPartialChecksum(packet);
      break;
    case 8:
      withPartialChecksum(victim);
      break;
    case 9:
      if (victim[9] === IP_PROTOCOL_UDP) withoutChecksum(victim);
      break;
    case 11:
      if (victim[9] === IP_PROTOCOL_UDP && victim.length >= 60) withSurplus(chance, victim);
      break;
    case 10: {
      const other = victim.slice();
      other[9] = IP_PROTOCOL_ICMP;
      packets.splice(at, 0, withRightChecksums(other));
      break;
    }
    default:
  }
}

/** A 64 kB frame of a kernel VXLAN peer over veth. */
const superPacket = (chance: Chance, fields: PacketFields): Uint8Array =>
  withPartialChecksum(buildPacket({ ...fields, payload: chance.bytes(1400 + chance.below(20_000)) }));

/** Takes from the queues in turn, in bursts; the order within a queue stays. */
function interleaved(chance: Chance, queues: Arriving[][]): Arriving[] {
  const order: Arriving[] = [];
  const longestBurst = chance.oneOf([1, 2, 5, LONGEST_TRAIN]);
  while (queues.length > 0) {
    const which = chance.below(queues.length);
    const queue = queues[which]!; // !: below the length
    order.push(...queue.splice(0, 1 + chance.below(longestBurst)));
    if (queue.length === 0) queues.splice(which, 1);
  }
  return order;
}

const framed = ({ peer, packet }: Arriving, padding: number): Uint8Array => {
  const frame = new Uint8Array(peer.overlay.length + packet.length + padding);
  frame.set(peer.overlay);
  frame.set(packet, peer.overlay.length);
  return frame;
};

/** What UDP_GRO joins to the arrival before `from`: the same sender's, of its size; a shorter one ends it. */
function joinable(order: readonly Arriving[], from: number): Arriving[] {
  const first = order[from - 1]!; // !: below the length
  const size = first.packet.length;
  const found: Arriving[] = [];
  for (const next of order.slice(from, from + 63)) {
    if (next.peer !== first.peer || next.packet.length > size) break;
    found.push(next);
    if (next.packet.length < size) break;
  }
  return found;
}

function datagramsOf(chance: Chance, order: readonly Arriving[]): Datagram[] {
  const datagrams: Datagram[] = [];
  const joined = chance.is(0.6);
  for (let at = 0; at < order.length;) {
    const first = order[at]!; // !: below the length
    const size = first.packet.length;
    const frames = [framed(first, !joined && size <= MTU && chance.is(0.05) ? chance.below(8) : 0)];
    at += 1;
    if (joined && size <= MTU) {
      for (const next of joinable(order, at)) frames.push(framed(next, 0));
      at += frames.length - 1;
    }
    const bytes = frames.length === 1 ? frames[0]! : new Uint8Array(Buffer.concat(frames)); // !: one
    const isUdpSuperPacket = size > MTU && first.packet[9] === IP_PROTOCOL_UDP && chance.is(0.7);
    const hint = isUdpSuperPacket ? 500 + chance.below(800) : 0;
    const segmentBytes = frames.length === 1 ? hint : frames[0]!.length; // !: at least one
    datagrams.push({ bytes, segmentBytes, source: first.peer.address });
  }
  return datagrams;
}

export function randomArrivals(chance: Chance): Datagram[] {
  const queues = Array.from({ length: 1 + chance.below(chance.is(0.5) ? 2 : 7) }, () => {
    const peer = chance.oneOf(PEERS);
    const fields = flowFields(chance, peer);
    const packets = train(chance, fields);
    if (chance.is(0.5)) disturb(chance, packets);
    if (chance.is(0.02)) packets.splice(chance.below(packets.length), 0, superPacket(chance, fields));
    return packets.map((packet) => ({ peer, packet }));
  });
  return datagramsOf(chance, interleaved(chance, queues));
}
