// Which system calls a process's first thread makes, how often, and for how much traffic, as its node's TUN device counts it in the same
// second: counted by the kernel for perf where that works, which slows the process little, else by strace, which slows it a lot.
import { type Place, runCommand, tryCommand } from '../../test/lab/command.ts';

const STATISTICS = '/sys/class/net/weft0/statistics';
const COUNTERS = ['rx_packets', 'tx_packets', 'rx_bytes', 'tx_bytes'].map((name) => `${STATISTICS}/${name}`);
/** What a data plane may call; others are told as a sum. */
const LOOKED_AT =
  'read readv write writev sendto sendmsg sendmmsg recvfrom recvmsg recvmmsg poll ppoll epoll_wait epoll_pwait epoll_ctl io_uring_enter ' +
  'futex nanosleep clock_nanosleep sched_yield mprotect madvise mmap munmap rt_sigprocmask';
const ALL = 'raw_syscalls:sys_enter';
const PERF_EVENTS = [ALL, ...LOOKED_AT.split(' ').map((name) => `syscalls:sys_enter_${name}`)].join(',');

export interface CountedCalls {
  readonly by: 'perf' | 'strace, which slows it down';
  readonly calls: readonly { readonly name: string; readonly count: number }[];
  /** Both ways; a super-packet is one. */
  readonly packets: number;
  readonly gigabytes: number;
}

/** In `place`, for a second. */
export async function countCalls(place: Place, pid: number): Promise<CountedCalls> {
  return (await byPerf(place, pid)) ?? (await byStrace(place, pid));
}

export function callTable({ calls, packets, gigabytes }: CountedCalls): readonly (readonly string[])[] {
  const rows = calls
    .filter(({ count }) => count > 0)
    .toSorted((a, b) => b.count - a.count)
    .map(({ name, count }) => [
      name,
      String(count),
      (count / packets).toFixed(3),
      (count / gigabytes).toFixed(0),
    ]);
  return [['call', 'count', 'per packet', 'per GB'], ...rows];
}

async function byPerf(place: Place, pid: number): Promise<CountedCalls | undefined> {
  // Tracing's own file system is not among the enclosure's.
  await tryCommand(place, ['mount', '-t', 'tracefs', 'tracefs', '/sys/kernel/tracing']);
  // perf counts for as long as the command runs that it is given, which reads the traffic first and last.
  const look = ['sh', '-c', `cat ${COUNTERS.join(' ')}; sleep 1; cat ${COUNTERS.join(' ')}`];
  const perf = ['perf', 'stat', '-x', ',', '-e', PERF_EVENTS, '-t', String(pid), '--', ...look];
  const { stdout, stderr } = await tryCommand(place, perf);
  const counts = [...stderr.matchAll(/^(\d+),,[a-z_]+:(?:sys_enter_)?([a-z_0-9]+),/gm)].map(
    ([, count, name = '']) => ({ name, count: Number(count) }),
  );
  const all = counts.find(({ name }) => name === 'sys_enter');
  if (all === undefined) return undefined;
  const named = counts.filter((each) => each !== all);
  const others = all.count - named.reduce((sum, { count }) => sum + count, 0);
  return { by: 'perf', calls: [...named, { name: '(others)', count: others }], ...trafficOf(stdout) };
}

async function byStrace(place: Place, pid: number): Promise<CountedCalls> {
  const look = `cat ${COUNTERS.join(' ')}`;
  const before = await runCommand(place, ['sh', '-c', look]);
  const trace = ['timeout', '-s', 'INT', '1', 'strace', '-c', '-qq', '-p', String(pid)];
  const { stderr } = await tryCommand(place, trace);
  const after = await runCommand(place, ['sh', '-c', look]);
  // % time, seconds, µs/call, calls, errors (or nothing), name
  const rows = [...stderr.matchAll(/^ *[\d.]+ +[\d.]+ +\d+ +(\d+) +(?:\d+ +)?([a-z_0-9]+)$/gm)];
  const calls = rows.map(([, count, name = '']) => ({ name, count: Number(count) }));
  return { by: 'strace, which slows it down', calls, ...trafficOf(before + after) };
}

/** Between two looks at the counters, one after the other in `text`. */
function trafficOf(text: string): Pick<CountedCalls, 'packets' | 'gigabytes'> {
  const values = text.trim().split('\n').map(Number);
  const since = (at: number): number => (values[at + COUNTERS.length] ?? 0) - (values[at] ?? 0);
  return { packets: since(0) + since(1), gigabytes: (since(2) + since(3)) / 1e9 };
}
