// Every pod to every other, both ways: ICMP with round-trip times, TCP, and UDP up to the MTU and fragmented above it.
import type { Lab } from './lab.ts';
import type { Pod } from './pod.ts';

export interface PingResult {
  readonly from: Pod;
  readonly to: Pod;
  /** The better of two, in ms; undefined when none was answered. */
  readonly roundTripMs: number | undefined;
}

export interface PairCount {
  readonly tried: number;
  readonly reached: number;
  /** "from → to" of those that were not. */
  readonly missing: readonly string[];
}

const ICMP_HEADER_BYTES = 8;
const IP_HEADER_BYTES = 20;
const UDP_HEADERS_BYTES = IP_HEADER_BYTES + 8;

const pingLine = (address: string): string =>
  `ping -n -q -c 2 -i 0.01 -W 2 ${address} | sed -n 's/^rtt .* = \\([0-9.]*\\)\\/.*/\\1/p' | grep . || echo none`;

/** Pings all others from one pod, one after the other. */
export async function pingFrom(from: Pod, others: readonly Pod[]): Promise<readonly PingResult[]> {
  const output = await from.exec(['sh', '-c', others.map((to) => pingLine(to.address)).join('\n')]);
  const times = output.trim().split('\n');
  return others.map((to, index) => {
    const roundTripMs = Number(times[index]);
    return { from, to, roundTripMs: Number.isNaN(roundTripMs) ? undefined : roundTripMs };
  });
}

/** One ping with a full-size packet that must not be fragmented: is the pod's MTU right end to end? */
export async function pingWholeMtu(from: Pod, to: Pod, mtu: number): Promise<boolean> {
  const bytes = mtu - IP_HEADER_BYTES - ICMP_HEADER_BYTES;
  const ping = ['ping', '-n', '-q', '-c', '1', '-W', '2', '-M', 'do', '-s', String(bytes), to.address];
  return (await from.tryExec(ping)).status === 0;
}

export const countPairs = (results: readonly { from: Pod; to: Pod; reached: boolean }[]): PairCount => ({
  tried: results.length,
  reached: results.filter((result) => result.reached).length,
  missing: results.filter((result) => !result.reached).map(({ from, to }) => `${from.name} → ${to.name}`),
});

/** MTU of the pod's interface. */
export const mtuOf = async (pod: Pod): Promise<number> =>
  Number(await pod.exec(['sh', '-c', "ip -o link show eth0 | sed 's/.* mtu \\([0-9]*\\) .*/\\1/'"]));

/** Payload sizes that matter for a path of this MTU: small, exactly full, one byte over (two fragments), many fragments. */
export const udpSizes = (mtu: number): readonly number[] => [
  1,
  mtu - UDP_HEADERS_BYTES,
  mtu - UDP_HEADERS_BYTES + 1,
  4 * mtu,
];

export interface TransportPairs {
  readonly tcp: PairCount;
  readonly udp: PairCount;
}

/** TCP and UDP echoes between all ordered pairs. A UDP pair is reached when every size came back intact. */
export async function tryTransports(lab: Lab, pods: readonly Pod[]): Promise<TransportPairs> {
  const tcp: { from: Pod; to: Pod; reached: boolean }[] = [];
  const udp: { from: Pod; to: Pod; reached: boolean }[] = [];
  await Promise.all(pods.map((pod) => lab.endpoint(pod)));
  await Promise.all(
    pods.map(async (from) => {
      const endpoint = await lab.endpoint(from);
      const sizes = udpSizes(await mtuOf(from));
      for (const to of pods) {
        if (to === from) continue;
        const echoed = await endpoint.tcpEcho(to.address).then(
          () => true,
          () => false,
        );
        tcp.push({ from, to, reached: echoed });
        const answers = await endpoint.udpEcho(to.address, sizes);
        udp.push({ from, to, reached: answers.filter((answer) => answer.intact).length === sizes.length });
      }
    }),
  );
  return { tcp: countPairs(tcp), udp: countPairs(udp) };
}
