// The C library by koffi: every foreign function of the agent is declared here and nowhere else. Pointers are numbers, so a call
// costs 0.1-0.25 us and nothing is marshalled. Rule: memory whose address the kernel sees lives in an Arena (arena.ts).
import { constants } from 'node:os';

import koffi from 'koffi';

import { OperationError, type OperationContext } from '../operation-error.ts';

const library = koffi.load('libc.so.6');

/** A foreign function: numbers in, a number out. Pointers are addresses inside an Arena. */
export type Call = (...numbers: number[]) => number;

const signatures = {
  open: 'int (pointer, int, int)',
  close: 'int (int)',
  read: 'int64 (int, pointer, long)',
  write: 'int64 (int, pointer, long)',
  writev: 'int64 (int, pointer, int)',
  ioctl: 'int (int, long, pointer)',
  dup3: 'int (int, int, int)',
  flock: 'int (int, int)',
  socket: 'int (int, int, int)',
  socketpair: 'int (int, int, int, pointer)',
  bind: 'int (int, pointer, int)',
  listen: 'int (int, int)',
  accept4: 'int (int, pointer, pointer, int)',
  connect: 'int (int, pointer, int)',
  getsockname: 'int (int, pointer, pointer)',
  getsockopt: 'int (int, int, int, pointer, pointer)',
  setsockopt: 'int (int, int, int, pointer, int)',
  shutdown: 'int (int, int)',
  send: 'int64 (int, pointer, long, int)',
  recv: 'int64 (int, pointer, long, int)',
  sendmsg: 'int64 (int, pointer, int)',
  recvmsg: 'int64 (int, pointer, int)',
  sendmmsg: 'int (int, pointer, int, int)',
  recvmmsg: 'int (int, pointer, int, int, pointer)',
  poll: 'int (pointer, long, int)',
  epoll_create1: 'int (int)',
  epoll_ctl: 'int (int, int, int, pointer)',
  epoll_wait: 'int (int, pointer, int, int)',
  eventfd: 'int (int, int)',
  memfd_create: 'int (pointer, int)',
  mmap: 'int64 (pointer, long, int, int, int, long)',
  setns: 'int (int, int)',
  unshare: 'int (int)',
  clock_gettime: 'int (int, pointer)',
  getrusage: 'int (int, pointer)',
} as const;

const types: Record<string, string> = { int: 'int', int64: 'int64_t', long: 'int64_t', pointer: 'int64_t' };

function declare(name: string, signature: string): ReturnType<typeof library.func> {
  const [result = '', parameters = ''] = signature.slice(0, -1).split(' (');
  const type = (word: string): string => types[word] ?? word;
  return library.func(name, type(result), parameters.split(', ').map(type));
}

/** Raw functions: they return -1 on failure, with errno() to tell why. */
export const libc: { readonly [Name in keyof typeof signatures]: Call } = Object.fromEntries(
  Object.entries(signatures).map(([name, signature]) => [name, declare(name, signature)]),
) as never; // as: fromEntries forgets the names

const epollWait = declare('epoll_wait', signatures.epoll_wait);

/** epoll_wait in a thread of libuv's pool; calls back with its result. */
export const epollWaitAsync = (
  epollFd: number,
  events: number,
  maxEvents: number,
  timeoutMs: number,
  done: (error: unknown, ready: number) => void,
): void => {
  epollWait.async(epollFd, events, maxEvents, timeoutMs, done);
};

const memset = library.func('void *memset(void *, int, size_t)');

/** Address of the first byte of a buffer whose backing store never moves (a WebAssembly.Memory). */
export const addressOf = (bytes: Uint8Array): number => Number(koffi.address(memset(bytes, 0, 0)));

export const errno = (): number => koffi.errno();

const names = new Map<number, string>(Object.entries(constants.errno).map(([name, value]) => [value, name]));

/** The errno's name, such as ENOENT; `ERRNO_n` for one that Node does not know. */
export const errnoName = (value: number): string => names.get(value) ?? `ERRNO_${value}`;

/** The errno of the call that just failed, as an error: `Cannot <action> (ENOENT)`. */
export function systemError(action: string, context: OperationContext = {}): OperationError {
  const code = errnoName(koffi.errno());
  return new OperationError(`Cannot ${action} (${code})`, { code, context });
}

/** Returns the result of a call unless it is negative; then throws systemError. */
export function check(result: number, action: () => string): number {
  if (result < 0) throw systemError(action());
  return result;
}
