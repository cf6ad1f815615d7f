// One process of foreign-call.ts: `node foreign-call-site.ts koffi|node-ffi|napi [ADDON]` times system calls through one foreign function
// interface and prints nanoseconds per call as JSON. It runs in Node 24 and in Node 26.
import process from 'node:process';

import koffi from 'koffi';

import { Arena } from '../../agent/linux/arena.ts';
import { libc } from '../../agent/linux/libc.ts';
import { costOf } from './kernel.ts';

type Calls = Record<'getppid' | 'sched_yield' | 'read' | 'poll', (...numbers: never[]) => number>;
/** What an interface takes for an address. */
type Pointer = (address: number) => number | bigint;

const CALLS = 4000;
const BATCHES = 60;

const asNumber: Pointer = (address) => address;

function open(kind: string, addon: string): { calls: Calls; pointer: Pointer } {
  if (kind === 'node-ffi') return { calls: nodeFfi(), pointer: (address) => BigInt(address) };
  if (kind === 'napi') {
    const module = { exports: {} };
    process.dlopen(module, addon);
    return { calls: module.exports as Calls, pointer: asNumber }; // as: foreign-call.c exports these
  }
  const library = koffi.load('libc.so.6');
  const getppid = library.func('getppid', 'int', []);
  const yieldCpu = library.func('sched_yield', 'int', []);
  return {
    calls: { getppid, sched_yield: yieldCpu, read: libc.read, poll: libc.poll },
    pointer: asNumber,
  };
}

function nodeFfi(): Calls {
  const ffi = process.getBuiltinModule('node:ffi') as unknown as {
    dlopen: (path: string, functions: object) => { functions: Calls };
  }; // as: Node 26 has it, the types of Node 24 do not
  return ffi.dlopen('libc.so.6', {
    getppid: { arguments: [], return: 'i32' },
    sched_yield: { arguments: [], return: 'i32' },
    read: { arguments: ['i32', 'pointer', 'u32'], return: 'i32' },
    poll: { arguments: ['pointer', 'u32', 'i32'], return: 'i32' },
  }).functions;
}

/**
 * Nanoseconds of this thread's CPU per call, without what else the machine does: the least batch, because whatever
 * disturbs one only adds to it.
 */
function time(call: () => number): number {
  const batches: number[] = [];
  for (let batch = -3; batch < BATCHES; batch++) {
    const cost = costOf(CALLS, () => {
      for (let at = 0; at < CALLS; at++) call();
    });
    if (batch >= 0) batches.push(cost);
  }
  return Math.min(...batches);
}

const [kind = 'koffi', addon = ''] = process.argv.slice(2);
const { calls, pointer } = open(kind, addon);
const arena = new Arena(65_536);
const word = arena.allocate(8);
const entries = arena.allocate(32);
const fds = [0, 1, 2, 3].map(() => libc.eventfd(0, 0o4000));
for (const [index, fd] of fds.entries()) {
  entries.view.setInt32(index * 8, fd, true);
  entries.view.setInt16(index * 8 + 4, 1, true);
}
const [wordPointer, entriesPointer, eventFd] = [
  pointer(word.address),
  pointer(entries.address),
  fds[0] ?? -1,
];
const {
  getppid,
  sched_yield: yieldCpu,
  read,
  poll,
} = calls as Record<keyof Calls, (...values: unknown[]) => number>; // as: each takes what `pointer` gave
process.stdout.write(
  JSON.stringify({
    getppid: time(() => getppid()),
    'read() → EAGAIN': time(() => read(eventFd, wordPointer, 8)),
    'poll() of 2': time(() => poll(entriesPointer, 2, 0)),
    'poll() of 4': time(() => poll(entriesPointer, 4, 0)),
    'sched_yield()': time(() => yieldCpu()),
  }),
);
