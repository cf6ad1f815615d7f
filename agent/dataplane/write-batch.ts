// Packets on their way to the TUN: each write is a virtio_net_hdr and one packet, gathered from up to 64 pieces of the receive buffers.
// Writes go out in the order in which they were begun. Each has room for all its pieces, so that an older write can still grow, and for
// headers of its own: the receive buffers are never changed, because the next process reads them again when this one is killed.
import { invariant } from '../../proto/invariant.ts';
import { VIRTIO_NET_HDR_BYTES } from '../../proto/virtio-net.ts';
import { IOVEC_BYTES, type PacketMemory, setIovec } from './packet-memory.ts';

export const WRITES = 64;
/** Segments that one write may be merged from. */
export const WRITE_PIECES = 64;
export const NO_WRITE = -1;

const IOVEC_STRIDE = (1 + WRITE_PIECES) * IOVEC_BYTES;
/** Of IPv4 and TCP together: no IPv4 options, all TCP options. */
const OWN_HEADERS_BYTES = 80;
const HEADER_STRIDE = 96; // virtio_net_hdr and OWN_HEADERS_BYTES

export class WriteBatch {
  writes = 0;
  /** Statistics row of the peer that sent it. */
  readonly rows: Uint16Array = new Uint16Array(WRITES);
  /** virtio_net_hdr included. */
  readonly iovecs: Uint8Array = new Uint8Array(WRITES);
  /** Packets and bytes as they were on the wire. */
  readonly packets: Uint16Array = new Uint16Array(WRITES);
  readonly wireBytes: Uint32Array = new Uint32Array(WRITES);
  /** Offset of the first packet. */
  readonly #packets: Uint32Array = new Uint32Array(WRITES);
  readonly #memory: PacketMemory;
  readonly #headers: number;
  readonly #iovecs: number;

  constructor(memory: PacketMemory) {
    this.#memory = memory;
    this.#headers = memory.allocate(WRITES * HEADER_STRIDE);
    this.#iovecs = memory.allocate(WRITES * IOVEC_STRIDE);
  }

  get full(): boolean {
    return this.writes === WRITES;
  }

  /** A write of one packet, its virtio_net_hdr all zero. The batch is not full. */
  begin(row: number, offset: number, length: number): number {
    const write = this.writes++;
    this.rows[write] = row;
    this.iovecs[write] = 2;
    this.packets[write] = 1;
    this.wireBytes[write] = length;
    this.#packets[write] = offset;
    const header = this.headerOf(write);
    this.#memory.bytes.fill(0, header, header + VIRTIO_NET_HDR_BYTES);
    setIovec(this.#memory, this.iovecsOf(write), header, VIRTIO_NET_HDR_BYTES);
    setIovec(this.#memory, this.iovecsOf(write) + IOVEC_BYTES, offset, length);
    return write;
  }

  /** Gives the write a copy of its first packet's headers, to be changed; returns the copy's offset. Once, for a write of begin(). */
  ownHeaders(write: number, headerBytes: number): number {
    invariant(headerBytes <= OWN_HEADERS_BYTES, () => `${headerBytes} bytes of headers to copy`);
    const { bytes, view } = this.#memory;
    const iovecs = this.iovecsOf(write);
    const header = this.headerOf(write);
    const copy = header + VIRTIO_NET_HDR_BYTES;
    const packet = this.#packets[write]!; // !: begun
    bytes.copyWithin(copy, packet, packet + headerBytes);
    const payloadBytes = view.getUint32(iovecs + IOVEC_BYTES + 8, true) - headerBytes;
    setIovec(this.#memory, iovecs, header, VIRTIO_NET_HDR_BYTES + headerBytes);
    setIovec(this.#memory, iovecs + IOVEC_BYTES, packet + headerBytes, payloadBytes);
    return copy;
  }

  /** Adds the payload of a merged segment, whose packet was `wireBytes` long. */
  append(write: number, offset: number, length: number, wireBytes: number): void {
    const piece = this.iovecs[write]!; // !: begun
    setIovec(this.#memory, this.iovecsOf(write) + piece * IOVEC_BYTES, offset, length);
    this.iovecs[write] = piece + 1;
    this.packets[write]! += 1; // !: begun
    this.wireBytes[write]! += wireBytes; // !: begun
  }

  /** Offset of the write's virtio_net_hdr. */
  headerOf(write: number): number {
    return this.#headers + write * HEADER_STRIDE;
  }

  /** Offset of the write's iovec array. */
  iovecsOf(write: number): number {
    return this.#iovecs + write * IOVEC_STRIDE;
  }

  clear(): void {
    this.writes = 0;
  }
}
