// Text datagrams between the roles of one agent: AF_UNIX SOCK_SEQPACKET pairs that the keeper makes. Writers never block: a message
// that finds the queue full is dropped, and every message is only a hint to look at a file or to act once.
import { Arena, type Region } from './arena.ts';
import { check, libc } from './libc.ts';

const AF_UNIX = 1;
const SOCK_SEQPACKET = 5;
const SOCK_CLOEXEC = 0o2000000;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const MESSAGE_BYTES = 64;

/** One for all calls of the process: each arena reserves gigabytes of address space until it is collected. */
let memory: { readonly pair: Region; readonly message: Region } | undefined;

function allocated(): { readonly pair: Region; readonly message: Region } {
  if (memory !== undefined) return memory;
  const arena = new Arena(1);
  memory = { pair: arena.allocate(8), message: arena.allocate(MESSAGE_BYTES) };
  return memory;
}

/** Both ends, blocking, close-on-exec. */
export function openChannel(): readonly [number, number] {
  const { pair } = allocated();
  check(libc.socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair.address), () => 'open a socket pair');
  return [pair.view.getInt32(0, true), pair.view.getInt32(4, true)];
}

/** Sends one datagram of at most 64 bytes; false when the other end is gone or its queue is full. */
export function sendText(fd: number, text: string): boolean {
  const { message } = allocated();
  const { written } = new TextEncoder().encodeInto(text, message.bytes);
  return libc.send(fd, message.address, written, MSG_DONTWAIT | MSG_NOSIGNAL) === written;
}

/** The datagram that waits; undefined when there is none, or the other end is gone. */
export function receiveText(fd: number): string | undefined {
  const { message } = allocated();
  const length = libc.recv(fd, message.address, MESSAGE_BYTES, MSG_DONTWAIT);
  return length > 0 ? new TextDecoder().decode(message.bytes.slice(0, length)) : undefined;
}
