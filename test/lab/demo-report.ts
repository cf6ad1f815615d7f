// What the demo found, as an object (--json) and as text.
import type { Disturbance } from './disturbance.ts';
import type { PairCount } from './reachability.ts';

export interface DemoReport {
  readonly nodes: readonly {
    readonly name: string;
    readonly address: string;
    readonly blocks: readonly string[];
  }[];
  readonly pods: readonly { readonly name: string; readonly node: string; readonly address: string }[];
  readonly pairs: { readonly icmp: PairCount; readonly tcp: PairCount; readonly udp: PairCount };
  readonly roundTripMs: { readonly median: number; readonly max: number };
  /** One TCP stream, Gbit/s, measured in turns in the same run. */
  readonly throughput: { readonly weftGbps: number; readonly kernelGbps: number; readonly ratio: number };
  /** One per kill, under one probe of 1,000 datagrams/s. */
  readonly kills: readonly Disturbance[];
  readonly probe: { readonly sent: number; readonly lost: number; readonly duplicates: number };
  readonly seconds: number;
}

export const isGood = ({ pairs }: DemoReport): boolean =>
  [pairs.icmp, pairs.tcp, pairs.udp].every((pair) => pair.tried === pair.reached && pair.tried > 0);

const cell = (value: number | undefined): string =>
  (value === undefined ? '✗' : value >= 100 ? value.toFixed(0) : value.toFixed(2)).padStart(6);

/** Round-trip times, a row per sender; `times` has no entry where nothing is known yet. */
export function formatMatrix(
  names: readonly string[],
  times: ReadonlyMap<string, number | undefined>,
): readonly string[] {
  const width = Math.max(...names.map((name) => name.length)) + 2;
  return [
    ' '.repeat(width) + names.map((name) => name.padStart(6)).join(''),
    ...names.map(
      (from) =>
        from.padEnd(width) +
        names
          .map((to) => {
            const pair = `${from} ${to}`;
            return from === to ? '     ·' : times.has(pair) ? cell(times.get(pair)) : '     …';
          })
          .join(''),
    ),
  ];
}

export const formatPairs = (protocol: string, { tried, reached, missing }: PairCount): string =>
  `${protocol}: ${reached} of ${tried} pairs${missing.length === 0 ? '' : `; not reached: ${missing.slice(0, 6).join(', ')}`}`;

export const formatThroughput = ({ weftGbps, kernelGbps, ratio }: DemoReport['throughput']): string =>
  `${weftGbps.toFixed(2)} Gbit/s; the kernel's VXLAN device in the same run ${kernelGbps.toFixed(2)} Gbit/s (ratio ${ratio.toFixed(2)})`;

export const formatKill = (kill: Disturbance): string =>
  `${kill.what}: ${kill.lost} of ${kill.sent} packets lost, back after ${kill.backMs.toFixed(0)} ms, longest pause between answers ${kill.longestGapMs.toFixed(0)} ms`;
