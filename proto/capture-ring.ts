// How copies of packets get from a worker of the data plane to `weft capture`: a file on tmpfs for each worker, made and filled with zeros
// by the command, mapped by both. One writer, one reader, no lock: the writer moves only HEAD, the reader only TAIL and LEASE. All
// state is in the file, so a worker's successor goes on with it; a record counts once HEAD is moved behind it. Nobody waits: without
// room a packet is left out and counted. The command says that it lives by LEASE; without it the data plane stops by itself.
//
//   header page:  0 magic | 64 HEAD, captured, left out, pid, last look | 128 TAIL | 136 LEASE | 144 ended | 192 filter | 256 source ports
//   then RING_BYTES of records, each on a multiple of 8:
//   0        4       5        6     8      16         20         24              28           30      31     32
//   | bytes | point | reason | row | time | length u32 | captured | outer address | outer port | form | socket | packet … |
import { type Ipv4, ipv4 } from './address.ts';
import { type CaptureFilter, CAPTURE_POINTS, type CapturePoint, encodeFilterInto } from './capture-filter.ts';
import { DROP_REASONS, type DropReason } from './drop-reason.ts';
import { FIRST_PEER_ROW } from './dataplane-stats.ts';

export const RING_BYTES: number = 2 << 20;
const HEADER_BYTES = 4096;
/** A multiple of 64 KiB, so that it can be mapped anywhere. */
export const CAPTURE_BYTES: number = Math.ceil((HEADER_BYTES + RING_BYTES) / 65_536) * 65_536;
/** Raised with every change of the layout, and part of the file's name: agents of two versions never map one file in two ways. */
const LAYOUT = 1;
const MAGIC = 0x57465431; // "WFT1"
const CAPTURE_FILE = `capture.${LAYOUT}`;
export const captureFileOf = (worker: number): string => `${CAPTURE_FILE}.${worker}`;
/** Without a sign of the command for so long the data plane looks no longer at what it wants. */
export const LEASE_MS = 5000;
/** And then takes the file away, whose memory is worth something. */
export const ABANDONED_MS = 60_000;

const HEAD = 64;
const CAPTURED = 68;
const LEFT_OUT = 72;
const PROCESS = 76;
const LOOKED = 80;
const TAIL = 128;
const LEASE = 136;
const ENDED = 144;
const FILTER = 192;
const PORTS = 256;
const MOST_PORTS = 8;

export const RECORD_BYTES = 32;
const PAD = 0xffff_ffff;
const MASK = RING_BYTES - 1;

/** What the copied bytes begin with. */
export const FORM_PACKET = 0; // an inner IPv4 packet
export const FORM_FRAME = 1; // VXLAN header, Ethernet header, inner packet

const align8 = (bytes: number): number => (bytes + 7) & ~7;

/** The header, for a file that is made now; the records that follow are zero. */
export function encodeCaptureHeader(filter: CaptureFilter, leaseMs: number): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, MAGIC, true);
  view.setUint32(4, RING_BYTES, true);
  view.setFloat64(LEASE, leaseMs, true);
  encodeFilterInto(view, FILTER, filter);
  return bytes;
}

/** What a header says of the capture, to who has not mapped the file: undefined when it is no header of this layout. */
export function captureState(
  header: DataView,
): { readonly leaseMs: number; readonly isEnded: boolean } | undefined {
  if (header.byteLength < HEADER_BYTES || header.getUint32(0, true) !== MAGIC) return undefined;
  if (header.getUint32(4, true) !== RING_BYTES) return undefined;
  return { leaseMs: header.getFloat64(LEASE, true), isEnded: header.getUint32(ENDED, true) !== 0 };
}

export const CAPTURE_HEADER_BYTES: number = HEADER_BYTES;

/** The worker's side, over bytes of which the file is a part. Positional numbers: an options object would be allocated per packet. */
export class CaptureRingWriter {
  readonly #at: number;
  readonly #view: DataView;
  readonly #words: Int32Array;
  /** Where the record in hand begins, in bytes since the ring was made. */
  #start = 0;

  /** The file is mapped at `at` of `memory`, CAPTURE_BYTES long. */
  constructor(memory: { readonly view: DataView }, at: number) {
    this.#at = at;
    this.#view = memory.view;
    this.#words = new Int32Array(memory.view.buffer, memory.view.byteOffset + at, HEADER_BYTES / 4);
  }

  get filterAt(): number {
    return this.#at + FILTER;
  }

  /** Says who writes from now on, and from which ports its datagrams leave. */
  begin(processId: number, ports: readonly number[]): void {
    this.#store(PROCESS, processId);
    for (const [index, port] of ports.slice(0, MOST_PORTS).entries()) {
      this.#view.setUint16(this.#at + PORTS + index * 2, port, true);
    }
  }

  /** CLOCK_MONOTONIC: the worker has looked at the capture. */
  looked(nowMs: number): void {
    this.#view.setFloat64(this.#at + LOOKED, nowMs, true);
  }

  get leaseMs(): number {
    return this.#view.getFloat64(this.#at + LEASE, true);
  }

  get isEnded(): boolean {
    return this.#view.getUint32(this.#at + ENDED, true) !== 0;
  }

  /** Makes room for a record of `captured` bytes and returns where its packet goes; 0: there is no room, and it is counted as left out. */
  reserve(captured: number): number {
    const bytes = align8(RECORD_BYTES + captured);
    let head = this.#load(HEAD) >>> 0;
    const used = (head - this.#load(TAIL)) >>> 0;
    const toEnd = RING_BYTES - (head & MASK);
    const needed = bytes <= toEnd ? bytes : toEnd + bytes;
    if (used > RING_BYTES || needed > RING_BYTES - used) {
      this.#store(LEFT_OUT, this.#load(LEFT_OUT) + 1);
      return 0;
    }
    if (bytes > toEnd) {
      this.#view.setUint32(this.#at + HEADER_BYTES + (head & MASK), PAD, true);
      head = (head + toEnd) >>> 0;
    }
    this.#start = head;
    return this.#at + HEADER_BYTES + (head & MASK) + RECORD_BYTES;
  }

  /** Who the reserved record's packet went to or came from; before publish(). */
  outer(address: number, port: number, socket: number): void {
    const at = this.#at + HEADER_BYTES + (this.#start & MASK);
    this.#view.setUint32(at + 24, address, true);
    this.#view.setUint16(at + 28, port, true);
    this.#view.setUint8(at + 31, socket);
  }

  /** Hands over the record that was reserved, whose `captured` bytes are written. `reason`: place in DROP_REASONS, or -1. */
  publish(
    point: number,
    reason: number,
    row: number,
    form: number,
    timeMs: number,
    length: number,
    captured: number,
  ): void {
    const view = this.#view;
    const at = this.#at + HEADER_BYTES + (this.#start & MASK);
    const bytes = align8(RECORD_BYTES + captured);
    view.setUint32(at, bytes, true);
    view.setUint8(at + 4, point);
    view.setUint8(at + 5, reason + 1);
    view.setUint16(at + 6, row, true);
    view.setFloat64(at + 8, timeMs, true);
    view.setUint32(at + 16, length, true);
    view.setUint32(at + 20, captured, true);
    view.setUint8(at + 30, form);
    this.#store(CAPTURED, this.#load(CAPTURED) + 1);
    this.#store(HEAD, this.#start + bytes);
  }

  #load(field: number): number {
    return Atomics.load(this.#words, field >>> 2);
  }

  #store(field: number, value: number): void {
    Atomics.store(this.#words, field >>> 2, value | 0);
  }
}

export interface CapturedPacket {
  readonly point: CapturePoint;
  readonly reason: DropReason | undefined;
  /** Of the peer that it concerns; undefined: of none. */
  readonly slot: number | undefined;
  /** CLOCK_MONOTONIC. */
  readonly timeMs: number;
  /** Before it was cut. */
  readonly length: number;
  readonly bytes: Uint8Array;
  /** `frame`: from the VXLAN header on. */
  readonly form: 'packet' | 'frame';
  /** The other node's, 0.0.0.0 and 0 where none is concerned. */
  readonly outerAddress: Ipv4;
  readonly outerPort: number;
  /** This node's port of an outer packet that leaves. */
  readonly sourcePort: number | undefined;
}

/** The command's side, over the mapped file. What it reads is checked: a foreign hand on the file costs packets, not the command. */
export class CaptureRingReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #words: Int32Array;

  constructor(file: Uint8Array) {
    this.#bytes = file;
    this.#view = new DataView(file.buffer, file.byteOffset, file.byteLength);
    this.#words = new Int32Array(file.buffer, file.byteOffset, HEADER_BYTES / 4);
  }

  /** Up to `most` packets that were published since, in order. */
  take(most: number): readonly CapturedPacket[] {
    const packets: CapturedPacket[] = [];
    const head = Atomics.load(this.#words, HEAD >>> 2);
    let tail = Atomics.load(this.#words, TAIL >>> 2);
    while (tail !== head && packets.length < most) {
      const record = this.#recordAt(tail, (head - tail) >>> 0);
      if (record === undefined) {
        tail = head; // damaged: the rest cannot be told apart
        break;
      }
      if (record.packet !== undefined) packets.push(record.packet);
      tail = (tail + record.bytes) | 0;
    }
    Atomics.store(this.#words, TAIL >>> 2, tail);
    return packets;
  }

  #recordAt(position: number, available: number): { bytes: number; packet?: CapturedPacket } | undefined {
    const view = this.#view;
    const inRing = (position >>> 0) & MASK;
    const at = HEADER_BYTES + inRing;
    const toEnd = RING_BYTES - inRing;
    const bytes = view.getUint32(at, true);
    if (bytes === PAD) return toEnd <= available ? { bytes: toEnd } : undefined;
    const captured = view.getUint32(at + 20, true);
    const isWhole = bytes >= RECORD_BYTES && bytes <= toEnd && bytes <= available && bytes % 8 === 0;
    if (!isWhole || captured > bytes - RECORD_BYTES) return undefined;
    const point = CAPTURE_POINTS[view.getUint8(at + 4)];
    if (point === undefined) return undefined;
    const row = view.getUint16(at + 6, true);
    const socket = view.getUint8(at + 31);
    return {
      bytes,
      packet: {
        point,
        reason: DROP_REASONS[view.getUint8(at + 5) - 1],
        slot: row >= FIRST_PEER_ROW ? row - FIRST_PEER_ROW : undefined,
        timeMs: view.getFloat64(at + 8, true),
        length: view.getUint32(at + 16, true),
        bytes: this.#bytes.slice(at + RECORD_BYTES, at + RECORD_BYTES + captured),
        form: view.getUint8(at + 30) === FORM_FRAME ? 'frame' : 'packet',
        outerAddress: ipv4(view.getUint32(at + 24, true)),
        outerPort: view.getUint16(at + 28, true),
        sourcePort: socket < MOST_PORTS ? view.getUint16(PORTS + socket * 2, true) : undefined,
      },
    };
  }

  /** The command lives. CLOCK_MONOTONIC. */
  renew(nowMs: number): void {
    this.#view.setFloat64(LEASE, nowMs, true);
  }

  /** The capture is over; the data plane stops at its next look. */
  end(): void {
    Atomics.store(this.#words, ENDED >>> 2, 1);
  }

  /** Process that writes, 0 = none yet; when it last looked; what it took, and what it left out for want of room. */
  get writer(): {
    readonly processId: number;
    readonly lookedMs: number;
    readonly captured: number;
    readonly leftOut: number;
  } {
    return {
      processId: Atomics.load(this.#words, PROCESS >>> 2),
      lookedMs: this.#view.getFloat64(LOOKED, true),
      captured: Atomics.load(this.#words, CAPTURED >>> 2) >>> 0,
      leftOut: Atomics.load(this.#words, LEFT_OUT >>> 2) >>> 0,
    };
  }
}

export const NO_SOCKET = 0xff;
