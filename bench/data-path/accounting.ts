// What a stretch of time cost: processor time of some processes as the kernel bills it to them, busy time of both cores whoever had it
// (packets are handled in interrupts as well, and those are billed to whoever is interrupted), and memory.
import { readFileSync } from 'node:fs';

const TICKS_PER_SECOND = 100; // USER_HZ, the same on every Linux

export interface Cost {
  /** Of the processes. */
  readonly programSeconds: number;
  readonly busySeconds: number;
  /** That another guest of the machine had: figures of such a stretch are worth less. */
  readonly stolenSeconds: number;
}

/** Returns a function that tells the cost since. */
export function startAccount(programs: readonly number[]): () => Cost {
  const start = look(programs);
  return () => {
    const end = look(programs);
    const stolenSeconds = end.stolen - start.stolen;
    const wallSeconds = (end.at - start.at) * start.cores;
    return {
      programSeconds: end.programs - start.programs,
      stolenSeconds,
      // Idle time is exact; the busy kinds are counted by sampling.
      busySeconds: wallSeconds - (end.idle - start.idle) - stolenSeconds,
    };
  };
}

interface Look {
  readonly at: number;
  readonly cores: number;
  readonly idle: number;
  readonly stolen: number;
  readonly programs: number;
}

function look(programs: readonly number[]): Look {
  const text = readFileSync('/proc/stat', 'utf8');
  // cpu user nice system idle iowait irq softirq steal
  const columns = (/^cpu +(.*)$/m.exec(text)?.[1] ?? '')
    .split(' ')
    .map((ticks) => Number(ticks) / TICKS_PER_SECOND);
  const [, , , idle = 0, waiting = 0, , , stolen = 0] = columns;
  return {
    at: performance.now() / 1000,
    cores: text.match(/^cpu\d+ /gm)?.length ?? 1,
    idle: idle + waiting,
    stolen,
    programs: programs.reduce((sum, pid) => sum + processorSeconds(pid), 0),
  };
}

/** 0 for a process that has ended. */
function processorSeconds(pid: number): number {
  const fields = read(`/proc/${pid}/stat`).split(') ').at(-1)?.split(' ') ?? [];
  const [user = 0, system = 0] = fields.slice(11, 13).map(Number);
  return (user + system) / TICKS_PER_SECOND;
}

/** Proportional set size of all of them, in MB of 10^6 bytes: a page that three of them share is counted once. */
export const memoryOf = (programs: readonly number[]): number =>
  programs.reduce((sum, pid) => {
    const kilobytes = /^Pss: +(\d+) kB$/m.exec(read(`/proc/${pid}/smaps_rollup`))?.[1];
    return sum + (Number(kilobytes ?? 0) * 1024) / 1e6;
  }, 0);

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
