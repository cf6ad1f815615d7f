// A unix stream client that can pass descriptors, which Node's own cannot: for tests of listeners. Synchronous, non-blocking.
import { Arena } from '../../agent/linux/arena.ts';
import { check, libc } from '../../agent/linux/libc.ts';

const arena = new Arena(65536);
const address = arena.allocate(110);
const payload = arena.allocate(32768);
const header = arena.allocate(72);
const control = arena.allocate(512);

/** A connected, non-blocking socket; the caller closes it. */
export function connectTo(path: string): number {
  const fd = check(libc.socket(1, 1 | 0o2004000, 0), () => 'open a socket');
  address.bytes.fill(0);
  address.view.setUint16(0, 1, true);
  address.bytes.set(new TextEncoder().encode(path), 2);
  const result = libc.connect(fd, address.address, 110);
  if (result < 0) libc.close(fd);
  check(result, () => `connect to ${path}`);
  return fd;
}

export function sendWithDescriptors(fd: number, bytes: Uint8Array, descriptors: readonly number[]): number {
  payload.bytes.set(bytes);
  control.bytes.fill(0);
  control.view.setBigUint64(0, BigInt(16 + 4 * descriptors.length), true);
  control.view.setInt32(8, 1, true); // SOL_SOCKET
  control.view.setInt32(12, 1, true); // SCM_RIGHTS
  descriptors.forEach((descriptor, index) => control.view.setInt32(16 + 4 * index, descriptor, true));
  header.bytes.fill(0);
  header.view.setBigUint64(16, BigInt(header.address + 56), true);
  header.view.setBigUint64(24, 1n, true);
  if (descriptors.length > 0) {
    header.view.setBigUint64(32, BigInt(control.address), true);
    header.view.setBigUint64(40, BigInt(16 + Math.ceil((4 * descriptors.length) / 8) * 8), true);
  }
  header.view.setBigUint64(56, BigInt(payload.address), true);
  header.view.setBigUint64(64, BigInt(bytes.length), true);
  return libc.sendmsg(fd, header.address, 0x4000);
}

/** What is there now; undefined when nothing is, empty at the end of the stream. */
export function receiveNow(fd: number): Uint8Array | undefined {
  const bytes = libc.recv(fd, payload.address, payload.byteLength, 0x40);
  return bytes < 0 ? undefined : Uint8Array.from(payload.bytes.subarray(0, bytes));
}
