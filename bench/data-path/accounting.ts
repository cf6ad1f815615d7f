// What a stretch of time cost: processor time of some processes as the kernel bills it to them, busy time of both cores whoever had it
// (packets are handled in interrupts as well, and those are billed to whoever is interrupted), and memory.
import { readFileSync, readdirSync } from 'node:fs';
import { cpus } from 'node:os';

const TICKS_PER_SECOND = 100; // USER_HZ, the same on every Linux

export interface Cost {
  /** Of the processes. */
  readonly programSeconds: number;
  readonly busySeconds: number;
  /** That programs of a lower priority or another guest of the machine had: figures of such a stretch are worth less. */
  readonly othersSeconds: number;
}

/** Returns a function that tells the cost since. */
export function startAccount(programs: readonly number[]): () => Cost {
  const start = look(programs);
  return () => {
    const end = look(programs);
    const othersSeconds = end.others - start.others;
    const wallSeconds = (end.at - start.at) * start.cores;
    return {
      programSeconds: end.programs - start.programs,
      othersSeconds,
      // Idle time is exact; the busy kinds are counted by sampling.
      busySeconds: wallSeconds - (end.idle - start.idle) - othersSeconds,
    };
  };
}

interface Look {
  readonly at: number;
  readonly cores: number;
  readonly idle: number;
  readonly others: number;
  readonly programs: number;
}

function look(programs: readonly number[]): Look {
  const text = readFileSync('/proc/stat', 'utf8');
  // cpu user nice system idle iowait irq softirq steal
  const columns = (/^cpu +(.*)$/m.exec(text)?.[1] ?? '')
    .split(' ')
    .map((ticks) => Number(ticks) / TICKS_PER_SECOND);
  const [, nice = 0, , idle = 0, waiting = 0, , , stolen = 0] = columns;
  return {
    at: performance.now() / 1000,
    cores: text.match(/^cpu\d+ /gm)?.length ?? 1,
    idle: idle + waiting,
    others: nice + stolen,
    programs: programs.reduce((sum, pid) => sum + processorSeconds(pid), 0),
  };
}

const IDLE_LOOK_MS = 1000;

/** Share of the processors that is busy while nothing is measured. */
export async function busyShare(): Promise<number> {
  const costSince = startAccount([]);
  const start = performance.now();
  await new Promise((resolve) => setTimeout(resolve, IDLE_LOOK_MS));
  const { busySeconds, othersSeconds } = costSince();
  return ((busySeconds + othersSeconds) / (performance.now() - start) / cpus().length) * 1000;
}

/** Of all its threads; 0 for a process that has ended. To the nanosecond, where /proc/<pid>/stat has hundredths of a second. */
function processorSeconds(pid: number): number {
  const threads = list(`/proc/${pid}/task`);
  const spent = threads.map((id) => Number(read(`/proc/${pid}/task/${id}/schedstat`).split(' ')[0]));
  return spent.reduce((sum, nanoseconds) => sum + nanoseconds / 1e9, 0);
}

/** How long the youngest of them has run. */
export function youngestSeconds(programs: readonly number[]): number {
  const upSeconds = Number(read('/proc/uptime').split(' ')[0]);
  const starts = programs.map((pid) => {
    const columns = read(`/proc/${pid}/stat`).split(') ').at(-1)?.split(' '); // the name may hold spaces
    return Number(columns?.[19] ?? 0) / TICKS_PER_SECOND; // starttime, proc_pid_stat(5)
  });
  return upSeconds - Math.max(0, ...starts);
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

function list(folder: string): readonly string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
