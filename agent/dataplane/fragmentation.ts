// Fragments an inner IPv4 packet without DF that is larger than its peer's path takes (RFC 791 section 3.2), as the kernel does it: options
// that are not to be copied become no-operations in the later fragments. Each fragment gets a copy of the header; its payload stays where
// it was read. A packet that is a fragment itself is cut further: its offset goes on and its more-fragments flag stays on the last one.
import { complement, protocolLengthSum, storeWord } from '../../proto/checksum.ts';
import {
  IPV4_CHECKSUM_OFFSET,
  IPV4_FLAG_MORE_FRAGMENTS,
  IPV4_FLAG_RESERVED,
  IPV4_FRAGMENT_MASK,
  IPV4_FRAGMENT_OFFSET,
  IPV4_HEADER_BYTES,
  IPV4_IDENTIFICATION_OFFSET,
  IPV4_SOURCE_OFFSET,
  IPV4_TOTAL_LENGTH_OFFSET,
  IP_PROTOCOL_UDP,
} from '../../proto/ipv4-packet.ts';
import { UDP_CHECKSUM_OFFSET, UDP_HEADER_BYTES, UDP_LENGTH_OFFSET } from '../../proto/udp.ts';
import type { PacketMemory } from './packet-memory.ts';
import { OVERLAY_HEADER_BYTES } from './peer-records.ts';
import type { SuperPacket } from './segmentation.ts';
import { FULL, type SendBatch } from './send-batch.ts';

const HEADERS_STRIDE = 96; // overlay 22 + IPv4 60 + UDP 8, and room to the next multiple of 32
const HEADER_COPIES = 512;
const ADDRESSES_BYTES = 8;
/** Fragment offsets count these. */
const UNIT = 8;

const OPTION_END = 0;
const OPTION_NO_OPERATION = 1;
const OPTION_COPIED = 0x80;

/** Where the fragments go, and how large they may be; one object for all. */
interface Destination {
  overlayHeader: number;
  row: number;
  socket: number;
  mtu: number;
}

export class Fragmentation {
  readonly #memory: PacketMemory;
  readonly #batch: SendBatch;
  readonly #flush: () => void;
  /** Overlay, IPv4 and, of a super-packet's segment, UDP header that the fragments in hand are copied from. */
  readonly #template: number;
  readonly #copies: number;
  readonly #to: Destination = { overlayHeader: 0, row: 0, socket: 0, mtu: 0 };
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

  /** The packets that follow go to this peer. */
  towards(overlayHeader: number, row: number, socket: number, mtu: number): void {
    this.#to.overlayHeader = overlayHeader;
    this.#to.row = row;
    this.#to.socket = socket;
    this.#to.mtu = mtu;
  }

  /** A packet that was checked, with its checksum complete. */
  cut(ip: number, length: number): void {
    const { view } = this.#memory;
    const headerBytes = (view.getUint8(ip) & 0x0f) * 4;
    this.#prepareTemplate(ip, headerBytes);
    this.#emit(headerBytes, 0, ip + headerBytes, length - headerBytes);
  }

  /** A UDP super-packet: into datagrams first, as segmentation.ts does it, then each of them. */
  cutUdp(packet: SuperPacket): void {
    const { bytes, view, sum } = this.#memory;
    const { ip, ipHeaderBytes, gsoSize } = packet;
    const payload = ip + ipHeaderBytes + UDP_HEADER_BYTES;
    const payloadBytes = packet.length - ipHeaderBytes - UDP_HEADER_BYTES;
    const identification = view.getUint16(ip + IPV4_IDENTIFICATION_OFFSET);
    const udp = this.#template + OVERLAY_HEADER_BYTES + ipHeaderBytes;
    let index = 0;
    for (let at = 0; at < payloadBytes; at += gsoSize) {
      const size = Math.min(gsoSize, payloadBytes - at);
      const udpBytes = UDP_HEADER_BYTES + size;
      this.#prepareTemplate(ip, ipHeaderBytes);
      const header = this.#template + OVERLAY_HEADER_BYTES;
      view.setUint16(header + IPV4_IDENTIFICATION_OFFSET, (identification + index) & 0xffff);
      bytes.copyWithin(udp, ip + ipHeaderBytes, ip + ipHeaderBytes + UDP_HEADER_BYTES);
      view.setUint16(udp + UDP_LENGTH_OFFSET, udpBytes);
      view.setUint16(udp + UDP_CHECKSUM_OFFSET, 0);
      if (packet.checksummed) {
        const pseudo =
          sum(ip + IPV4_SOURCE_OFFSET, ADDRESSES_BYTES) + protocolLengthSum(IP_PROTOCOL_UDP, udpBytes);
        const total = pseudo + sum(udp, UDP_HEADER_BYTES) + sum(payload + at, size);
        storeWord(bytes, udp + UDP_CHECKSUM_OFFSET, complement(total) || 0xffff); // RFC 768: 0 means none
      }
      this.#emit(ipHeaderBytes, UDP_HEADER_BYTES, payload + at, size);
      index++;
    }
  }

  #prepareTemplate(ip: number, headerBytes: number): void {
    const { bytes } = this.#memory;
    const { overlayHeader } = this.#to;
    bytes.copyWithin(this.#template, overlayHeader, overlayHeader + OVERLAY_HEADER_BYTES);
    bytes.copyWithin(this.#template + OVERLAY_HEADER_BYTES, ip, ip + headerBytes);
  }

  /** `prefixBytes` behind the template's IPv4 header go before the payload, in the first fragment. */
  #emit(headerBytes: number, prefixBytes: number, payload: number, payloadBytes: number): void {
    const { view } = this.#memory;
    const ip = this.#template + OVERLAY_HEADER_BYTES;
    const word = view.getUint16(ip + IPV4_FRAGMENT_OFFSET);
    const room = Math.max(UNIT, (this.#to.mtu - headerBytes) & -UNIT);
    let prefix = prefixBytes;
    for (let at = 0; at < payloadBytes;) {
      const size = Math.min(room - prefix, payloadBytes - at);
      const isLast = at + size === payloadBytes;
      const start = at === 0 ? 0 : (prefixBytes + at) / UNIT;
      const more = isLast ? word & IPV4_FLAG_MORE_FRAGMENTS : IPV4_FLAG_MORE_FRAGMENTS;
      const offset = ((word & IPV4_FRAGMENT_MASK) + start) & IPV4_FRAGMENT_MASK;
      this.#place(headerBytes, prefix, (word & IPV4_FLAG_RESERVED) | more | offset, payload + at, size);
      if (at === 0) this.#keepCopiedOptions(ip, headerBytes);
      at += size;
      prefix = 0;
    }
  }

  #place(
    headerBytes: number,
    prefixBytes: number,
    fragmentWord: number,
    payload: number,
    size: number,
  ): void {
    const { bytes, view, sum } = this.#memory;
    const batch = this.#batch;
    const { row, socket } = this.#to;
    const headersBytes = OVERLAY_HEADER_BYTES + headerBytes + prefixBytes;
    if (this.#used === HEADER_COPIES) this.#flush();
    let train = batch.place(socket, row, headersBytes + size);
    if (train === FULL) {
      this.#flush();
      train = batch.place(socket, row, headersBytes + size);
    }
    const copy = this.#copies + this.#used++ * HEADERS_STRIDE;
    bytes.copyWithin(copy, this.#template, this.#template + headersBytes);
    const ip = copy + OVERLAY_HEADER_BYTES;
    view.setUint16(ip + IPV4_TOTAL_LENGTH_OFFSET, headerBytes + prefixBytes + size);
    view.setUint16(ip + IPV4_FRAGMENT_OFFSET, fragmentWord);
    view.setUint16(ip + IPV4_CHECKSUM_OFFSET, 0);
    storeWord(bytes, ip + IPV4_CHECKSUM_OFFSET, complement(sum(ip, headerBytes)));
    batch.headers(train, copy, headersBytes);
    batch.payload(train, payload, size);
  }

  /** In the template: the options of the later fragments. What is malformed ends the options. */
  #keepCopiedOptions(ip: number, headerBytes: number): void {
    const { bytes } = this.#memory;
    const end = ip + headerBytes;
    for (let at = ip + IPV4_HEADER_BYTES; at < end;) {
      const type = bytes[at]!; // !: inside the header
      if (type === OPTION_END) return;
      const length = type === OPTION_NO_OPERATION ? 1 : at + 1 < end ? bytes[at + 1]! : 0; // !: inside the header
      if (length < 1 || (type !== OPTION_NO_OPERATION && length < 2) || at + length > end) {
        bytes.fill(OPTION_END, at, end);
        return;
      }
      if ((type & OPTION_COPIED) === 0) bytes.fill(OPTION_NO_OPERATION, at, at + length);
      at += length;
    }
  }
}
