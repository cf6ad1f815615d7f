// The ratios that Weft is held to, and how one is met. A ratio is taken in each round, between two sides that were measured one after
// the other, so that the machine's moods cancel; what counts is the median.
import type { Figure } from './figure.ts';
import type { SideName } from './side.ts';

export interface Goal {
  readonly key: string;
  readonly must: number;
  readonly aim?: number;
}

export interface Comparison {
  readonly of: SideName;
  readonly to: SideName;
  readonly goals: readonly Goal[];
}

export const COMPARISONS: readonly Comparison[] = [
  {
    of: 'weft',
    to: 'limit',
    goals: [
      { key: 'tcp1', must: 1, aim: 1.3 },
      { key: 'tcp8', must: 1, aim: 1.3 },
      { key: 'tcp1-mtu', must: 0.95, aim: 1.2 },
      { key: 'udp64', must: 1, aim: 1.3 },
      { key: 'udp1400', must: 1, aim: 1.2 },
      { key: 'rtt.p50', must: 1.1, aim: 0.8 },
      { key: 'tcp1.cpu', must: 1.05, aim: 0.8 },
    ],
  },
  { of: 'weft', to: 'furnished', goals: [] },
  { of: 'weft', to: 'vxlan', goals: [] },
  { of: 'weft', to: 'wireguard', goals: [{ key: 'tcp1', must: 2 }] },
  { of: 'limit', to: 'vxlan', goals: [] },
];

/** Of Weft by itself, in the figure's unit. */
export const LIMITS: readonly Goal[] = [
  { key: 'idle', must: 0.5 },
  { key: 'idle.memory', must: 128 },
  { key: 'memory', must: 160 },
  { key: 'rtt-load.p99', must: 2000 },
];

export type Verdict = 'aim met' | 'met' | 'MISSED';

export function judge(value: number, { must, aim }: Goal, better: Figure['better']): Verdict {
  const reaches = (bound: number): boolean => (better === 'more' ? value >= bound : value <= bound);
  if (aim !== undefined && reaches(aim)) return 'aim met';
  return reaches(must) ? 'met' : 'MISSED';
}
