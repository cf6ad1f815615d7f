// Throughput between two pods: one TCP stream of iperf3, the receiver's figure.
import { until } from './condition.ts';
import type { Pod } from './pod.ts';
import { LAB_DIRECTORY } from './enclosure.ts';
import { startProcess } from './process.ts';

const PORT = 5201;

export interface ThroughputOptions {
  readonly from: Pod;
  readonly to: Pod;
  readonly seconds: number;
}

interface IperfReport {
  readonly end: { readonly sum_received: { readonly bits_per_second: number } };
}

/** Gbit/s. */
export async function measureThroughput({ from, to, seconds }: ThroughputOptions): Promise<number> {
  const server = startProcess({
    place: to.place,
    command: ['iperf3', '--server', '--one-off', '--port', String(PORT)],
    logFile: `${LAB_DIRECTORY}/iperf3.log`,
  });
  try {
    const listening = ['sh', '-c', `ss -Hltn sport = :${PORT} | grep -q .`];
    await until(async () => (await to.tryExec(listening)).status === 0, { what: 'iperf3 to listen' });
    const command = [
      'iperf3',
      '--client',
      to.address,
      '--port',
      String(PORT),
      '--time',
      String(seconds),
      '--json',
    ];
    const report = JSON.parse(await from.exec(command)) as IperfReport; // as: iperf3's documented output
    return report.end.sum_received.bits_per_second / 1e9;
  } finally {
    await server.kill();
  }
}
