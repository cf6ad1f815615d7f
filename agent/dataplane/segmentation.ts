// Cuts a TCP or UDP super-packet into segments for the wire: the kernels (assembly/segments.ts) write headers and iovecs, a run of segments
// at a time, as many as the newest train of the packet's socket takes; payload stays where it was read (scatter/gather).
import { UDP_HEADER_BYTES } from '../../proto/udp.ts';
import { SEGMENT_HEADERS_STRIDE } from './kernel-layout.ts';
import type { PacketMemory } from './packet-memory.ts';
import { OVERLAY_HEADER_BYTES } from './peer-records.ts';
import { FULL, type SendBatch } from './send-batch.ts';

const HEADER_COPIES = 1024;

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
  readonly #copies: number;
  #used = 0;

  /** `flush` sends the batch, clears it and calls reset(). */
  constructor(memory: PacketMemory, batch: SendBatch, flush: () => void) {
    this.#memory = memory;
    this.#batch = batch;
    this.#flush = flush;
    this.#copies = memory.allocate(SEGMENT_HEADERS_STRIDE * HEADER_COPIES);
  }

  /** The batch was sent: its headers may be overwritten. */
  reset(): void {
    this.#used = 0;
  }

  cutTcp(packet: SuperPacket): void {
    this.#cut(packet, true);
  }

  cutUdp(packet: SuperPacket): void {
    this.#cut(packet, false);
  }

  #cut(packet: SuperPacket, isTcp: boolean): void {
    const { kernels } = this.#memory;
    const { ip, ipHeaderBytes, length, gsoSize, overlayHeader } = packet;
    const transportHeaderBytes = isTcp ? packet.transportHeaderBytes : UDP_HEADER_BYTES;
    const headerBytes = ipHeaderBytes + transportHeaderBytes;
    const payloadBytes = length - headerBytes;
    const segments = Math.ceil(payloadBytes / gsoSize);
    const wireHeaderBytes = OVERLAY_HEADER_BYTES + headerBytes;
    for (let first = 0; first < segments;) {
      const at = first * gsoSize;
      const segmentBytes = wireHeaderBytes + Math.min(gsoSize, payloadBytes - at);
      const train = this.#place(packet, segmentBytes);
      const room = Math.min(this.#batch.roomOf(train, segmentBytes), HEADER_COPIES - this.#used);
      const count = Math.min(segments - first, room);
      const copies = this.#copies + this.#used * SEGMENT_HEADERS_STRIDE;
      const iovecs = this.#batch.nextIovecs(train);
      if (isTcp) {
        kernels.cutTcp(
          ip,
          ipHeaderBytes,
          transportHeaderBytes,
          length,
          gsoSize,
          first,
          count,
          overlayHeader,
          copies,
          iovecs,
        );
      } else {
        const checksummed = packet.checksummed ? 1 : 0;
        kernels.cutUdp(
          ip,
          ipHeaderBytes,
          checksummed,
          length,
          gsoSize,
          first,
          count,
          overlayHeader,
          copies,
          iovecs,
        );
      }
      this.#used += count;
      const bytes = Math.min(count * gsoSize, payloadBytes - at);
      this.#batch.append(train, count, count * wireHeaderBytes + bytes);
      first += count;
    }
  }

  /** The train that takes the next segment, of `bytes`; makes room where there is none. */
  #place(packet: SuperPacket, bytes: number): number {
    if (this.#used === HEADER_COPIES) this.#flush();
    const train = this.#batch.place(packet.socket, packet.row, bytes);
    if (train !== FULL) return train;
    this.#flush();
    return this.#batch.place(packet.socket, packet.row, bytes);
  }
}
