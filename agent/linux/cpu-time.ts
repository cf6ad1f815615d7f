// CPU time that this process and the programs that it started (and that ended) have taken.
import { Arena, type Region } from './arena.ts';
import { check, libc } from './libc.ts';

const RUSAGE_SELF = 0;
const RUSAGE_CHILDREN = -1;
/** struct rusage: user and system time as seconds and microseconds, and 14 counts. */
const RUSAGE_BYTES = 144;

let usage: Region | undefined;

/** Milliseconds; only differences mean something. */
export function cpuTimeMs(): number {
  const { view, address } = (usage ??= new Arena(1).allocate(RUSAGE_BYTES));
  let microseconds = 0;
  for (const who of [RUSAGE_SELF, RUSAGE_CHILDREN]) {
    check(libc.getrusage(who, address), () => 'read the CPU time of this process');
    for (const at of [0, 16]) {
      microseconds += Number(view.getBigInt64(at, true)) * 1e6 + Number(view.getBigInt64(at + 8, true));
    }
  }
  return microseconds / 1000;
}
