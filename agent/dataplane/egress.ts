// From the TUN to the wire: checks a packet with its virtio_net_hdr, finds its peer, and puts it into the send batch: cut into segments
// where it is a super-packet, its checksum completed where it is partial. Whatever is refused is counted under its reason.
// No I/O: `flush` is the loop's. Positional numbers, because options objects would be allocated per packet.
import { complement, fold, storeWord } from '../../proto/checksum.ts';
import { NO_PEER_ROW } from '../../proto/dataplane-stats.ts';
import { OWNER_FIRST_PEER, OWNER_NOBODY, OWNER_SELF } from '../../proto/forwarding-table.ts';
import {
  IPV4_DESTINATION_OFFSET,
  IPV4_FLAG_DONT_FRAGMENT,
  IPV4_FRAGMENT_OFFSET,
  IPV4_HEADER_BYTES,
  IPV4_IS_FRAGMENT_MASK,
  IPV4_PROTOCOL_OFFSET,
  IPV4_SOURCE_OFFSET,
  IPV4_TOTAL_LENGTH_OFFSET,
  IP_PROTOCOL_TCP,
  IP_PROTOCOL_UDP,
} from '../../proto/ipv4-packet.ts';
import { TCP_DATA_OFFSET_OFFSET, TCP_HEADER_BYTES } from '../../proto/tcp.ts';
import { UDP_CHECKSUM_OFFSET, UDP_HEADER_BYTES } from '../../proto/udp.ts';
import {
  VIRTIO_NET_CHECKSUM_OFFSET_OFFSET,
  VIRTIO_NET_CHECKSUM_START_OFFSET,
  VIRTIO_NET_FLAGS_OFFSET,
  VIRTIO_NET_GSO_SIZE_OFFSET,
  VIRTIO_NET_GSO_TYPE_OFFSET,
  VIRTIO_NET_HDR_BYTES,
  VIRTIO_NET_HDR_F_NEEDS_CSUM,
  VIRTIO_NET_HDR_GSO_ECN,
  VIRTIO_NET_HDR_GSO_NONE,
  VIRTIO_NET_HDR_GSO_TCPV4,
  VIRTIO_NET_HDR_GSO_UDP_L4,
} from '../../proto/virtio-net.ts';
import { sendSocketOf } from './flow-hash.ts';
import { type Forwarding, OWNER_OUT_OF_RANGE } from './forwarding.ts';
import { Fragmentation } from './fragmentation.ts';
import type { PacketMemory } from './packet-memory.ts';
import { OVERLAY_HEADER_BYTES, type PeerRecords } from './peer-records.ts';
import { Segmentation, type SuperPacket } from './segmentation.ts';
import { FULL, type SendBatch, TRAIN_BYTES } from './send-batch.ts';
import { type DataplaneStats, DROP } from './stats.ts';
import { Tap } from './tap.ts';
import { pseudoSumAt } from './transport-checksum.ts';

export interface EgressOptions {
  readonly memory: PacketMemory;
  readonly stats: DataplaneStats;
  readonly records: PeerRecords;
  readonly batch: SendBatch;
  /** Sends the batch and clears it; the loop calls sent() with it. */
  readonly flush: () => void;
  /** The packet (offset of its IPv4 header, length) goes to a block that nobody owns. */
  readonly unreachable: (ip: number, length: number) => void;
  /** The packet has DF and is larger than the path to its peer takes, which is `mtu`. */
  readonly fragmentationNeeded?: (ip: number, length: number, mtu: number) => void;
  /** One that is never on unless told. */
  readonly tap?: Tap;
}

/** Counted in no peer's row, like every refusal before the peer is known. */
const NO_REASON = 0;

export class Egress {
  forwarding: Forwarding;
  /** What is accepted was taken by the process before, which may have completed its checksum already. */
  recovering = false;
  readonly #memory: PacketMemory;
  readonly #stats: DataplaneStats;
  readonly #records: PeerRecords;
  readonly #batch: SendBatch;
  readonly #flush: () => void;
  readonly #unreachable: (ip: number, length: number) => void;
  readonly #fragmentationNeeded: (ip: number, length: number, mtu: number) => void;
  readonly #tap: Tap;
  readonly #segmentation: Segmentation;
  readonly #fragmentation: Fragmentation;
  /** The super-packet in hand; one object for all. */
  readonly #packet: SuperPacket = {
    ip: 0,
    ipHeaderBytes: 0,
    transportHeaderBytes: 0,
    length: 0,
    gsoSize: 0,
    checksummed: true,
    overlayHeader: 0,
    row: 0,
    socket: 0,
  };

  constructor(forwarding: Forwarding, options: EgressOptions) {
    this.forwarding = forwarding;
    this.#memory = options.memory;
    this.#stats = options.stats;
    this.#records = options.records;
    this.#batch = options.batch;
    this.#unreachable = options.unreachable;
    this.#tap = options.tap ?? new Tap(options.memory);
    this.#flush = () => {
      options.flush();
      this.sent();
    };
    this.#fragmentationNeeded = options.fragmentationNeeded ?? ((): void => undefined);
    this.#segmentation = new Segmentation(options.memory, options.batch, this.#flush);
    this.#fragmentation = new Fragmentation(options.memory, options.batch, this.#flush);
  }

  /** The batch is empty again: segment headers may be overwritten. */
  sent(): void {
    this.#segmentation.reset();
    this.#fragmentation.reset();
  }

  /** What one read of the TUN gave: virtio_net_hdr and packet. The bytes must stay until the batch is sent. */
  accept(offset: number, length: number): void {
    const ip = offset + VIRTIO_NET_HDR_BYTES;
    const reason = this.#checkHeader(ip, length - VIRTIO_NET_HDR_BYTES);
    if (reason !== NO_REASON) {
      this.#refuse(offset, length - VIRTIO_NET_HDR_BYTES, NO_PEER_ROW, reason);
      return;
    }
    const { view } = this.#memory;
    const totalLength = view.getUint16(ip + IPV4_TOTAL_LENGTH_OFFSET);
    const owner = this.forwarding.ownerOf(view.getUint32(ip + IPV4_DESTINATION_OFFSET));
    if (owner < OWNER_FIRST_PEER) {
      this.#refuse(offset, totalLength, NO_PEER_ROW, reasonWithoutPeer(owner));
      if (owner === OWNER_NOBODY) this.#unreachable(ip, totalLength);
      return;
    }
    const refused = this.#send(offset, totalLength, owner);
    if (refused !== NO_REASON) this.#refuse(offset, totalLength, owner, refused);
    else if (this.#tap.isOn) this.#tap.egress(ip, totalLength, owner, NO_REASON);
  }

  #refuse(offset: number, length: number, row: number, reason: number): void {
    this.#stats.add(row, reason, this.#packetsOf(offset, length));
    if (this.#tap.isOn) this.#tap.egress(offset + VIRTIO_NET_HDR_BYTES, length, row, reason);
  }

  /** As how many packets a refused one counts: a super-packet as its segments, as where it is sent; one that is damaged as 1. */
  #packetsOf(offset: number, available: number): number {
    const { view } = this.#memory;
    if (available < IPV4_HEADER_BYTES) return 1;
    const gsoType = view.getUint8(offset + VIRTIO_NET_GSO_TYPE_OFFSET) & ~VIRTIO_NET_HDR_GSO_ECN;
    const gsoSize = view.getUint16(offset + VIRTIO_NET_GSO_SIZE_OFFSET, true);
    if (gsoType === VIRTIO_NET_HDR_GSO_NONE || gsoSize === 0) return 1;
    const ip = offset + VIRTIO_NET_HDR_BYTES;
    const transport = (view.getUint8(ip) & 0x0f) * 4;
    const length = view.getUint16(ip + IPV4_TOTAL_LENGTH_OFFSET);
    const isUdp = gsoType === VIRTIO_NET_HDR_GSO_UDP_L4;
    const protocol = view.getUint8(ip + IPV4_PROTOCOL_OFFSET);
    if (protocol !== (isUdp ? IP_PROTOCOL_UDP : IP_PROTOCOL_TCP)) return 1;
    if (length > available || length < transport + TCP_HEADER_BYTES) return 1;
    const transportHeaderBytes = isUdp
      ? UDP_HEADER_BYTES
      : (view.getUint8(ip + transport + TCP_DATA_OFFSET_OFFSET) >>> 4) * 4;
    return Math.max(1, Math.ceil((length - transport - transportHeaderBytes) / gsoSize));
  }

  #checkHeader(ip: number, available: number): number {
    const { view } = this.#memory;
    if (available < 1) return DROP.egress_truncated;
    const versionIhl = view.getUint8(ip);
    if (versionIhl >>> 4 !== 4) return DROP.egress_not_ipv4;
    const headerBytes = (versionIhl & 0x0f) * 4;
    if (headerBytes < IPV4_HEADER_BYTES || available < headerBytes) return DROP.egress_truncated;
    const totalLength = view.getUint16(ip + IPV4_TOTAL_LENGTH_OFFSET);
    if (totalLength < headerBytes || totalLength > available) return DROP.egress_truncated;
    const source = view.getUint32(ip + IPV4_SOURCE_OFFSET);
    const { forwarding } = this;
    if (forwarding.ownerOf(source) !== OWNER_SELF && (source !== forwarding.gateway || source === 0)) {
      return DROP.egress_source_not_local;
    }
    return NO_REASON;
  }

  #send(offset: number, length: number, owner: number): number {
    const { view } = this.#memory;
    switch (view.getUint8(offset + VIRTIO_NET_GSO_TYPE_OFFSET) & ~VIRTIO_NET_HDR_GSO_ECN) {
      case VIRTIO_NET_HDR_GSO_NONE:
        return this.#sendWhole(offset, length, owner);
      case VIRTIO_NET_HDR_GSO_TCPV4:
        return this.#sendTcp(offset, length, owner);
      case VIRTIO_NET_HDR_GSO_UDP_L4:
        return this.#sendUdp(offset, length, owner);
      default:
        return DROP.egress_unsupported_offload;
    }
  }

  #sendWhole(offset: number, length: number, owner: number): number {
    const { view } = this.#memory;
    const ip = offset + VIRTIO_NET_HDR_BYTES;
    const mtu = this.#records.pathMtuOf(owner - OWNER_FIRST_PEER);
    if (length > mtu && this.#mustNotFragment(ip, length, mtu)) return DROP.egress_path_mtu;
    if (Math.min(length, mtu) > TRAIN_BYTES - OVERLAY_HEADER_BYTES) return DROP.egress_too_big;
    if ((view.getUint8(offset + VIRTIO_NET_FLAGS_OFFSET) & VIRTIO_NET_HDR_F_NEEDS_CSUM) !== 0) {
      if (!this.#completeChecksum(offset, length)) return DROP.egress_unsupported_offload;
    }
    const headerBytes = (view.getUint8(ip) & 0x0f) * 4;
    const socket = sendSocketOf(view, ip, headerBytes, length);
    const overlayHeader = this.#records.headerOf(owner - OWNER_FIRST_PEER);
    if (length > mtu) {
      this.#fragmentation.towards(overlayHeader, owner, socket, mtu);
      this.#fragmentation.cut(ip, length);
      return NO_REASON;
    }
    const size = OVERLAY_HEADER_BYTES + length;
    let train = this.#batch.place(socket, owner, size);
    if (train === FULL) {
      this.#flush();
      train = this.#batch.place(socket, owner, size);
    }
    this.#batch.headers(train, overlayHeader, OVERLAY_HEADER_BYTES);
    this.#batch.payload(train, ip, length);
    return NO_REASON;
  }

  /** RFC 1071 over what the virtio_net_hdr names, where the packet was read; false when that is not inside the packet. */
  #completeChecksum(offset: number, length: number): boolean {
    const { bytes, view, sum } = this.#memory;
    const ip = offset + VIRTIO_NET_HDR_BYTES;
    const start = view.getUint16(offset + VIRTIO_NET_CHECKSUM_START_OFFSET, true);
    const field = start + view.getUint16(offset + VIRTIO_NET_CHECKSUM_OFFSET_OFFSET, true);
    if (start < (view.getUint8(ip) & 0x0f) * 4 || field + 2 > length) return false;
    const total = sum(ip + start, length - start);
    if (!this.recovering || !this.#isComplete(ip, start, length - start, total)) {
      storeWord(bytes, ip + field, complement(total) || 0xffff); // UDP: 0 means none
    }
    // For a successor that finds this packet unsent. Killed in between, it is complete and says that it is not.
    view.setUint8(offset + VIRTIO_NET_FLAGS_OFFSET, 0);
    return true;
  }

  /** Whether `total`, the sum of the transport segment, is that of a complete checksum. */
  #isComplete(ip: number, headerBytes: number, transportBytes: number, total: number): boolean {
    const protocol = this.#memory.view.getUint8(ip + IPV4_PROTOCOL_OFFSET);
    return (
      headerBytes === (this.#memory.view.getUint8(ip) & 0x0f) * 4 &&
      fold(pseudoSumAt(this.#memory, ip, protocol, transportBytes) + total) === 0xffff
    );
  }

  #sendTcp(offset: number, length: number, owner: number): number {
    const { view } = this.#memory;
    if (!this.#beginSuperPacket(offset, length, IP_PROTOCOL_TCP)) return DROP.egress_unsupported_offload;
    const packet = this.#packet;
    const tcp = packet.ip + packet.ipHeaderBytes;
    const room = length - packet.ipHeaderBytes;
    if (room < TCP_HEADER_BYTES) return DROP.egress_truncated;
    packet.transportHeaderBytes = (view.getUint8(tcp + TCP_DATA_OFFSET_OFFSET) >>> 4) * 4;
    if (packet.transportHeaderBytes < TCP_HEADER_BYTES || packet.transportHeaderBytes >= room) {
      return DROP.egress_truncated;
    }
    const segmentBytes = this.#address(owner);
    const mtu = this.#records.pathMtuOf(owner - OWNER_FIRST_PEER);
    if (segmentBytes > mtu) {
      if (this.#mustNotFragment(packet.ip, length, mtu)) return DROP.egress_path_mtu;
      packet.gsoSize = mtu - packet.ipHeaderBytes - packet.transportHeaderBytes;
    } else if (segmentBytes > TRAIN_BYTES - OVERLAY_HEADER_BYTES) return DROP.egress_too_big;
    this.#segmentation.cutTcp(packet);
    return NO_REASON;
  }

  #sendUdp(offset: number, length: number, owner: number): number {
    const { view } = this.#memory;
    if (!this.#beginSuperPacket(offset, length, IP_PROTOCOL_UDP)) return DROP.egress_unsupported_offload;
    const packet = this.#packet;
    if (length - packet.ipHeaderBytes <= UDP_HEADER_BYTES) return DROP.egress_truncated;
    packet.transportHeaderBytes = UDP_HEADER_BYTES;
    packet.checksummed =
      (view.getUint8(offset + VIRTIO_NET_FLAGS_OFFSET) & VIRTIO_NET_HDR_F_NEEDS_CSUM) !== 0 ||
      view.getUint16(packet.ip + packet.ipHeaderBytes + UDP_CHECKSUM_OFFSET) !== 0;
    const segmentBytes = this.#address(owner);
    const mtu = this.#records.pathMtuOf(owner - OWNER_FIRST_PEER);
    if (segmentBytes > mtu) {
      if (this.#mustNotFragment(packet.ip, length, mtu)) return DROP.egress_path_mtu;
      this.#fragmentation.towards(packet.overlayHeader, owner, packet.socket, mtu);
      this.#fragmentation.cutUdp(packet);
    } else if (segmentBytes > TRAIN_BYTES - OVERLAY_HEADER_BYTES) return DROP.egress_too_big;
    else this.#segmentation.cutUdp(packet);
    return NO_REASON;
  }

  /** False for a super-packet that no device makes: of another protocol, a fragment, without a segment size. */
  #beginSuperPacket(offset: number, length: number, protocol: number): boolean {
    const { view } = this.#memory;
    const packet = this.#packet;
    packet.ip = offset + VIRTIO_NET_HDR_BYTES;
    packet.length = length;
    packet.ipHeaderBytes = (view.getUint8(packet.ip) & 0x0f) * 4;
    packet.gsoSize = view.getUint16(offset + VIRTIO_NET_GSO_SIZE_OFFSET, true);
    return (
      packet.gsoSize > 0 &&
      view.getUint8(packet.ip + IPV4_PROTOCOL_OFFSET) === protocol &&
      (view.getUint16(packet.ip + IPV4_FRAGMENT_OFFSET) & IPV4_IS_FRAGMENT_MASK) === 0
    );
  }

  /** For a packet that is larger than its path takes: true for one with DF, whose sender is told. */
  #mustNotFragment(ip: number, length: number, mtu: number): boolean {
    if ((this.#memory.view.getUint16(ip + IPV4_FRAGMENT_OFFSET) & IPV4_FLAG_DONT_FRAGMENT) === 0)
      return false;
    this.#fragmentationNeeded(ip, length, mtu);
    return true;
  }

  /** Where the super-packet goes; returns the length of its segments as packets. */
  #address(owner: number): number {
    const packet = this.#packet;
    const headerBytes = packet.ipHeaderBytes + packet.transportHeaderBytes;
    packet.row = owner;
    packet.overlayHeader = this.#records.headerOf(owner - OWNER_FIRST_PEER);
    packet.socket = sendSocketOf(this.#memory.view, packet.ip, packet.ipHeaderBytes, packet.length);
    return headerBytes + Math.min(packet.gsoSize, packet.length - headerBytes);
  }
}

function reasonWithoutPeer(owner: number): number {
  switch (owner) {
    case OWNER_OUT_OF_RANGE:
      return DROP.egress_out_of_range;
    case OWNER_SELF:
      return DROP.egress_local;
    default:
      return DROP.egress_no_owner;
  }
}
