// Which system calls a process makes, how often, and for how much traffic: by `perf trace` where it works, which slows the process less,
// else by strace. Traffic is what the node's TUN device counts meanwhile.
import { type Place, runCommand, tryCommand } from '../../test/lab/command.ts';

const DEVICE = 'weft0';

export interface CountedCalls {
  readonly by: 'perf trace' | 'strace, which slows it down';
  readonly calls: readonly { readonly name: string; readonly count: number }[];
  readonly packets: number;
  readonly gigabytes: number;
  readonly traffic: string;
}

export async function countCalls(place: Place, pid: number, seconds: number): Promise<CountedCalls> {
  const before = await readTraffic(place);
  const counted = (await byPerf(pid, seconds)) ?? (await byStrace(pid, seconds));
  const after = await readTraffic(place);
  const packets = after.packets - before.packets;
  const gigabytes = (after.bytes - before.bytes) / 1e9;
  return {
    ...counted,
    packets,
    gigabytes,
    traffic: `${packets} packets or super-packets, ${gigabytes.toFixed(3)} GB`,
  };
}

export function callTable({ calls, packets, gigabytes }: CountedCalls): readonly (readonly string[])[] {
  const rows = calls
    .toSorted((a, b) => b.count - a.count)
    .map(({ name, count }) => [
      name,
      String(count),
      (count / packets).toFixed(3),
      (count / gigabytes).toFixed(0),
    ]);
  return [['call', 'count', 'per packet', 'per GB'], ...rows];
}

type Counted = Pick<CountedCalls, 'by' | 'calls'>;

async function byPerf(pid: number, seconds: number): Promise<Counted | undefined> {
  const trace = `mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null; timeout -s INT ${seconds} perf trace -s -p ${pid} 2>&1`;
  const { stdout } = await tryCommand({ name: 'perf', enter: [] }, ['sh', '-c', trace]);
  const calls = [...stdout.matchAll(/^ +([a-z_0-9]+) +(\d+) +\d+ +[\d.]+ /gm)];
  return calls.length === 0 ? undefined : { by: 'perf trace', calls: tally(calls) };
}

async function byStrace(pid: number, seconds: number): Promise<Counted> {
  const trace = `timeout -s INT ${seconds} strace -c -f -qq -p ${pid} 2>&1`;
  const { stdout } = await tryCommand({ name: 'strace', enter: [] }, ['sh', '-c', trace]);
  // % time, seconds, µs/call, calls, errors (or nothing), name
  const rows = [...stdout.matchAll(/^ *[\d.]+ +[\d.]+ +\d+ +(\d+) +(?:\d+ +)?([a-z_0-9]+)$/gm)];
  const calls = rows
    .filter(([, , name]) => name !== 'total')
    .map(([all, count = '', name = '']) => [all, name, count]);
  return { by: 'strace, which slows it down', calls: tally(calls) };
}

function tally(rows: readonly (readonly string[])[]): CountedCalls['calls'] {
  const counts = new Map<string, number>();
  for (const [, name = '', count] of rows) counts.set(name, (counts.get(name) ?? 0) + Number(count));
  return [...counts].map(([name, count]) => ({ name, count }));
}

async function readTraffic(place: Place): Promise<{ readonly packets: number; readonly bytes: number }> {
  const folder = `/sys/class/net/${DEVICE}/statistics`;
  const files = ['rx_packets', 'tx_packets', 'rx_bytes', 'tx_bytes'].map((name) => `${folder}/${name}`);
  const [packetsIn = 0, packetsOut = 0, bytesIn = 0, bytesOut = 0] = (
    await runCommand(place, ['cat', ...files])
  )
    .trim()
    .split('\n')
    .map(Number);
  return { packets: packetsIn + packetsOut, bytes: bytesIn + bytesOut };
}
