// What the data plane's pure modules need in tests: a poisoned memory with the packet kernels, a forwarding table of three nodes, packets
// by meaning, and batches read back as the bytes that the kernel would have taken.
import { type Ipv4, type Mac, ipv4, mac, vni } from '../../proto/address.ts';
import { storeWord, transportChecksum } from '../../proto/checksum.ts';
import { ETHERTYPE_IPV4, encodeEthernetInto } from '../../proto/ethernet.ts';
import type { ForwardingTable } from '../../proto/forwarding-table.ts';
import {
  type Ipv4Packet,
  IP_PROTOCOL_TCP,
  IP_PROTOCOL_UDP,
  encodeIpv4PacketInto,
} from '../../proto/ipv4-packet.ts';
import { type TcpSegment, TCP_CHECKSUM_OFFSET, encodeTcpInto } from '../../proto/tcp.ts';
import { type UdpDatagram, UDP_CHECKSUM_OFFSET, encodeUdpInto } from '../../proto/udp.ts';
import { type VirtioNetHeader, encodeVirtioNetHeaderInto } from '../../proto/virtio-net.ts';
import { encodeVxlanInto } from '../../proto/vxlan.ts';
import { type PacketKernels, loadPacketKernels } from '../../agent/dataplane/packet-kernels.ts';
import type { PacketMemory } from '../../agent/dataplane/packet-memory.ts';
import type { SendBatch } from '../../agent/dataplane/send-batch.ts';
import type { WriteBatch } from '../../agent/dataplane/write-batch.ts';
import { POISON } from './random.ts';

const WASM_PAGE_BYTES = 65_536;
export const RANGE_BASE = 0x0a20_0000; // 10.32.0.0/12, blocks of /26
/** Block 0 is this node's, blocks 1 and 2 are peers', block 3 and on are nobody's. */
export const SELF_POD: Ipv4 = ipv4(RANGE_BASE + 5);
export const PEER_POD: Ipv4 = ipv4(RANGE_BASE + 64 + 5);
export const OTHER_PEER_POD: Ipv4 = ipv4(RANGE_BASE + 128 + 5);
export const NOBODYS_POD: Ipv4 = ipv4(RANGE_BASE + 192 + 5);
export const PEER_SLOT = 7;
export const OTHER_PEER_SLOT = 0;
export const PEER_ADDRESS: Ipv4 = ipv4(0xc0a8_0702);
export const OTHER_PEER_ADDRESS: Ipv4 = ipv4(0xc0a8_0703);
export const SELF_MAC: Mac = mac(0x0e11_2233_4401);
export const PEER_MAC: Mac = mac(0x0eaa_bbcc_dd02);
export const OTHER_PEER_MAC: Mac = mac(0x0eaa_bbcc_dd03);
export const GATEWAY: Ipv4 = ipv4(RANGE_BASE + 1);

/** `probes`: whether the peer of PEER_SLOT answers probes, that is, runs Weft; the other one never does. */
export function threeNodes(probes: boolean = true): ForwardingTable {
  const owners = new Uint16Array(2 ** 14);
  owners[0] = 1;
  owners[1] = 2 + PEER_SLOT;
  owners[2] = 2 + OTHER_PEER_SLOT;
  return {
    generation: 1,
    range: { base: ipv4(RANGE_BASE), prefixLength: 12 },
    blockPrefixLength: 26,
    vni: vni(0xabcdef),
    vtepMac: SELF_MAC,
    gateway: GATEWAY,
    peers: [
      { slot: PEER_SLOT, address: PEER_ADDRESS, port: 6784, vtepMac: PEER_MAC, probes },
      {
        slot: OTHER_PEER_SLOT,
        address: OTHER_PEER_ADDRESS,
        port: 8472,
        vtepMac: OTHER_PEER_MAC,
        probes: false,
      },
    ],
    owners,
  };
}

/**
 * Memory full of POISON, or of `poison`, with the kernels of the product unless others are given; base 0, so that addresses are offsets.
 * memory.sum throws when it is asked for more than there is.
 */
export function testMemory(
  byteLength: number = 4 << 20,
  poison: number = POISON,
  kernelsOf: (memory: WebAssembly.Memory) => PacketKernels = loadPacketKernels,
): PacketMemory {
  const pages = Math.ceil(byteLength / WASM_PAGE_BYTES);
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
  const bytes = new Uint8Array(memory.buffer).fill(poison);
  const kernels = kernelsOf(memory);
  let next = 64;
  return {
    bytes,
    view: new DataView(bytes.buffer),
    baseLow: 0,
    baseHigh: 0,
    kernels,
    sum(offset, length) {
      if (offset < 0 || length < 0 || offset + length > bytes.length) throw new RangeError('out of memory');
      return kernels.sum(offset, length);
    },
    allocate(size, alignment = 64) {
      const offset = Math.ceil(next / alignment) * alignment;
      next = offset + size;
      if (next > bytes.length) throw new RangeError(`no room for ${size} B`);
      bytes.fill(0, offset, next);
      return offset;
    },
  };
}

function gather(memory: PacketMemory, iovecs: number, count: number): Uint8Array {
  const pieces: Uint8Array[] = [];
  for (let index = 0; index < count; index++) {
    const at = iovecs + index * 16;
    const offset = memory.view.getUint32(at, true);
    pieces.push(memory.bytes.slice(offset, offset + memory.view.getUint32(at + 8, true)));
  }
  return new Uint8Array(Buffer.concat(pieces));
}

export interface SentTrain {
  readonly row: number;
  readonly socket: number;
  readonly segments: readonly Uint8Array[];
}

/** The batch's trains, cut as the kernel's UDP_SEGMENT would cut them. */
export function takeTrains(memory: PacketMemory, batch: SendBatch): SentTrain[] {
  const trains: SentTrain[] = [];
  for (let train = 0; train < batch.trains; train++) {
    batch.seal(train, 0);
    const message = batch.messageOf(train);
    const iovecs = memory.view.getUint32(message + 16, true);
    const all = gather(memory, iovecs, memory.view.getUint32(message + 24, true));
    const control = memory.view.getUint32(message + 32, true);
    const size = control === 0 ? all.length : memory.view.getUint16(control + 16, true);
    const segments: Uint8Array[] = [];
    for (let at = 0; at < all.length; at += size) segments.push(all.slice(at, at + size));
    trains.push({ row: batch.rows[train] ?? -1, socket: batch.sockets[train] ?? -1, segments });
  }
  batch.clear();
  return trains;
}

export interface TunWrite {
  readonly row: number;
  readonly header: Uint8Array;
  readonly packet: Uint8Array;
}

export function takeWrites(memory: PacketMemory, batch: WriteBatch): TunWrite[] {
  const writes: TunWrite[] = [];
  for (let write = 0; write < batch.writes; write++) {
    const all = gather(memory, batch.iovecsOf(write), batch.iovecCountOf(write));
    writes.push({ row: batch.rowOf(write), header: all.slice(0, 10), packet: all.slice(10) });
  }
  batch.clear();
  return writes;
}

export const PLAIN_VIRTIO: VirtioNetHeader = {
  needsChecksum: false,
  dataValid: false,
  segmentation: 0,
  ecn: false,
  headerLength: 0,
  gsoSize: 0,
  checksumStart: 0,
  checksumOffset: 0,
};

export function withVirtio(header: Partial<VirtioNetHeader>, packet: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(10 + packet.length);
  encodeVirtioNetHeaderInto(bytes, 0, { ...PLAIN_VIRTIO, ...header });
  bytes.set(packet, 10);
  return bytes;
}

const PACKET: Omit<Ipv4Packet, 'payload'> = {
  typeOfService: 0,
  identification: 0x1234,
  reservedFlag: false,
  dontFragment: true,
  moreFragments: false,
  fragmentOffset: 0,
  timeToLive: 63,
  protocol: 1,
  source: SELF_POD,
  destination: PEER_POD,
  options: new Uint8Array(0),
};

export function ipPacket(fields: Partial<Ipv4Packet>): Uint8Array {
  const packet = { ...PACKET, payload: new Uint8Array(0), ...fields };
  const bytes = new Uint8Array(20 + packet.options.length + packet.payload.length);
  encodeIpv4PacketInto(bytes, 0, packet);
  return bytes;
}

const SEGMENT: TcpSegment = {
  sourcePort: 40_000,
  destinationPort: 80,
  sequence: 1,
  acknowledgment: 2,
  flags: 0x10,
  window: 500,
  checksum: 0,
  urgentPointer: 0,
  options: new Uint8Array(0),
  payload: new Uint8Array(0),
};

/** An IPv4 packet with a TCP segment whose checksum is right. */
export function tcpPacket(ip: Partial<Ipv4Packet>, tcp: Partial<TcpSegment>): Uint8Array {
  const segment = { ...SEGMENT, ...tcp };
  const bytes = new Uint8Array(20 + segment.options.length + segment.payload.length);
  encodeTcpInto(bytes, 0, segment);
  return checksummed({ ...ip, protocol: IP_PROTOCOL_TCP }, bytes, TCP_CHECKSUM_OFFSET);
}

export function udpPacket(ip: Partial<Ipv4Packet>, udp: Partial<UdpDatagram>): Uint8Array {
  const datagram = { sourcePort: 5000, destinationPort: 53, checksum: 0, payload: new Uint8Array(0), ...udp };
  const bytes = new Uint8Array(8 + datagram.payload.length);
  encodeUdpInto(bytes, 0, datagram);
  return checksummed({ ...ip, protocol: IP_PROTOCOL_UDP }, bytes, UDP_CHECKSUM_OFFSET);
}

function checksummed(ip: Partial<Ipv4Packet>, segment: Uint8Array, checksumOffset: number): Uint8Array {
  const { source, destination, protocol } = { ...PACKET, ...ip };
  const pseudoHeader = { source, destination, protocol, transportBytes: segment.length };
  const value = transportChecksum({ pseudoHeader, segment, checksumOffset });
  storeWord(segment, checksumOffset, protocol === IP_PROTOCOL_UDP ? value || 0xffff : value);
  return ipPacket({ ...ip, payload: segment });
}

/** What the peer's data plane sends: VXLAN and Ethernet around an inner packet. */
export function overlayFrame(
  packet: Uint8Array,
  fields: { destination?: number; source?: number; etherType?: number; vni?: number } = {},
): Uint8Array {
  const frame = new Uint8Array(14 + packet.length);
  encodeEthernetInto(frame, 0, {
    destination: mac(fields.destination ?? SELF_MAC),
    source: mac(fields.source ?? PEER_MAC),
    etherType: fields.etherType ?? ETHERTYPE_IPV4,
    payload: packet,
  });
  const datagram = new Uint8Array(8 + frame.length);
  encodeVxlanInto(datagram, 0, { vni: vni(fields.vni ?? 0xabcdef), frame });
  return datagram;
}

/** Counters of a row that are not 0, by name. */
export const nonZero = (
  columns: Readonly<Record<string, number>>,
  read: (column: number) => number,
): Record<string, number> =>
  Object.fromEntries(
    Object.entries(columns)
      .map(([name, column]): [string, number] => [name, read(column)])
      .filter(([, value]) => value !== 0),
  );
