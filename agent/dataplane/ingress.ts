// From the wire to the TUN: takes a received datagram apart, holds every frame against the table in the order of DROP_REASONS, and puts
// what passes into the write batch. Invariant: what is written has an inner source that the sender owns and an inner destination that
// this node owns; nothing is relayed. A 64 kB frame from a kernel VXLAN peer over veth is handed on as the super-packet that it is.
import { fold } from '../../proto/checksum.ts';
import { NO_PEER_ROW } from '../../proto/dataplane-stats.ts';
import {
  ETHERNET_DESTINATION_OFFSET,
  ETHERNET_SOURCE_OFFSET,
  ETHERNET_TYPE_OFFSET,
  ETHERTYPE_IPV4,
  ETHERTYPE_PROBE,
} from '../../proto/ethernet.ts';
import { OWNER_FIRST_PEER, OWNER_SELF } from '../../proto/forwarding-table.ts';
import {
  IPV4_DESTINATION_OFFSET,
  IPV4_FRAGMENT_OFFSET,
  IPV4_HEADER_BYTES,
  IPV4_IS_FRAGMENT_MASK,
  IPV4_PROTOCOL_OFFSET,
  IPV4_SOURCE_OFFSET,
  IPV4_TOTAL_LENGTH_OFFSET,
  IP_PROTOCOL_TCP,
  IP_PROTOCOL_UDP,
} from '../../proto/ipv4-packet.ts';
import {
  TCP_CHECKSUM_OFFSET,
  TCP_DATA_OFFSET_OFFSET,
  TCP_FLAGS_OFFSET,
  TCP_FLAG_CWR,
  TCP_HEADER_BYTES,
} from '../../proto/tcp.ts';
import { UDP_CHECKSUM_OFFSET, UDP_HEADER_BYTES, UDP_LENGTH_OFFSET } from '../../proto/udp.ts';
import {
  VIRTIO_NET_GSO_SIZE_OFFSET,
  VIRTIO_NET_GSO_TYPE_OFFSET,
  VIRTIO_NET_HDR_GSO_ECN,
  VIRTIO_NET_HDR_GSO_TCPV4,
  VIRTIO_NET_HDR_GSO_UDP_L4,
  VIRTIO_NET_HEADER_LENGTH_OFFSET,
} from '../../proto/virtio-net.ts';
import {
  VXLAN_FLAGS_OFFSET,
  VXLAN_FLAGS_WORD,
  VXLAN_HEADER_BYTES,
  VXLAN_VNI_OFFSET,
  VXLAN_VNI_SHIFT,
} from '../../proto/vxlan.ts';
import { Coalescing } from './coalescing.ts';
import { type Forwarding, NO_SLOT } from './forwarding.ts';
import type { PacketMemory } from './packet-memory.ts';
import { OVERLAY_HEADER_BYTES } from './peer-records.ts';
import { type DataplaneStats, DROP } from './stats.ts';
import { Tap } from './tap.ts';
import { isPartial, needsChecksum, pseudoSumAt } from './transport-checksum.ts';
import type { WriteBatch } from './write-batch.ts';

/** One result of recvmsg; one object for all, because one a datagram would be an allocation. */
export interface ReceivedDatagram {
  offset: number;
  length: number;
  /** Of UDP_GRO; 0 = one datagram. */
  segmentBytes: number;
  /** Outer source address, host order. */
  source: number;
  sourcePort: number;
}

export interface IngressOptions {
  readonly memory: PacketMemory;
  readonly stats: DataplaneStats;
  readonly batch: WriteBatch;
  /** Writes the batch and clears it. */
  readonly flush: () => void;
  /** A probe frame of a valid peer (offset of its VXLAN header, length, slot); false = it is none. */
  readonly probe: (offset: number, length: number, slot: number) => boolean;
  /** One that is never on unless told. */
  readonly tap?: Tap;
}

const NO_REASON = 0;
/** VXLAN, Ethernet and IPv4 headers; a probe is as long. */
const SHORTEST_FRAME_BYTES = OVERLAY_HEADER_BYTES + IPV4_HEADER_BYTES;

export class Ingress {
  forwarding: Forwarding;
  /** Of the TUN: what is larger and has a partial checksum was never cut. */
  mtu = 1450;
  readonly #memory: PacketMemory;
  readonly #stats: DataplaneStats;
  readonly #batch: WriteBatch;
  readonly #flush: () => void;
  readonly #probe: (offset: number, length: number, slot: number) => boolean;
  readonly #tap: Tap;
  readonly #coalescing: Coalescing;
  #slot = 0;
  /** Only a kernel VXLAN peer sends partial checksums: from Weft what looks like one is complete, or damaged. */
  #mayBePartial = false;
  /** Segment size that the kernel named for the frame in hand, 0 = none. */
  #gsoHint = 0;

  constructor(forwarding: Forwarding, options: IngressOptions) {
    this.forwarding = forwarding;
    this.#memory = options.memory;
    this.#stats = options.stats;
    this.#batch = options.batch;
    this.#flush = options.flush;
    this.#probe = options.probe;
    this.#tap = options.tap ?? new Tap(options.memory);
    this.#coalescing = new Coalescing(options.memory, options.batch);
  }

  /** Whether the TUN takes UDP super-packets (TUN_F_USO4, Linux 6.2); else datagrams are not merged. */
  set mergesUdp(merges: boolean) {
    this.#coalescing.mergesUdp = merges;
  }

  /** The bytes must stay until the batch is written. */
  accept(datagram: ReceivedDatagram): void {
    const { offset, length } = datagram;
    const segmentBytes = this.#segmentBytes(datagram);
    this.#slot = this.forwarding.slotOf(datagram.source);
    if (this.#slot === NO_SLOT) {
      this.#stats.add(NO_PEER_ROW, DROP.unknown_sender, Math.max(1, Math.ceil(length / segmentBytes)));
      if (this.#tap.isOn) this.#tap.stranger(datagram, segmentBytes);
      return;
    }
    this.#mayBePartial = !this.forwarding.answersProbes(this.#slot);
    const row = OWNER_FIRST_PEER + this.#slot;
    if (this.#tap.isOn) {
      this.#acceptTapped(datagram, segmentBytes, row);
      return;
    }
    for (let at = 0; at === 0 || at < length; at += segmentBytes) {
      at += this.#coalescing.take(offset + at, length - at, segmentBytes, row);
      if (at >= length && length > 0) return;
      const reason = this.#acceptFrame(offset + at, Math.min(segmentBytes, length - at));
      if (reason !== NO_REASON) this.#stats.add(row, reason, 1);
    }
  }

  /** The same with copies for a capture; apart, because looking for one at every frame costs 4 ns. */
  #acceptTapped(datagram: ReceivedDatagram, segmentBytes: number, row: number): void {
    const { offset, length } = datagram;
    this.#tap.received(datagram, segmentBytes, row, NO_REASON);
    for (let at = 0; at === 0 || at < length; at += segmentBytes) {
      const taken = this.#coalescing.take(offset + at, length - at, segmentBytes, row);
      this.#tap.accepted(offset + at, taken, segmentBytes, row);
      at += taken;
      if (at >= length && length > 0) return;
      const size = Math.min(segmentBytes, length - at);
      const reason = this.#acceptFrame(offset + at, size);
      if (reason === NO_REASON) {
        this.#tap.accepted(offset + at, size, segmentBytes, row);
        continue;
      }
      this.#stats.add(row, reason, 1);
      this.#tap.refused(offset + at, size, row, reason, datagram);
    }
  }

  /** No write of the batch grows any more: call it before the batch is written. */
  finish(): void {
    this.#coalescing.finish();
  }

  /**
   * Size of the frames in a datagram. For an inner UDP super-packet that a kernel VXLAN device handed over uncut, UDP_GRO names the size
   * of the *inner* segments, and the datagram is one frame: its IPv4 header says so.
   */
  #segmentBytes({ offset, length, segmentBytes }: ReceivedDatagram): number {
    this.#gsoHint = 0;
    if (segmentBytes <= 0 || segmentBytes >= length) return Math.max(1, length);
    const { view } = this.#memory;
    if (length >= SHORTEST_FRAME_BYTES) {
      const etherType = view.getUint16(offset + VXLAN_HEADER_BYTES + ETHERNET_TYPE_OFFSET);
      const totalLength = view.getUint16(offset + OVERLAY_HEADER_BYTES + IPV4_TOTAL_LENGTH_OFFSET);
      if (etherType === ETHERTYPE_IPV4 && OVERLAY_HEADER_BYTES + totalLength === length) {
        this.#gsoHint = segmentBytes;
        return length;
      }
    }
    return segmentBytes;
  }

  #acceptFrame(frame: number, size: number): number {
    if (size < SHORTEST_FRAME_BYTES) return DROP.truncated;
    const reason = this.#checkOverlay(frame);
    if (reason !== NO_REASON) return reason;
    const { view } = this.#memory;
    const etherType = view.getUint16(frame + VXLAN_HEADER_BYTES + ETHERNET_TYPE_OFFSET);
    if (etherType === ETHERTYPE_IPV4) {
      return this.#acceptPacket(frame + OVERLAY_HEADER_BYTES, size - OVERLAY_HEADER_BYTES);
    }
    return etherType === ETHERTYPE_PROBE && this.#probe(frame, size, this.#slot)
      ? NO_REASON
      : DROP.inner_ethertype;
  }

  #checkOverlay(frame: number): number {
    const { view } = this.#memory;
    const { forwarding } = this;
    const vniWord = view.getUint32(frame + VXLAN_VNI_OFFSET);
    if (view.getUint32(frame + VXLAN_FLAGS_OFFSET) !== VXLAN_FLAGS_WORD || (vniWord & 0xff) !== 0) {
      return DROP.vxlan_flags;
    }
    if (vniWord >>> VXLAN_VNI_SHIFT !== forwarding.vni) return DROP.vxlan_vni;
    const destination = frame + VXLAN_HEADER_BYTES + ETHERNET_DESTINATION_OFFSET;
    const source = frame + VXLAN_HEADER_BYTES + ETHERNET_SOURCE_OFFSET;
    if (
      view.getUint16(destination) !== forwarding.vtepMacHigh ||
      view.getUint32(destination + 2) !== forwarding.vtepMacLow ||
      !forwarding.isVtepMacOf(this.#slot, view.getUint16(source), view.getUint32(source + 2))
    ) {
      return DROP.inner_mac;
    }
    return NO_REASON;
  }

  #acceptPacket(ip: number, available: number): number {
    const { view, sum } = this.#memory;
    const versionIhl = view.getUint8(ip);
    const headerBytes = (versionIhl & 0x0f) * 4;
    const length = view.getUint16(ip + IPV4_TOTAL_LENGTH_OFFSET);
    if (versionIhl >>> 4 !== 4 || headerBytes < IPV4_HEADER_BYTES) return DROP.inner_header;
    if (length > available || headerBytes > available) return DROP.truncated;
    if (length < headerBytes || fold(sum(ip, headerBytes)) !== 0xffff) return DROP.inner_header;
    const { forwarding } = this;
    const sender = OWNER_FIRST_PEER + this.#slot;
    if (forwarding.ownerOf(view.getUint32(ip + IPV4_SOURCE_OFFSET)) !== sender) {
      return DROP.inner_source_not_owned;
    }
    if (forwarding.ownerOf(view.getUint32(ip + IPV4_DESTINATION_OFFSET)) !== OWNER_SELF) {
      return DROP.inner_destination_not_local;
    }
    if (this.#batch.full) this.#writeOut();
    const fragment = view.getUint16(ip + IPV4_FRAGMENT_OFFSET) & IPV4_IS_FRAGMENT_MASK;
    const protocol = fragment === 0 ? view.getUint8(ip + IPV4_PROTOCOL_OFFSET) : 0;
    switch (protocol) {
      case IP_PROTOCOL_TCP:
        return this.#acceptTcp(ip, headerBytes, length);
      case IP_PROTOCOL_UDP:
        return this.#acceptUdp(ip, headerBytes, length);
      default:
        if (fragment !== 0) this.#coalescing.finish(); // of which flow it is cannot be told: the merges of all end
        this.#batch.begin(sender, ip, length);
        return NO_REASON;
    }
  }

  #acceptTcp(ip: number, headerBytes: number, length: number): number {
    const { view } = this.#memory;
    const tcp = ip + headerBytes;
    const transportBytes = length - headerBytes;
    if (transportBytes < TCP_HEADER_BYTES) return DROP.inner_transport;
    const tcpHeaderBytes = (view.getUint8(tcp + TCP_DATA_OFFSET_OFFSET) >>> 4) * 4;
    if (tcpHeaderBytes < TCP_HEADER_BYTES || tcpHeaderBytes > transportBytes) return DROP.inner_transport;
    const partial =
      this.#mayBePartial &&
      isPartial(
        this.#memory,
        tcp + TCP_CHECKSUM_OFFSET,
        pseudoSumAt(this.#memory, ip, IP_PROTOCOL_TCP, transportBytes),
      );
    if (!partial) {
      if (headerBytes === IPV4_HEADER_BYTES) {
        this.#coalescing.beginTcp(OWNER_FIRST_PEER + this.#slot, ip, length);
      } else {
        this.#beginWrite(ip, length);
      }
      return NO_REASON;
    }
    const header = this.#batch.headerOf(this.#beginWrite(ip, length));
    needsChecksum(this.#memory, header, headerBytes, TCP_CHECKSUM_OFFSET);
    if (length > this.mtu && length > headerBytes + tcpHeaderBytes) {
      const ecn = (view.getUint8(tcp + TCP_FLAGS_OFFSET) & TCP_FLAG_CWR) === 0 ? 0 : VIRTIO_NET_HDR_GSO_ECN;
      const gsoSize = Math.max(1, this.mtu - headerBytes - tcpHeaderBytes);
      this.#superPacket(header, VIRTIO_NET_HDR_GSO_TCPV4 | ecn, headerBytes + tcpHeaderBytes, gsoSize);
    }
    return NO_REASON;
  }

  #acceptUdp(ip: number, headerBytes: number, length: number): number {
    const { view } = this.#memory;
    const udp = ip + headerBytes;
    const transportBytes = length - headerBytes;
    if (transportBytes < UDP_HEADER_BYTES) return DROP.inner_transport;
    const udpBytes = view.getUint16(udp + UDP_LENGTH_OFFSET);
    if (udpBytes < UDP_HEADER_BYTES || udpBytes > transportBytes) return DROP.inner_transport;
    const partial =
      this.#mayBePartial &&
      udpBytes === transportBytes &&
      isPartial(
        this.#memory,
        udp + UDP_CHECKSUM_OFFSET,
        pseudoSumAt(this.#memory, ip, IP_PROTOCOL_UDP, udpBytes),
      );
    if (!partial) {
      if (headerBytes === IPV4_HEADER_BYTES) {
        this.#coalescing.beginUdp(OWNER_FIRST_PEER + this.#slot, ip, length);
      } else {
        this.#beginWrite(ip, length);
      }
      return NO_REASON;
    }
    const header = this.#batch.headerOf(this.#beginWrite(ip, length));
    needsChecksum(this.#memory, header, headerBytes, UDP_CHECKSUM_OFFSET);
    if (length > this.mtu) {
      const gsoSize = this.#gsoHint || Math.max(1, this.mtu - headerBytes - UDP_HEADER_BYTES);
      this.#superPacket(header, VIRTIO_NET_HDR_GSO_UDP_L4, headerBytes + UDP_HEADER_BYTES, gsoSize);
    }
    return NO_REASON;
  }

  #superPacket(header: number, gsoType: number, headerBytes: number, gsoSize: number): void {
    const { view } = this.#memory;
    view.setUint8(header + VIRTIO_NET_GSO_TYPE_OFFSET, gsoType);
    view.setUint16(header + VIRTIO_NET_HEADER_LENGTH_OFFSET, headerBytes, true);
    view.setUint16(header + VIRTIO_NET_GSO_SIZE_OFFSET, gsoSize, true);
  }

  /** A write that is never merged. It must not be overtaken by its flow: earlier writes, of all flows since it is rare, grow no more. */
  #beginWrite(ip: number, length: number): number {
    this.#coalescing.finish();
    return this.#batch.begin(OWNER_FIRST_PEER + this.#slot, ip, length);
  }

  #writeOut(): void {
    this.#coalescing.finish();
    this.#flush();
  }
}
