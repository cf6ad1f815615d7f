// Cuts a TCP or UDP super-packet into segments for the wire by writing headers only: each segment gets a copy of the headers with its
// length, identification, sequence number, flags and checksums; its payload stays where it was read (scatter/gather).
// As the kernel's software GSO does it (net/ipv4/tcp_offload.c, udp_offload.c): FIN and PSH on the last segment only, CWR on the first
// only, the IPv4 identification counts up.
import { complement, protocolLengthSum, storeWord, swapBytes } from '../../proto/checksum.ts';
import {
  IPV4_CHECKSUM_OFFSET,
  IPV4_IDENTIFICATION_OFFSET,
  IPV4_MAX_HEADER_BYTES,
  IPV4_SOURCE_OFFSET,
  IPV4_TOTAL_LENGTH_OFFSET,
  IP_PROTOCOL_TCP,
  IP_PROTOCOL_UDP,
} from '../../proto/ipv4-packet.ts';
import {
  TCP_CHECKSUM_OFFSET,
  TCP_FLAGS_OFFSET,
  TCP_FLAG_CWR,
  TCP_FLAG_FIN,
  TCP_FLAG_PSH,
  TCP_MAX_HEADER_BYTES,
  TCP_SEQUENCE_OFFSET,
} from '../../proto/tcp.ts';
import { UDP_CHECKSUM_OFFSET, UDP_HEADER_BYTES, UDP_LENGTH_OFFSET } from '../../proto/udp.ts';
import type { PacketMemory } from './packet-memory.ts';
import { OVERLAY_HEADER_BYTES } from './peer-records.ts';
import { FULL, type SendBatch } from './send-batch.ts';

const HEADERS_STRIDE = 160; // overlay 22 + IPv4 60 + TCP 60, and room to the next multiple of 32
const HEADER_COPIES = 1024;
const ADDRESSES_BYTES = 8;

/** A super-packet that was checked: headers inside its length, payload and gsoSize above 0. Reused, one at a time. */
export interface SuperPacket {
  /** Offset of the IPv4 header. */
  ip: number;
  ipHeaderBytes: number;
  transportHeaderBytes: number;
  /** Whole packet. */
  length: number;
  gsoSize: number;
  /** UDP only: false leaves the checksum field 0. */
  checksummed: boolean;
  /** Offset of the peer's overlay header. */
  overlayHeader: number;
  row: number;
  socket: number;
}

export class Segmentation {
  readonly #memory: PacketMemory;
  readonly #batch: SendBatch;
  readonly #flush: () => void;
  /** Headers that all segments of the super-packet in hand are copied from; every field that differs is 0. */
  readonly #template: number;
  readonly #copies: number;
  #used = 0;

  /** `flush` sends the batch, clears it and calls reset(). */
  constructor(memory: PacketMemory, batch: SendBatch, flush: () => void) {
    this.#memory = memory;
    this.#batch = batch;
    this.#flush = flush;
    this.#template = memory.allocate(HEADERS_STRIDE);
    this.#copies = memory.allocate(HEADERS_STRIDE * HEADER_COPIES);
  }

  /** The batch was sent: its headers may be overwritten. */
  reset(): void {
    this.#used = 0;
  }

  cutTcp(packet: SuperPacket): void {
    const { bytes, view, sum } = this.#memory;
    const { ip, ipHeaderBytes, transportHeaderBytes, gsoSize } = packet;
    const headerBytes = ipHeaderBytes + transportHeaderBytes;
    const payload = ip + headerBytes;
    const payloadBytes = packet.length - headerBytes;
    const identification = view.getUint16(ip + IPV4_IDENTIFICATION_OFFSET);
    const sequence = view.getUint32(ip + ipHeaderBytes + TCP_SEQUENCE_OFFSET);
    const flags = view.getUint8(ip + ipHeaderBytes + TCP_FLAGS_OFFSET);

    const ipSum = this.#prepareTemplate(packet);
    const transportTemplate = this.#template + OVERLAY_HEADER_BYTES + ipHeaderBytes;
    view.setUint32(transportTemplate + TCP_SEQUENCE_OFFSET, 0);
    view.setUint16(transportTemplate + TCP_CHECKSUM_OFFSET, 0);
    view.setUint8(transportTemplate + TCP_FLAGS_OFFSET, 0);
    const tcpSum =
      sum(ip + IPV4_SOURCE_OFFSET, ADDRESSES_BYTES) + sum(transportTemplate, transportHeaderBytes);

    let index = 0;
    for (let at = 0; at < payloadBytes; at += gsoSize) {
      const size = Math.min(gsoSize, payloadBytes - at);
      const copy = this.#nextSegment(packet, headerBytes, payload + at, size);
      this.#patchIp(copy, headerBytes + size, (identification + index) & 0xffff, ipSum);

      const own = at + size === payloadBytes ? flags : flags & ~(TCP_FLAG_FIN | TCP_FLAG_PSH);
      const segmentFlags = index === 0 ? own : own & ~TCP_FLAG_CWR;
      const segmentSequence = (sequence + at) >>> 0;
      const tcp = copy + ipHeaderBytes;
      view.setUint32(tcp + TCP_SEQUENCE_OFFSET, segmentSequence);
      view.setUint8(tcp + TCP_FLAGS_OFFSET, segmentFlags);
      const total =
        tcpSum +
        protocolLengthSum(IP_PROTOCOL_TCP, transportHeaderBytes + size) +
        swapBytes(segmentSequence >>> 16) +
        swapBytes(segmentSequence & 0xffff) +
        (segmentFlags << 8) +
        sum(payload + at, size);
      storeWord(bytes, tcp + TCP_CHECKSUM_OFFSET, complement(total));
      index++;
    }
  }

  cutUdp(packet: SuperPacket): void {
    const { bytes, view, sum } = this.#memory;
    const { ip, ipHeaderBytes, gsoSize } = packet;
    const headerBytes = ipHeaderBytes + UDP_HEADER_BYTES;
    const payload = ip + headerBytes;
    const payloadBytes = packet.length - headerBytes;
    const identification = view.getUint16(ip + IPV4_IDENTIFICATION_OFFSET);

    const ipSum = this.#prepareTemplate(packet);
    const transportTemplate = this.#template + OVERLAY_HEADER_BYTES + ipHeaderBytes;
    view.setUint16(transportTemplate + UDP_LENGTH_OFFSET, 0);
    view.setUint16(transportTemplate + UDP_CHECKSUM_OFFSET, 0);
    const udpSum = sum(ip + IPV4_SOURCE_OFFSET, ADDRESSES_BYTES) + sum(transportTemplate, UDP_HEADER_BYTES);

    let index = 0;
    for (let at = 0; at < payloadBytes; at += gsoSize) {
      const size = Math.min(gsoSize, payloadBytes - at);
      const copy = this.#nextSegment(packet, headerBytes, payload + at, size);
      this.#patchIp(copy, headerBytes + size, (identification + index) & 0xffff, ipSum);
      const udp = copy + ipHeaderBytes;
      const udpBytes = UDP_HEADER_BYTES + size;
      view.setUint16(udp + UDP_LENGTH_OFFSET, udpBytes);
      if (packet.checksummed) {
        const pseudo = protocolLengthSum(IP_PROTOCOL_UDP, udpBytes);
        const total = udpSum + pseudo + swapBytes(udpBytes) + sum(payload + at, size);
        storeWord(bytes, udp + UDP_CHECKSUM_OFFSET, complement(total) || 0xffff); // RFC 768: 0 means none
      }
      index++;
    }
  }

  /** Copies overlay, IPv4 and transport headers; returns the sum of the IPv4 header without length, identification and checksum. */
  #prepareTemplate(packet: SuperPacket): number {
    const { bytes, view, sum } = this.#memory;
    const template = this.#template;
    bytes.copyWithin(template, packet.overlayHeader, packet.overlayHeader + OVERLAY_HEADER_BYTES);
    const ip = template + OVERLAY_HEADER_BYTES;
    bytes.copyWithin(ip, packet.ip, packet.ip + packet.ipHeaderBytes + packet.transportHeaderBytes);
    view.setUint16(ip + IPV4_TOTAL_LENGTH_OFFSET, 0);
    view.setUint16(ip + IPV4_IDENTIFICATION_OFFSET, 0);
    view.setUint16(ip + IPV4_CHECKSUM_OFFSET, 0);
    return sum(ip, packet.ipHeaderBytes);
  }

  /** Puts a copy of the template and the payload into the batch; returns the offset of the copy's IPv4 header. */
  #nextSegment(packet: SuperPacket, headerBytes: number, payload: number, payloadBytes: number): number {
    const wireHeaderBytes = OVERLAY_HEADER_BYTES + headerBytes;
    if (this.#used === HEADER_COPIES) this.#flush();
    let train = this.#batch.place(packet.socket, packet.row, wireHeaderBytes + payloadBytes);
    if (train === FULL) {
      this.#flush();
      train = this.#batch.place(packet.socket, packet.row, wireHeaderBytes + payloadBytes);
    }
    const copy = this.#copies + this.#used++ * HEADERS_STRIDE;
    this.#memory.bytes.copyWithin(copy, this.#template, this.#template + wireHeaderBytes);
    this.#batch.headers(train, copy, wireHeaderBytes);
    this.#batch.payload(train, payload, payloadBytes);
    return copy + OVERLAY_HEADER_BYTES;
  }

  #patchIp(ip: number, totalLength: number, identification: number, ipSum: number): void {
    const { bytes, view } = this.#memory;
    view.setUint16(ip + IPV4_TOTAL_LENGTH_OFFSET, totalLength);
    view.setUint16(ip + IPV4_IDENTIFICATION_OFFSET, identification);
    storeWord(
      bytes,
      ip + IPV4_CHECKSUM_OFFSET,
      complement(ipSum + swapBytes(totalLength) + swapBytes(identification)),
    );
  }
}

/** What HEADERS_STRIDE must hold. */
export const LARGEST_HEADERS_BYTES: number =
  OVERLAY_HEADER_BYTES + IPV4_MAX_HEADER_BYTES + TCP_MAX_HEADER_BYTES;
