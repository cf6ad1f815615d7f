// Merges TCP segments of one flow that follow each other into one GSO packet for the TUN, which is cut again, exactly so, where it leaves
// the node's offloads. The rules are the kernel's GRO (net/ipv4/af_inet.c, tcp_offload.c) and stricter: no options in IPv4, no fragments,
// same TOS, TTL, DF, ports, acknowledgment, window and TCP options, identification and sequence counting up, flags ACK, ECE and, on the
// last, PSH; equal sizes but for a shorter last one. A segment is merged only when its checksum was verified (or is partial).
// Invariant: segmenting what was merged gives the very packets back. Only the newest write of the batch grows, so no order changes.
import { complement, storeWord } from '../../proto/checksum.ts';
import {
  IPV4_CHECKSUM_OFFSET,
  IPV4_DESTINATION_OFFSET,
  IPV4_FRAGMENT_OFFSET,
  IPV4_HEADER_BYTES,
  IPV4_IDENTIFICATION_OFFSET,
  IPV4_IS_FRAGMENT_MASK,
  IPV4_MAX_PACKET_BYTES,
  IPV4_SOURCE_OFFSET,
  IPV4_TIME_TO_LIVE_OFFSET,
  IPV4_TOTAL_LENGTH_OFFSET,
  IPV4_TYPE_OF_SERVICE_OFFSET,
  IPV4_VERSION_IHL_OFFSET,
  IPV4_VERSION_IHL_PLAIN,
  IP_PROTOCOL_TCP,
} from '../../proto/ipv4-packet.ts';
import {
  TCP_ACKNOWLEDGMENT_OFFSET,
  TCP_CHECKSUM_OFFSET,
  TCP_DATA_OFFSET_OFFSET,
  TCP_FLAGS_OFFSET,
  TCP_FLAG_ACK,
  TCP_FLAG_ECE,
  TCP_FLAG_PSH,
  TCP_OPTIONS_OFFSET,
  TCP_SEQUENCE_OFFSET,
  TCP_SOURCE_PORT_OFFSET,
  TCP_URGENT_POINTER_OFFSET,
  TCP_WINDOW_OFFSET,
} from '../../proto/tcp.ts';
import {
  VIRTIO_NET_GSO_SIZE_OFFSET,
  VIRTIO_NET_GSO_TYPE_OFFSET,
  VIRTIO_NET_HEADER_LENGTH_OFFSET,
  VIRTIO_NET_HDR_GSO_TCPV4,
} from '../../proto/virtio-net.ts';
import type { PacketMemory } from './packet-memory.ts';
import { isComplete, isPartial, needsChecksum, pseudoSumAt, storePartial } from './transport-checksum.ts';
import { NO_WRITE, WRITE_PIECES, type WriteBatch } from './write-batch.ts';

const MERGEABLE_FLAGS = TCP_FLAG_ACK | TCP_FLAG_PSH | TCP_FLAG_ECE;
/** TCP starts here in every packet that is looked at: no IPv4 options. */
const TCP = IPV4_HEADER_BYTES;

export class TcpCoalescing {
  readonly #memory: PacketMemory;
  readonly #batch: WriteBatch;
  /** The write that may grow: the newest, or NO_WRITE. */
  #open = NO_WRITE;
  #first = 0; // offset of its first packet's IPv4 header
  #headerBytes = 0;
  #gsoSize = 0;
  #totalLength = 0;
  #nextSequence = 0;
  #nextIdentification = 0;
  #lastFlags = 0;
  #firstVerified = false;

  constructor(memory: PacketMemory, batch: WriteBatch) {
    this.#memory = memory;
    this.#batch = batch;
  }

  /** Takes a checked TCP packet, merged into the newest write or begun as a write of its own. The batch is not full. */
  accept(row: number, ip: number, length: number): void {
    const { view } = this.#memory;
    const headerBytes = TCP + (view.getUint8(ip + TCP + TCP_DATA_OFFSET_OFFSET) >>> 4) * 4;
    if (this.#open !== NO_WRITE && this.#follows(ip, headerBytes, length)) {
      this.#merge(ip, headerBytes, length);
      return;
    }
    this.finish();
    const write = this.#batch.begin(row, ip, length);
    if (isMergeable(view, ip) && length > headerBytes) this.#start(write, ip, headerBytes, length);
  }

  /** The newest write grows no more: before another is begun, and before the batch is written. */
  finish(): void {
    if (this.#open === NO_WRITE) return;
    if (this.#totalLength > this.#headerBytes + this.#gsoSize) this.#seal();
    this.#open = NO_WRITE;
  }

  #start(write: number, ip: number, headerBytes: number, length: number): void {
    const { view } = this.#memory;
    this.#lastFlags = view.getUint8(ip + TCP + TCP_FLAGS_OFFSET);
    if ((this.#lastFlags & TCP_FLAG_PSH) !== 0) return; // the sender wants it delivered now
    this.#open = write;
    this.#first = ip;
    this.#headerBytes = headerBytes;
    this.#gsoSize = length - headerBytes;
    this.#totalLength = length;
    this.#nextSequence = (view.getUint32(ip + TCP + TCP_SEQUENCE_OFFSET) + this.#gsoSize) >>> 0;
    this.#nextIdentification = (view.getUint16(ip + IPV4_IDENTIFICATION_OFFSET) + 1) & 0xffff;
    this.#firstVerified = false;
  }

  #follows(ip: number, headerBytes: number, length: number): boolean {
    const { view } = this.#memory;
    const payloadBytes = length - headerBytes;
    if (headerBytes !== this.#headerBytes || payloadBytes <= 0 || payloadBytes > this.#gsoSize) return false;
    if (this.#totalLength + payloadBytes > IPV4_MAX_PACKET_BYTES) return false;
    if (
      view.getUint32(ip + TCP + TCP_SEQUENCE_OFFSET) !== this.#nextSequence ||
      view.getUint16(ip + IPV4_IDENTIFICATION_OFFSET) !== this.#nextIdentification ||
      !isMergeable(view, ip) ||
      !sameHeaders(view, this.#first, ip) ||
      !sameOptions(view, this.#first, ip, headerBytes)
    ) {
      return false;
    }
    if (!this.#firstVerified) {
      if (!this.#verify(this.#first, this.#headerBytes + this.#gsoSize)) return false;
      this.#firstVerified = true;
    }
    return this.#verify(ip, length);
  }

  #verify(ip: number, length: number): boolean {
    const transportBytes = length - TCP;
    const pseudoSum = pseudoSumAt(this.#memory, ip, IP_PROTOCOL_TCP, transportBytes);
    return (
      isPartial(this.#memory, ip + TCP + TCP_CHECKSUM_OFFSET, pseudoSum) ||
      isComplete(this.#memory, ip + TCP, transportBytes, pseudoSum)
    );
  }

  #merge(ip: number, headerBytes: number, length: number): void {
    const payloadBytes = length - headerBytes;
    const write = this.#open;
    this.#batch.append(write, ip + headerBytes, payloadBytes, length);
    this.#totalLength += payloadBytes;
    this.#nextSequence = (this.#nextSequence + payloadBytes) >>> 0;
    this.#nextIdentification = (this.#nextIdentification + 1) & 0xffff;
    this.#lastFlags = this.#memory.view.getUint8(ip + TCP + TCP_FLAGS_OFFSET);
    if (
      payloadBytes < this.#gsoSize ||
      (this.#lastFlags & TCP_FLAG_PSH) !== 0 ||
      this.#batch.packets[write] === WRITE_PIECES
    ) {
      this.finish();
    }
  }

  /** Gives the write headers of the whole: a changed copy of the first segment's, and the virtio_net_hdr. */
  #seal(): void {
    const { bytes, view, sum } = this.#memory;
    const ip = this.#batch.ownHeaders(this.#open, this.#headerBytes);
    view.setUint16(ip + IPV4_TOTAL_LENGTH_OFFSET, this.#totalLength);
    view.setUint16(ip + IPV4_CHECKSUM_OFFSET, 0);
    storeWord(bytes, ip + IPV4_CHECKSUM_OFFSET, complement(sum(ip, IPV4_HEADER_BYTES)));
    view.setUint8(ip + TCP + TCP_FLAGS_OFFSET, this.#lastFlags);
    const pseudoSum = pseudoSumAt(this.#memory, ip, IP_PROTOCOL_TCP, this.#totalLength - TCP);
    storePartial(this.#memory, ip + TCP + TCP_CHECKSUM_OFFSET, pseudoSum);
    const header = this.#batch.headerOf(this.#open);
    needsChecksum(this.#memory, header, TCP, TCP_CHECKSUM_OFFSET);
    view.setUint8(header + VIRTIO_NET_GSO_TYPE_OFFSET, VIRTIO_NET_HDR_GSO_TCPV4);
    view.setUint16(header + VIRTIO_NET_HEADER_LENGTH_OFFSET, this.#headerBytes, true);
    view.setUint16(header + VIRTIO_NET_GSO_SIZE_OFFSET, this.#gsoSize, true);
  }
}

/** What a packet must be by itself to be part of a merge. */
const isMergeable = (view: DataView, ip: number): boolean => {
  const flags = view.getUint8(ip + TCP + TCP_FLAGS_OFFSET);
  return (
    view.getUint8(ip + IPV4_VERSION_IHL_OFFSET) === IPV4_VERSION_IHL_PLAIN &&
    (view.getUint16(ip + IPV4_FRAGMENT_OFFSET) & IPV4_IS_FRAGMENT_MASK) === 0 &&
    (flags & TCP_FLAG_ACK) !== 0 &&
    (flags & ~MERGEABLE_FLAGS) === 0 &&
    (view.getUint8(ip + TCP + TCP_DATA_OFFSET_OFFSET) & 0x0f) === 0 // AE and reserved bits
  );
};

/** Everything that two segments of one merge share, but the TCP options. */
const sameHeaders = (view: DataView, a: number, b: number): boolean =>
  view.getUint32(a + IPV4_SOURCE_OFFSET) === view.getUint32(b + IPV4_SOURCE_OFFSET) &&
  view.getUint32(a + IPV4_DESTINATION_OFFSET) === view.getUint32(b + IPV4_DESTINATION_OFFSET) &&
  view.getUint32(a + TCP + TCP_SOURCE_PORT_OFFSET) === view.getUint32(b + TCP + TCP_SOURCE_PORT_OFFSET) &&
  view.getUint8(a + IPV4_TYPE_OF_SERVICE_OFFSET) === view.getUint8(b + IPV4_TYPE_OF_SERVICE_OFFSET) &&
  view.getUint16(a + IPV4_FRAGMENT_OFFSET) === view.getUint16(b + IPV4_FRAGMENT_OFFSET) &&
  view.getUint8(a + IPV4_TIME_TO_LIVE_OFFSET) === view.getUint8(b + IPV4_TIME_TO_LIVE_OFFSET) &&
  view.getUint32(a + TCP + TCP_ACKNOWLEDGMENT_OFFSET) ===
    view.getUint32(b + TCP + TCP_ACKNOWLEDGMENT_OFFSET) &&
  view.getUint16(a + TCP + TCP_WINDOW_OFFSET) === view.getUint16(b + TCP + TCP_WINDOW_OFFSET) &&
  view.getUint16(a + TCP + TCP_URGENT_POINTER_OFFSET) ===
    view.getUint16(b + TCP + TCP_URGENT_POINTER_OFFSET) &&
  ((view.getUint8(a + TCP + TCP_FLAGS_OFFSET) ^ view.getUint8(b + TCP + TCP_FLAGS_OFFSET)) &
    ~TCP_FLAG_PSH) ===
    0;

const sameOptions = (view: DataView, a: number, b: number, headerBytes: number): boolean => {
  for (let at = TCP + TCP_OPTIONS_OFFSET; at < headerBytes; at += 4) {
    if (view.getUint32(a + at) !== view.getUint32(b + at)) return false;
  }
  return true;
};
