// What a storm has done so far, over all of its nodes.
import { type Landing, formatHistogram } from './landing.ts';

export type KillKind = 'control' | 'agent' | 'shim';

export interface Tally {
  readonly kills: Record<KillKind, number>;
  /** Of each kill. */
  readonly landings: Landing[];
  /** Of each request that a kill cut off. */
  readonly cut: Landing[];
  readonly done: Record<'ADD' | 'DEL' | 'CHECK' | 'GC', number>;
  /** ADDs that were refused, by CNI code; `killed` with the plugin. */
  readonly refused: Map<string, number>;
  /** Pods whose DEL came late, twice, or never; and DELs of what never was. */
  readonly odd: Record<'late' | 'repeated' | 'never added' | 'vanished' | 'forgotten' | 'buried', number>;
  readonly addresses: Set<string>;
  /** Addresses that were given to more than one pod, one after another. */
  readonly reused: Set<string>;
  pings: number;
}

export const createTally = (): Tally => ({
  kills: { control: 0, agent: 0, shim: 0 },
  landings: [],
  cut: [],
  done: { ADD: 0, DEL: 0, CHECK: 0, GC: 0 },
  refused: new Map(),
  odd: { late: 0, repeated: 0, 'never added': 0, vanished: 0, forgotten: 0, buried: 0 },
  addresses: new Set(),
  reused: new Set(),
  pings: 0,
});

const words = (counts: Iterable<readonly [string, number]>): string =>
  [...counts].map(([name, count]) => `${name} ${count}`).join(', ') || 'none';

export const formatTally = (tally: Tally): string =>
  [
    `kill -9: ${words(Object.entries(tally.kills))}`,
    `succeeded: ${words(Object.entries(tally.done))}; ADD refused by code: ${words(tally.refused)}`,
    `DEL: ${words(Object.entries(tally.odd))}`,
    `${tally.addresses.size} addresses seen, ${tally.reused.size} of them of several pods in turn; ${tally.pings} pings`,
    `kills by where they landed:\n${formatHistogram(tally.landings)}`,
    `requests that they cut off:\n${formatHistogram(tally.cut)}`,
  ].join('\n');
