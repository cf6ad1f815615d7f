// An io_uring whose rings lie in the arena (IORING_SETUP_NO_MMAP), so that TypeScript reads and writes them as memory. The entries of a
// batch are written once and submitted again and again: entry i of the ring is always entry i of the batch.
// Invariant: at most `entries` requests are under way, each page holds one ring, and only the thread that made it enters it.
import type { Region } from '../../agent/linux/arena.ts';
import { check } from '../../agent/linux/libc.ts';
import { PAGE_BYTES, arena, syscall } from './kernel.ts';

const IO_URING_SETUP = 425;
const IO_URING_ENTER = 426;
const IO_URING_REGISTER = 427;
const CQSIZE = 1 << 3;
const SUBMIT_ALL = 1 << 7;
const SINGLE_ISSUER = 1 << 12;
const DEFER_TASKRUN = 1 << 13;
const NO_MMAP = 1 << 14;
const NO_SQARRAY = 1 << 16;
const GETEVENTS = 1;
const PARAMS_BYTES = 120;
const SQE_BYTES = 64;
const CQE_BYTES = 16;

export const OPERATION = {
  writev: 2,
  sendmsg: 9,
  read: 22,
  write: 23,
  readMultishot: 49,
} as const;
export const SQE_FIXED_FILE = 1;
export const SQE_BUFFER_SELECT: number = 1 << 5;
const REGISTER_FILES = 2;
const REGISTER_PBUF_RING = 22;

export interface Request {
  readonly operation: number;
  readonly fd: number;
  readonly address: number;
  readonly length: number;
  readonly flags?: number;
  readonly operationFlags?: number;
}

export class IoUring {
  readonly fd: number;
  readonly #entries: Region;
  readonly #words: Uint32Array;
  readonly #results: Int32Array;
  readonly #at: {
    readonly sqTail: number;
    readonly cqHead: number;
    readonly cqTail: number;
    readonly cqes: number;
  };
  readonly #mask: number;

  /** `entries`: a power of two, 64 at most, so that each ring is one page. */
  constructor(entries: number) {
    const params = arena.allocate(PARAMS_BYTES);
    const rings = arena.allocate(PAGE_BYTES, PAGE_BYTES);
    this.#entries = arena.allocate(PAGE_BYTES, PAGE_BYTES);
    params.view.setUint32(4, entries * 2, true);
    params.view.setUint32(
      8,
      CQSIZE | SUBMIT_ALL | SINGLE_ISSUER | DEFER_TASKRUN | NO_MMAP | NO_SQARRAY,
      true,
    );
    params.view.setBigUint64(72, BigInt(this.#entries.address), true);
    params.view.setBigUint64(112, BigInt(rings.address), true);
    this.fd = check(syscall(IO_URING_SETUP, entries, params.address, 0, 0, 0, 0), () => 'set up an io_uring');
    this.#words = new Uint32Array(arena.memory.buffer, rings.offset, PAGE_BYTES / 4);
    this.#results = new Int32Array(arena.memory.buffer, rings.offset, PAGE_BYTES / 4);
    const word = (at: number): number => params.view.getUint32(at, true) / 4;
    this.#at = { sqTail: word(44), cqHead: word(80), cqTail: word(84), cqes: word(100) };
    this.#mask = entries * 2 - 1;
  }

  /** Writes entry `index`, to be submitted whenever the batch reaches it. */
  prepare(index: number, request: Request): void {
    const { view } = this.#entries;
    const at = index * SQE_BYTES;
    view.setUint8(at, request.operation);
    view.setUint8(at + 1, request.flags ?? 0);
    view.setInt32(at + 4, request.fd, true);
    view.setBigUint64(at + 16, BigInt(request.address), true);
    view.setUint32(at + 24, request.length, true);
    view.setUint32(at + 28, request.operationFlags ?? 0, true);
    view.setBigUint64(at + 32, BigInt(index), true);
  }

  /** Submits the next `count` entries and waits until `least` are complete; returns how many completions lie in the ring. */
  submit(count: number, least: number): number {
    this.#words[this.#at.sqTail] = this.#words[this.#at.sqTail]! + count; // !: inside the page
    check(syscall(IO_URING_ENTER, this.fd, count, least, GETEVENTS, 0, 0), () => 'enter the io_uring');
    return this.#words[this.#at.cqTail]! - this.#words[this.#at.cqHead]!; // !: inside the page
  }

  /** Result of the completion `index` from the oldest on. */
  result(index: number): number {
    return this.#results[this.#completion(index) + 2]!; // !: inside the page
  }

  /** IORING_CQE_F_* and the buffer's number. */
  flags(index: number): number {
    return this.#words[this.#completion(index) + 3]!; // !: inside the page
  }

  /** The oldest `count` completions are done with. */
  forget(count: number): void {
    this.#words[this.#at.cqHead] = this.#words[this.#at.cqHead]! + count; // !: inside the page
  }

  /** Makes `fd` the fixed file 0. */
  registerFile(fd: number): void {
    const files = arena.allocate(4);
    files.view.setInt32(0, fd, true);
    check(
      syscall(IO_URING_REGISTER, this.fd, REGISTER_FILES, files.address, 1, 0, 0),
      () => 'register a file',
    );
  }

  /** A ring of provided buffers, group 0; buffer i is at `addressOf(i)`. Returns what hands all of them out again. */
  provideBuffers(count: number, length: number, addressOf: (index: number) => number): () => void {
    const ring = arena.allocate(PAGE_BYTES, PAGE_BYTES);
    const request = arena.allocate(40);
    request.view.setBigUint64(0, BigInt(ring.address), true);
    request.view.setUint32(8, count, true);
    check(
      syscall(IO_URING_REGISTER, this.fd, REGISTER_PBUF_RING, request.address, 1, 0, 0),
      () => 'provide buffers',
    );
    for (let index = 0; index < count; index++) {
      ring.view.setBigUint64(index * 16, BigInt(addressOf(index)), true);
      ring.view.setUint32(index * 16 + 8, length, true);
      ring.view.setUint16(index * 16 + 12, index, true);
    }
    const tail = new Uint16Array(arena.memory.buffer, ring.offset + 14, 1);
    return () => {
      tail[0] = (tail[0]! + count) & 0xffff; // !: one element
    };
  }

  #completion(index: number): number {
    return this.#at.cqes + (((this.#words[this.#at.cqHead]! + index) & this.#mask) * CQE_BYTES) / 4; // !: inside the page
  }
}
