// struct msghdr and struct mmsghdr (recvmsg(2), recvmmsg(2)), as 64-bit Linux has them, and the message of one piece that probes are.
//
//   0      8             16      24            32        40               48      56       64
//   | name | name length | iovec | iovec count | control | control length | flags | length |
import { SOCKADDR_IN_BYTES } from '../../proto/socket-address.ts';
import { IOVEC_BYTES } from './kernel-layout.ts';
import { type PacketMemory, setIovec, setPointer } from './packet-memory.ts';

export const MSGHDR_NAME = 0;
export const MSGHDR_NAME_LENGTH = 8;
export const MSGHDR_IOVEC = 16;
export const MSGHDR_IOVEC_COUNT = 24;
export const MSGHDR_CONTROL = 32;
export const MSGHDR_CONTROL_LENGTH = 40;
export const MSGHDR_FLAGS = 48;
/** What the kernel writes: the bytes of the message. */
export const MMSGHDR_LENGTH = 56;
export const MMSGHDR_BYTES = 64;

/** One datagram in one piece, used again and again. */
export class SingleMessage {
  /** Of its struct msghdr. */
  readonly offset: number;
  readonly #memory: PacketMemory;
  readonly #iovec: number;

  constructor(memory: PacketMemory) {
    this.#memory = memory;
    this.offset = memory.allocate(MMSGHDR_BYTES);
    this.#iovec = memory.allocate(IOVEC_BYTES);
    setPointer(memory, this.offset + MSGHDR_IOVEC, this.#iovec);
    memory.view.setUint32(this.offset + MSGHDR_NAME_LENGTH, SOCKADDR_IN_BYTES, true);
    memory.view.setUint32(this.offset + MSGHDR_IOVEC_COUNT, 1, true);
  }

  /** `address` is the offset of the peer's sockaddr_in; the bytes stay where they are. */
  set(address: number, offset: number, length: number): void {
    setPointer(this.#memory, this.offset + MSGHDR_NAME, address);
    setIovec(this.#memory, this.#iovec, offset, length);
  }
}
