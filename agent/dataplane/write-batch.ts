// Packets on their way to the TUN: each write is a virtio_net_hdr and one packet, gathered from up to 64 pieces of the receive buffers.
// Writes go out in the order in which they were begun. Each has room for all its pieces, so that an older write can still grow, and for
// headers of its own: the receive buffers are never changed, because the next process reads them again when this one is killed.
import { invariant } from '../../proto/invariant.ts';
import { VIRTIO_NET_HDR_BYTES } from '../../proto/virtio-net.ts';
import {
  IOVEC_BYTES,
  LEDGER_BYTES,
  LEDGER_IOVECS,
  LEDGER_PACKETS,
  LEDGER_ROW,
  LEDGER_WIRE_BYTES,
  WRITE_IOVECS_STRIDE,
} from './kernel-layout.ts';
import { type PacketMemory, setIovec } from './packet-memory.ts';

export const WRITES = 64;

/** Of IPv4 and TCP together: no IPv4 options, all TCP options. */
const OWN_HEADERS_BYTES = 80;
const HEADER_STRIDE = 96; // virtio_net_hdr and OWN_HEADERS_BYTES

export class WriteBatch {
  writes = 0;
  readonly #memory: PacketMemory;
  readonly #headers: number;
  /** Grown by the kernels too: kernel-layout.ts. */
  readonly ledger: number;
  readonly iovecs: number;

  constructor(memory: PacketMemory) {
    this.#memory = memory;
    this.#headers = memory.allocate(WRITES * HEADER_STRIDE);
    this.ledger = memory.allocate(WRITES * LEDGER_BYTES);
    this.iovecs = memory.allocate(WRITES * WRITE_IOVECS_STRIDE);
  }

  get full(): boolean {
    return this.writes === WRITES;
  }

  /** A write of one packet, its virtio_net_hdr all zero. The batch is not full. */
  begin(row: number, offset: number, length: number): number {
    const write = this.writes++;
    const { view } = this.#memory;
    const entry = this.ledger + write * LEDGER_BYTES;
    view.setUint32(entry + LEDGER_ROW, row, true);
    view.setUint32(entry + LEDGER_IOVECS, 2, true);
    view.setUint32(entry + LEDGER_PACKETS, 1, true);
    view.setUint32(entry + LEDGER_WIRE_BYTES, length, true);
    const header = this.headerOf(write);
    view.setUint32(header, 0); // VIRTIO_NET_HDR_BYTES of 0
    view.setUint32(header + 4, 0);
    view.setUint16(header + 8, 0);
    setIovec(this.#memory, this.iovecsOf(write), header, VIRTIO_NET_HDR_BYTES);
    setIovec(this.#memory, this.iovecsOf(write) + IOVEC_BYTES, offset, length);
    return write;
  }

  /** Gives the write a copy of its first packet's headers, to be changed; returns the copy's offset. Once, for a write of begin(). */
  ownHeaders(write: number, packet: number, headerBytes: number): number {
    invariant(headerBytes <= OWN_HEADERS_BYTES, () => `${headerBytes} bytes of headers to copy`);
    const { bytes, view } = this.#memory;
    const iovecs = this.iovecsOf(write);
    const header = this.headerOf(write);
    const copy = header + VIRTIO_NET_HDR_BYTES;
    bytes.copyWithin(copy, packet, packet + headerBytes);
    const payloadBytes = view.getUint32(iovecs + IOVEC_BYTES + 8, true) - headerBytes;
    setIovec(this.#memory, iovecs, header, VIRTIO_NET_HDR_BYTES + headerBytes);
    setIovec(this.#memory, iovecs + IOVEC_BYTES, packet + headerBytes, payloadBytes);
    return copy;
  }

  /** Statistics row of the peer that sent it. */
  rowOf(write: number): number {
    return this.#memory.view.getUint32(this.ledger + write * LEDGER_BYTES + LEDGER_ROW, true);
  }

  /** How many iovecs it has, virtio_net_hdr included. */
  iovecCountOf(write: number): number {
    return this.#memory.view.getUint32(this.ledger + write * LEDGER_BYTES + LEDGER_IOVECS, true);
  }

  /** How many packets it was on the wire. */
  packetsOf(write: number): number {
    return this.#memory.view.getUint32(this.ledger + write * LEDGER_BYTES + LEDGER_PACKETS, true);
  }

  /** How many bytes these were. */
  wireBytesOf(write: number): number {
    return this.#memory.view.getUint32(this.ledger + write * LEDGER_BYTES + LEDGER_WIRE_BYTES, true);
  }

  /** Offset of the write's virtio_net_hdr. */
  headerOf(write: number): number {
    return this.#headers + write * HEADER_STRIDE;
  }

  /** Offset of the write's iovec array. */
  iovecsOf(write: number): number {
    return this.iovecs + write * WRITE_IOVECS_STRIDE;
  }

  clear(): void {
    this.writes = 0;
  }
}
