// What a node has at one moment of all that attachments may leave behind, and whether later moments are the same.
import { readFileSync, readdirSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';

import { runCommand } from '../test/lab/command.ts';
import type { LabNode } from '../test/lab/lab.ts';
import { slope } from './figures.ts';

export interface Moment {
  /** What must be the same, as text. */
  readonly exact: Readonly<Record<string, string>>;
  /** Of each role, the fewest of some looks: a process of nft or a request to the API that is under way has some. */
  readonly descriptors: Readonly<Record<string, number>>;
  /** Of each role, in MB: pages that are no file's. Those of files are shared with whatever else runs Node. */
  readonly memory: Readonly<Record<string, number>>;
}

const ROLES = ['keeper', 'control', 'dataplane'] as const;

const COMMANDS = {
  interfaces: ['ip', '-br', 'link'],
  routes: ['ip', 'route', 'show', 'table', 'all'],
  rules: ['ip', 'rule'],
  nftables: ['nft', 'list', 'ruleset'],
} as const;

const LOOKS = { first: 10, later: 50, pauseMs: 200 } as const;

/** Looks until there are no more than `goal`. */
async function fewestDescriptors(pid: number, goal: number | undefined): Promise<number> {
  let fewest = Number.POSITIVE_INFINITY;
  for (let look = 0; look < (goal === undefined ? LOOKS.first : LOOKS.later); look++) {
    if (look > 0) await pause(LOOKS.pauseMs);
    fewest = Math.min(fewest, readdirSync(`/proc/${pid}/fd`).length);
    if (goal !== undefined && fewest <= goal) break;
  }
  return fewest;
}

/** Control has collected its garbage by then (agent/control/idle-collection.ts). */
const QUIET_MS = 2500;

/** `start`: what to come back to. */
export async function lookAt(
  { agent, namespace: { place } }: LabNode,
  start: Moment | undefined,
): Promise<Moment> {
  await pause(QUIET_MS);
  const exact: Record<string, string> = {};
  for (const [name, command] of Object.entries(COMMANDS)) {
    const text = await runCommand(place, command);
    exact[name] = text.replace(/packets \d+ bytes \d+/g, '');
  }
  exact['records'] = /Addresses: (\d+) used/.exec(await agent.status('/status'))?.[1] ?? 'unknown';
  const descriptors: Record<string, number> = {};
  const memory: Record<string, number> = {};
  for (const role of ROLES) {
    const pid = agent.pidOf(role);
    descriptors[role] = await fewestDescriptors(pid, start?.descriptors[role]);
    memory[role] =
      Number(/^Anonymous:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1]) / 1024;
  }
  return { exact, descriptors, memory };
}

const sizeOf = (text: string): string =>
  /^\d+$/.test(text) ? text : `${text.trim().split('\n').length} lines`;

/** Rows of a table; `start` is the moment before the first of the others. */
export function compareMoments(start: Moment, later: readonly Moment[]): readonly (readonly string[])[] {
  const exact = Object.entries(start.exact).map(([name, text]) => {
    const others = later.filter((moment) => moment.exact[name] !== text).length;
    const verdict = others === 0 ? 'the same each time' : `DIFFERENT ${others} times`;
    return [name, sizeOf(text), sizeOf(later.at(-1)?.exact[name] ?? ''), verdict];
  });
  const descriptors = Object.entries(start.descriptors).map(([role, count]) => {
    const counts = later.map((moment) => moment.descriptors[role] ?? Number.NaN);
    const verdict = Math.max(...counts) > count ? `MORE: ${Math.max(...counts)}` : 'never more';
    return [`descriptors of ${role}`, String(count), String(counts.at(-1)), verdict];
  });
  const memory = Object.keys(start.memory).map((role) => {
    const values = later.map((moment) => moment.memory[role] ?? Number.NaN);
    return [
      `memory of ${role}`,
      `${(start.memory[role] ?? Number.NaN).toFixed(1)} MB`,
      `${(values.at(-1) ?? Number.NaN).toFixed(1)} MB`,
      `${(100 * slope(values)).toFixed(2)} % a cycle`,
    ];
  });
  return [['left after a cycle', 'start', 'last', ''], ...exact, ...descriptors, ...memory];
}
