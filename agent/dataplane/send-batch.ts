// Datagrams on their way out, as the kernel wants them: trains of up to 64 segments of one size to one peer (the last may be shorter),
// each one struct mmsghdr with an iovec array and, from two segments on, a UDP_SEGMENT control message. Segments may be added to the
// newest train from a socket to a peer until it is closed by a short one; a flow has one socket and one peer, so its order is kept.
// Invariant: segment i of a train is its iovecs 2i (headers) and 2i + 1 (payload, which stays where it was read), so that a train that
// the kernel refuses can be sent one by one.
import { STATS_ROWS } from '../../proto/dataplane-stats.ts';
import { SOCKADDR_IN_BYTES } from '../../proto/socket-address.ts';
import { IOVEC_BYTES } from './kernel-layout.ts';
import {
  MMSGHDR_BYTES,
  MSGHDR_CONTROL,
  MSGHDR_CONTROL_LENGTH,
  MSGHDR_IOVEC,
  MSGHDR_IOVEC_COUNT,
  MSGHDR_NAME,
  MSGHDR_NAME_LENGTH,
} from './message-header.ts';
import { type PacketMemory, setIovec, setPointer } from './packet-memory.ts';

export const SEND_SOCKETS = 8;
export const TRAINS = 64;
/** UDP_MAX_SEGMENTS of the oldest kernels with UDP_SEGMENT. */
export const TRAIN_SEGMENTS = 64;
/** Largest UDP payload over IPv4 without options. */
export const TRAIN_BYTES = 65_507;
/** place() found no room: flush and ask again. */
export const FULL = -1;

const SOL_UDP = 17;
const UDP_SEGMENT = 103;
const CMSG_BYTES = 18; // CMSG_LEN(2)
const CMSG_SPACE_BYTES = 24;
const CMSG_STRIDE = 32;
const CMSG_DATA = 16;
const IOVEC_STRIDE = TRAIN_SEGMENTS * 2 * IOVEC_BYTES;
const NO_TRAIN = -1;

export class SendBatch {
  /** Trains in the order in which they are to be sent. */
  trains = 0;
  readonly sockets: Uint8Array = new Uint8Array(TRAINS);
  /** Statistics row of the peer: OWNER_FIRST_PEER + slot. */
  readonly rows: Uint16Array = new Uint16Array(TRAINS);
  readonly segments: Uint8Array = new Uint8Array(TRAINS);
  /** Size of every segment but the last. */
  readonly segmentBytes: Uint16Array = new Uint16Array(TRAINS);
  readonly totalBytes: Uint32Array = new Uint32Array(TRAINS);
  readonly #closed: Uint8Array = new Uint8Array(TRAINS);
  /** By row and socket. */
  readonly #newest: Int8Array = new Int8Array(STATS_ROWS * SEND_SOCKETS).fill(NO_TRAIN);
  readonly #memory: PacketMemory;
  readonly #messages: number;
  readonly #iovecs: number;
  readonly #controls: number;

  constructor(memory: PacketMemory) {
    this.#memory = memory;
    this.#messages = memory.allocate(TRAINS * MMSGHDR_BYTES);
    this.#iovecs = memory.allocate(TRAINS * IOVEC_STRIDE);
    this.#controls = memory.allocate(TRAINS * CMSG_STRIDE);
    for (let train = 0; train < TRAINS; train++) {
      const message = this.messageOf(train);
      setPointer(memory, message + MSGHDR_IOVEC, this.iovecsOf(train));
      memory.view.setUint32(message + MSGHDR_NAME_LENGTH, SOCKADDR_IN_BYTES, true);
      const control = this.#controls + train * CMSG_STRIDE;
      memory.view.setUint32(control, CMSG_BYTES, true);
      memory.view.setUint32(control + 8, SOL_UDP, true);
      memory.view.setUint32(control + 12, UDP_SEGMENT, true);
    }
  }

  /** Offset of the train's struct mmsghdr, which starts with its struct msghdr. */
  messageOf(train: number): number {
    return this.#messages + train * MMSGHDR_BYTES;
  }

  /** Offset of the train's iovec array. */
  iovecsOf(train: number): number {
    return this.#iovecs + train * IOVEC_STRIDE;
  }

  /** The train that takes a segment of `bytes` from `socket` to the peer of `row`: their newest while it fits, or a new one. */
  place(socket: number, row: number, bytes: number): number {
    const key = row * SEND_SOCKETS + socket;
    const newest = this.#newest[key]!; // !: below STATS_ROWS and SEND_SOCKETS
    if (newest !== NO_TRAIN && this.#takes(newest, bytes)) return newest;
    if (this.trains === TRAINS) return FULL;
    const train = this.trains++;
    this.#newest[key] = train;
    this.sockets[train] = socket;
    this.rows[train] = row;
    this.segments[train] = 0;
    this.segmentBytes[train] = bytes;
    this.totalBytes[train] = 0;
    this.#closed[train] = 0;
    return train;
  }

  #takes(train: number, bytes: number): boolean {
    return (
      this.#closed[train] === 0 &&
      bytes <= this.segmentBytes[train]! && // !: a train of this batch
      this.segments[train]! < TRAIN_SEGMENTS && // !: a train of this batch
      this.totalBytes[train]! + bytes <= TRAIN_BYTES // !: a train of this batch
    );
  }

  /** How many segments of `bytes` the train that place() chose for them takes. */
  roomOf(train: number, bytes: number): number {
    if (bytes < this.segmentBytes[train]!) return 1; // !: a train of this batch; a short one closes it
    const room = Math.floor((TRAIN_BYTES - this.totalBytes[train]!) / bytes); // !: as above
    return Math.min(room, TRAIN_SEGMENTS - this.segments[train]!); // !: as above
  }

  /** Offset of the next segment's two iovecs. */
  nextIovecs(train: number): number {
    return this.iovecsOf(train) + this.segments[train]! * 2 * IOVEC_BYTES; // !: a train of this batch
  }

  /** `count` segments whose iovecs the caller wrote from nextIovecs() on, within roomOf(): all of the train's size, but the last may be shorter. */
  append(train: number, count: number, bytes: number): void {
    this.segments[train]! += count; // !: a train of this batch
    this.totalBytes[train]! += bytes; // !: as above
    if (this.totalBytes[train]! < this.segmentBytes[train]! * this.segments[train]!) this.#closed[train] = 1; // !: as above
  }

  /** Headers of the next segment of a train that place() chose; payload() follows. */
  headers(train: number, offset: number, length: number): void {
    setIovec(this.#memory, this.iovecsOf(train) + this.segments[train]! * 2 * IOVEC_BYTES, offset, length); // !: a train of this batch
    this.totalBytes[train]! += length;
  }

  payload(train: number, offset: number, length: number): void {
    const segment = this.segments[train]!; // !: a train of this batch
    setIovec(this.#memory, this.iovecsOf(train) + (segment * 2 + 1) * IOVEC_BYTES, offset, length);
    this.segments[train] = segment + 1;
    this.totalBytes[train]! += length;
    if (this.totalBytes[train]! < this.segmentBytes[train]! * (segment + 1)) this.#closed[train] = 1; // !: as above
  }

  /** Completes a train's msghdr. `address` is the offset of the peer's sockaddr_in. */
  seal(train: number, address: number): void {
    const { view } = this.#memory;
    const message = this.messageOf(train);
    const segments = this.segments[train]!; // !: a train of this batch
    setPointer(this.#memory, message + MSGHDR_NAME, address);
    view.setUint32(message + MSGHDR_IOVEC_COUNT, segments * 2, true);
    if (segments > 1) {
      const control = this.#controls + train * CMSG_STRIDE;
      view.setUint16(control + CMSG_DATA, this.segmentBytes[train]!, true); // !: as above
      setPointer(this.#memory, message + MSGHDR_CONTROL, control);
      view.setUint32(message + MSGHDR_CONTROL_LENGTH, CMSG_SPACE_BYTES, true);
    } else {
      this.#withoutControl(message);
    }
  }

  /** Turns a sealed train's msghdr into one that sends its segment `index` alone. */
  single(train: number, index: number): void {
    const message = this.messageOf(train);
    setPointer(this.#memory, message + MSGHDR_IOVEC, this.iovecsOf(train) + index * 2 * IOVEC_BYTES);
    this.#memory.view.setUint32(message + MSGHDR_IOVEC_COUNT, 2, true);
    this.#withoutControl(message);
  }

  #withoutControl(message: number): void {
    this.#memory.view.setUint32(message + MSGHDR_CONTROL, 0, true);
    this.#memory.view.setUint32(message + MSGHDR_CONTROL + 4, 0, true);
    this.#memory.view.setUint32(message + MSGHDR_CONTROL_LENGTH, 0, true);
  }

  /** Bytes of segment `index` of a train. */
  bytesOf(train: number, index: number): number {
    const size = this.segmentBytes[train]!; // !: a train of this batch
    return Math.min(size, this.totalBytes[train]! - index * size); // !: as above
  }

  /** Everything was sent or counted. */
  clear(): void {
    for (let train = 0; train < this.trains; train++) {
      setPointer(this.#memory, this.messageOf(train) + MSGHDR_IOVEC, this.iovecsOf(train));
      this.#newest[this.rows[train]! * SEND_SOCKETS + this.sockets[train]!] = NO_TRAIN; // !: a train of this batch
    }
    this.trains = 0;
  }
}
