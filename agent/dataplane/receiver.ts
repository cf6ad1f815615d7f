// Receives tunnel datagrams by recvmmsg, each into a buffer of its own: 64 KiB, because a kernel VXLAN peer over veth sends datagrams of
// up to 64,382 bytes and UDP_GRO joins as much. The buffers stay until the next call.
// Headers and buffers are in flight (in-flight.ts). The kernel writes the length of the sender's address with each datagram: where it is no
// longer ARMED_NAME_BYTES, one was received and not handed on. Until done() nothing of what the kernel wrote is changed: the next process
// must read the same.
import { constants } from 'node:os';

import { SOCKADDR_IN_BYTES, addressAt, portAt } from '../../proto/socket-address.ts';
import { errno, libc } from '../linux/libc.ts';
import type { ReceivedDatagram } from './ingress.ts';
import { IOVEC_BYTES } from './kernel-layout.ts';
import {
  MMSGHDR_BYTES,
  MMSGHDR_LENGTH,
  MSGHDR_CONTROL,
  MSGHDR_CONTROL_LENGTH,
  MSGHDR_FLAGS,
  MSGHDR_IOVEC,
  MSGHDR_IOVEC_COUNT,
  MSGHDR_NAME,
  MSGHDR_NAME_LENGTH,
} from './message-header.ts';
import { type PacketMemory, setIovec, setPointer } from './packet-memory.ts';

export const DATAGRAMS_AT_ONCE = 64;
/** About so much is received at once: more would not stay in the processor's cache until it is written. */
const BYTES_AT_ONCE = 256 * 1024;
const FEWEST_AT_ONCE = 4;

const { EAGAIN } = constants.errno;
const MSG_DONTWAIT = 0x40;
const MSG_TRUNC = 0x20;
const BUFFER_BYTES = 65_536;
/** Puts the inner IPv4 header on a multiple of 16: 22 bytes of overlay headers come before it. */
const BUFFER_SHIFT = 10;
const BUFFER_STRIDE = BUFFER_BYTES + 64;
const CONTROL_BYTES = 64;
const SOL_UDP = 17;
const UDP_GRO = 104;
const CMSG_WITH_INT_BYTES = 20;
/** Room for the sender's address while nothing was received: more than the kernel ever writes, which is SOCKADDR_IN_BYTES (also of an empty datagram). */
const ARMED_NAME_BYTES = 2 * SOCKADDR_IN_BYTES;
/** Errors of earlier datagrams (ICMP) come out of recvmmsg; so many in a row are passed over. */
const PENDING_ERRORS = 8;

export class Receiver {
  readonly #memory: PacketMemory;
  readonly #base: number;
  readonly #fd: number;
  readonly #messages: number;
  readonly #names: number;
  readonly #controls: number;
  readonly #buffers: number;
  readonly #iovecs: number;
  /** How many the last receive() asked for, and the next one will. */
  #asked = DATAGRAMS_AT_ONCE;
  #next = DATAGRAMS_AT_ONCE;
  readonly #datagram: ReceivedDatagram = { offset: 0, length: 0, segmentBytes: 0, source: 0, sourcePort: 0 };

  constructor(options: { memory: PacketMemory; base: number; fd: number }) {
    const { memory } = options;
    this.#memory = memory;
    this.#base = options.base;
    this.#fd = options.fd;
    this.#messages = memory.allocate(DATAGRAMS_AT_ONCE * MMSGHDR_BYTES);
    this.#names = memory.allocate(DATAGRAMS_AT_ONCE * SOCKADDR_IN_BYTES);
    this.#controls = memory.allocate(DATAGRAMS_AT_ONCE * CONTROL_BYTES);
    this.#buffers = memory.allocate(DATAGRAMS_AT_ONCE * BUFFER_STRIDE);
    this.#iovecs = memory.allocate(DATAGRAMS_AT_ONCE * IOVEC_BYTES);
  }

  /** Writes this process's addresses into the headers, once its turn has come; nothing is received before. */
  arm(): void {
    const memory = this.#memory;
    for (let index = 0; index < DATAGRAMS_AT_ONCE; index++) {
      const message = this.#messages + index * MMSGHDR_BYTES;
      const iovec = this.#iovecs + index * IOVEC_BYTES;
      setPointer(memory, message + MSGHDR_NAME, this.#names + index * SOCKADDR_IN_BYTES);
      setPointer(memory, message + MSGHDR_IOVEC, iovec);
      setPointer(memory, message + MSGHDR_CONTROL, this.#controls + index * CONTROL_BYTES);
      memory.view.setUint32(message + MSGHDR_IOVEC_COUNT, 1, true);
      setIovec(memory, iovec, this.#bufferOf(index), BUFFER_BYTES);
    }
    this.done(DATAGRAMS_AT_ONCE);
  }

  /** How many datagrams the process before had received and not handed on; they are read by datagram(), before arm(). */
  unsent(): number {
    let count = 0;
    while (count < DATAGRAMS_AT_ONCE && this.#isReceived(count)) count++;
    return count;
  }

  #isReceived(index: number): boolean {
    const message = this.#messages + index * MMSGHDR_BYTES;
    return this.#memory.view.getUint32(message + MSGHDR_NAME_LENGTH, true) === SOCKADDR_IN_BYTES;
  }

  /** The first `count` datagrams were handed on: they are forgotten, then their headers made ready for the next. */
  done(count: number): void {
    const { view } = this.#memory;
    for (let index = 0; index < count; index++) {
      const message = this.#messages + index * MMSGHDR_BYTES;
      view.setUint32(message + MSGHDR_NAME_LENGTH, ARMED_NAME_BYTES, true); // the kernel overwrites these two
      view.setUint32(message + MSGHDR_CONTROL_LENGTH, CONTROL_BYTES, true);
    }
  }

  /** Whether the last receive() was given all that it asked for: more may be waiting. */
  isFull(count: number): boolean {
    return count === this.#asked;
  }

  /** How many datagrams were received, 0 = none is there. */
  receive(): number {
    this.#asked = this.#next;
    for (let attempt = 0; attempt < PENDING_ERRORS; attempt++) {
      const count = libc.recvmmsg(this.#fd, this.#base + this.#messages, this.#asked, MSG_DONTWAIT, 0);
      if (count > 0) this.#next = this.#countFor(count);
      if (count >= 0) return count;
      if (errno() === EAGAIN) return 0;
    }
    return 0;
  }

  /** How many datagrams like the `count` last ones make BYTES_AT_ONCE. */
  #countFor(count: number): number {
    let bytes = 0;
    for (let index = 0; index < count; index++) bytes += this.#lengthOf(index);
    const fitting = Math.ceil((BYTES_AT_ONCE * count) / (bytes + 1));
    return Math.max(FEWEST_AT_ONCE, Math.min(DATAGRAMS_AT_ONCE, fitting));
  }

  /** The datagram `index` of the last receive(); the object is overwritten by the next call. */
  datagram(index: number): ReceivedDatagram {
    const { view } = this.#memory;
    const message = this.#messages + index * MMSGHDR_BYTES;
    const control = this.#controls + index * CONTROL_BYTES;
    const datagram = this.#datagram;
    const truncated = (view.getUint32(message + MSGHDR_FLAGS, true) & MSG_TRUNC) !== 0;
    datagram.offset = this.#bufferOf(index);
    datagram.length = truncated ? 0 : Math.min(BUFFER_BYTES, this.#lengthOf(index));
    datagram.sourcePort = portAt(view, this.#names + index * SOCKADDR_IN_BYTES);
    datagram.source = addressAt(view, this.#names + index * SOCKADDR_IN_BYTES);
    const hasSize =
      view.getUint32(message + MSGHDR_CONTROL_LENGTH, true) >= CMSG_WITH_INT_BYTES &&
      view.getUint32(control + 8, true) === SOL_UDP &&
      view.getUint32(control + 12, true) === UDP_GRO;
    datagram.segmentBytes = hasSize ? view.getInt32(control + 16, true) : 0;
    return datagram;
  }

  #lengthOf(index: number): number {
    return this.#memory.view.getUint32(this.#messages + index * MMSGHDR_BYTES + MMSGHDR_LENGTH, true);
  }

  #bufferOf(index: number): number {
    return this.#buffers + index * BUFFER_STRIDE + BUFFER_SHIFT;
  }
}
