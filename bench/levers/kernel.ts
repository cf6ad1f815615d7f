// What the levers need of the kernel beyond agent/linux/libc.ts: raw system calls, the CPU clock of this thread, UDP sockets in a
// namespace, and struct iovec and struct mmsghdr in an arena. Addresses are numbers, memory lies in one arena.
import { readFileSync } from 'node:fs';

import koffi from 'koffi';

import { loadPacketKernels } from '../../agent/dataplane/packet-kernels.ts';
import { Arena, type Region } from '../../agent/linux/arena.ts';
import { type Call, check, libc } from '../../agent/linux/libc.ts';

const library = koffi.load('libc.so.6');
const long = 'int64_t';

/** syscall(2): the number and six arguments. */
export const syscall: Call = library.func('syscall', long, [long, long, long, long, long, long, long]);
export const schedYield: Call = library.func('sched_yield', 'int', []);
export const getppid: Call = library.func('getppid', 'int', []);

/** 32 MiB that the kernel sees; pages are touched on first use. */
export const arena: Arena = new Arena(32 << 20);
export const PAGE_BYTES = 4096;

/** Reads `length` bytes at `offset` of the arena once, as the checksum kernel does. */
export const readOnce: (offset: number, length: number) => number = loadPacketKernels(arena.memory).sum;

const CLOCK_THREAD_CPUTIME_ID = 3;
const time = arena.allocate(16);

/** Nanoseconds of CPU that this thread has taken; only differences mean something. */
export function threadNs(): number {
  libc.clock_gettime(CLOCK_THREAD_CPUTIME_ID, time.address);
  return Number(time.view.getBigInt64(0, true)) * 1e9 + Number(time.view.getBigInt64(8, true));
}

/** CPU nanoseconds of this thread in `work`, per unit. */
export function costOf(units: number, work: () => void): number {
  const before = threadNs();
  work();
  return (threadNs() - before) / units;
}

/** Fails unless `work` did all units: a figure of something else is worse than none. */
export function expect(done: number, wanted: number, what: string): void {
  if (done !== wanted) throw new Error(`Measured ${done} ${what} instead of ${wanted}`);
}

const AF_INET = 2;
const SOCK_DGRAM = 2;
const SOCK_NONBLOCK = 0o4000;
export const SOL_SOCKET = 1;
export const SO_SNDBUFFORCE = 32;
export const SO_RCVBUFFORCE = 33;
export const SOL_UDP = 17;
export const UDP_SEGMENT = 103;
export const UDP_GRO = 104;
export const MSG_DONTWAIT = 0x40;
const BUFFER_BYTES = 128 << 20;

const value = arena.allocate(4);
const socketAddress = arena.allocate(16);

export function setOption(fd: number, level: number, option: number, number: number): number {
  value.view.setInt32(0, number, true);
  return libc.setsockopt(fd, level, option, value.address, 4);
}

function addressOf(text: string): number {
  const [host = '', port = '0'] = text.split(':');
  socketAddress.view.setUint16(0, AF_INET, true);
  socketAddress.view.setUint16(2, Number(port), false);
  for (const [at, part] of host.split('.').entries()) socketAddress.bytes[4 + at] = Number(part);
  return socketAddress.address;
}

/** A UDP socket with large buffers; addresses are written "10.0.0.1:4000". */
export function openUdp(ends: { bind?: string; connect?: string }): number {
  const fd = check(libc.socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), () => 'open a UDP socket');
  setOption(fd, SOL_SOCKET, SO_SNDBUFFORCE, BUFFER_BYTES);
  setOption(fd, SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES);
  if (ends.bind !== undefined) check(libc.bind(fd, addressOf(ends.bind), 16), () => `bind ${ends.bind}`);
  if (ends.connect !== undefined) {
    check(libc.connect(fd, addressOf(ends.connect), 16), () => `connect to ${ends.connect}`);
  }
  return fd;
}

const CLONE_NEWNET = 0x40000000;

/** Runs `open` with this thread in a named network namespace. */
export function inNetns<T>(name: string, open: () => T): T {
  const enter = (path: string): number => {
    const text = arena.allocate(64);
    text.bytes.set(new TextEncoder().encode(path));
    return check(libc.open(text.address, 0, 0), () => `open "${path}"`);
  };
  const own = enter('/proc/thread-self/ns/net');
  const other = enter(`/run/netns/${name}`);
  check(libc.setns(other, CLONE_NEWNET), () => `enter namespace "${name}"`);
  try {
    return open();
  } finally {
    check(libc.setns(own, CLONE_NEWNET), () => 'come back');
    libc.close(own);
    libc.close(other);
  }
}

export const MMSGHDR_BYTES = 64;

export function setIovec(region: Region, at: number, address: number, length: number): void {
  region.view.setBigUint64(at, BigInt(address), true);
  region.view.setBigUint64(at + 8, BigInt(length), true);
}

/** Field offsets of struct msghdr. */
export const MSGHDR = { iovec: 16, iovecCount: 24, control: 32, controlLength: 40, flags: 48, received: 56 };

/** Writes entry `index` of an array of struct mmsghdr. */
export function setMessage(messages: Region, index: number, iovec: number, count: number): void {
  const at = index * MMSGHDR_BYTES;
  messages.view.setBigUint64(at + MSGHDR.iovec, BigInt(iovec), true);
  messages.view.setBigUint64(at + MSGHDR.iovecCount, BigInt(count), true);
}

/** The machine's processor, and whether a system call switches page tables (PTI). */
export function machine(): string {
  const model = /model name\s*: (.*)/.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1] ?? 'unknown';
  const meltdown = readFileSync('/sys/devices/system/cpu/vulnerabilities/meltdown', 'utf8').trim();
  return `${model}; Meltdown: ${meltdown} (${meltdown.includes('PTI') ? 'PTI' : 'no PTI'}); Node ${process.version}`;
}
