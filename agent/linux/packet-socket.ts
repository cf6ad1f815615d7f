// Messages with descriptors between two agents of a node: AF_UNIX SOCK_SEQPACKET, non-blocking, text of at most MESSAGE_BYTES and
// SCM_RIGHTS beside it (unix(7), cmsg(3)). Received descriptors are the receiver's to close.
import { constants } from 'node:os';

import { Arena, type Region } from './arena.ts';
import { errno, libc } from './libc.ts';
import { CMSG_HEADER_BYTES, receivedDescriptors, writeDescriptors } from './received-descriptors.ts';

const MSG_CTRUNC = 0x8;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const MSG_CMSG_CLOEXEC = 0x40000000;
const SOCK_NONBLOCK_CLOEXEC = 0o2004000;
const MESSAGE_BYTES = 1024;
const MAX_DESCRIPTORS = 32;
const CONTROL_BYTES = CMSG_HEADER_BYTES + MAX_DESCRIPTORS * 4;
const CONTROL_LENGTH_AT = 40;
const FLAGS_AT = 48;
const QUIET: ReadonlySet<number> = new Set([constants.errno.EAGAIN, constants.errno.EINTR]);

export interface Packet {
  readonly text: string;
  readonly descriptors: readonly number[];
}

interface Memory {
  /** struct msghdr, then its one struct iovec. */
  readonly header: Region;
  readonly message: Region;
  readonly control: Region;
}

/** One for all calls of the process: each arena reserves gigabytes of address space until it is collected. */
let memory: Memory | undefined;

function allocated(): Memory {
  if (memory !== undefined) return memory;
  const arena = new Arena(1);
  memory = {
    header: arena.allocate(56 + 16),
    message: arena.allocate(MESSAGE_BYTES),
    control: arena.allocate(CONTROL_BYTES),
  };
  return memory;
}

function prepare({ header, message, control }: Memory, bytes: number, controlBytes: number): void {
  header.bytes.fill(0);
  header.view.setBigUint64(16, BigInt(header.address + 56), true);
  header.view.setBigUint64(24, 1n, true);
  header.view.setBigUint64(56, BigInt(message.address), true);
  header.view.setBigUint64(64, BigInt(bytes), true);
  if (controlBytes === 0) return;
  header.view.setBigUint64(32, BigInt(control.address), true);
  header.view.setBigUint64(CONTROL_LENGTH_AT, BigInt(controlBytes), true);
}

/** Undefined when none waits. */
export function acceptConnection(listener: number): number | undefined {
  const fd = libc.accept4(listener, 0, 0, SOCK_NONBLOCK_CLOEXEC);
  return fd < 0 ? undefined : fd;
}

/** False when the other end is gone, or does not read. */
export function sendPacket(fd: number, text: string, descriptors: readonly number[] = []): boolean {
  const all = allocated();
  const { written } = new TextEncoder().encodeInto(text, all.message.bytes);
  prepare(all, written, descriptors.length === 0 ? 0 : writeDescriptors(all.control, descriptors));
  return libc.sendmsg(fd, all.header.address, MSG_DONTWAIT | MSG_NOSIGNAL) === written;
}

/** `nothing` waits now; `ended`: the other end is gone, or sent what is no message of ours. */
export function receivePacket(fd: number): Packet | 'nothing' | 'ended' {
  const all = allocated();
  prepare(all, MESSAGE_BYTES, CONTROL_BYTES);
  const length = libc.recvmsg(fd, all.header.address, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (length < 0 && QUIET.has(errno())) return 'nothing';
  if (length <= 0) return 'ended';
  const controlBytes = Number(all.header.view.getBigUint64(CONTROL_LENGTH_AT, true));
  const descriptors = receivedDescriptors(all.control, controlBytes);
  if ((all.header.view.getUint32(FLAGS_AT, true) & MSG_CTRUNC) !== 0) {
    for (const each of descriptors) libc.close(each);
    return 'ended';
  }
  return { text: new TextDecoder().decode(all.message.bytes.slice(0, length)), descriptors };
}
