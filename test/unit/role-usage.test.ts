// Memory and processor time of processes, read from files as /proc has them, and of this very process.
import assert from 'node:assert/strict';
import { setImmediate as turn } from 'node:timers/promises';
import { test } from 'node:test';

import { type RoleUsage, RoleUsageReader } from '../../agent/telemetry/role-usage.ts';

const FILES: Readonly<Record<string, string>> = {
  '/proc/7/status': 'Name:\tnode\nVmHWM:\t  999 kB\nVmRSS:\t   100 kB\n',
  '/proc/7/stat': `7 (odd) name (x) S 1 7 7 0 -1 4194560 1 2 3 4 250 150 0 0 20 0 11 0 99 1 1`,
  '/proc/8/status': 'VmRSS:\t   40 kB\n',
  '/proc/8/stat': '8 (node) S 1 7 7 0 -1 4194560 1 2 3 4 10 20 0 0 20 0 11 0 99 1 1',
  '/proc/8/schedstat': '5000000000 1500000000 77\n',
  '/proc/9/schedstat': '0 0 0\n',
  '/proc/7/smaps_rollup': 'Rss:  100 kB\nPss:   30 kB\nPss_Dirty:  1 kB\n',
  '/proc/8/smaps_rollup': 'Rss:  100 kB\nPss:   12 kB\n',
  '/proc/6/task/6/children': '7 8 12 ',
};
const read = (path: string): string => {
  const content = FILES[path];
  if (content === undefined) throw new Error(`no ${path}`);
  return content;
};
const PROCESSES = { keeper: [7], control: [8], dataplane: [8, 9, 0], spare: [] };

test('RoleUsageReader tells memory and processor time by role, and what each worker waited', () => {
  const reader = new RoleUsageReader({ read, readAside: async (path) => read(path), now: () => 0 });
  const { roles, runDelaySeconds } = reader.look(PROCESSES);
  const [keeper] = roles;
  assert.deepEqual(keeper, {
    role: 'keeper',
    residentBytes: 102_400,
    proportionalBytes: undefined,
    cpuSeconds: 0,
  });
  assert.deepEqual(runDelaySeconds, [1.5, undefined, undefined]);
  assert.deepEqual(reader.childrenOf(6), [7, 8, 12]);
  assert.deepEqual(reader.childrenOf(5), []);
});

test('RoleUsageReader: processor time is what is used from the first look on, and never falls', () => {
  const ticks = new Map([
    [1, 5000],
    [2, 7000],
    [3, 30],
  ]);
  const reader = new RoleUsageReader({
    read(path) {
      const pid = Number(path.split('/')[2]);
      const used = path.endsWith('/stat') ? ticks.get(pid) : undefined;
      if (used === undefined) throw new Error(`no ${path}`);
      return `${pid} (node) S 1 7 7 0 -1 4194560 1 2 3 4 ${used} 0 0 0 20 0 11 0 99 1 1`;
    },
    readAside: async () => '',
    now: () => 0,
  });
  const look = (dataplane: readonly number[], spare: readonly number[]): readonly number[] => {
    const { roles } = reader.look({ keeper: [], control: [], dataplane, spare });
    return roles.slice(2).map(({ cpuSeconds }) => cpuSeconds);
  };
  assert.deepEqual(look([1, 2], [3]), [0, 0]);
  ticks.set(1, 5100).set(2, 7100).set(3, 40);
  assert.deepEqual(look([1, 2], [3]), [2, 0.1]);
  ticks.delete(2);
  ticks.set(3, 50).set(4, 20);
  assert.deepEqual(look([1, 3], [4]), [2.1, 0.3], 'the spare has taken over, and there is a new one');
  assert.deepEqual(look([], []), [2.1, 0.3], 'the keeper names nobody');
  ticks.set(1, 5200);
  assert.deepEqual(look([1, 3], [4]), [3.1, 0.3]);
  ticks.set(1, 10);
  assert.deepEqual(look([1, 3], [4]), [3.2, 0.3], 'another process of that pid');
});

test('RoleUsageReader reads the proportional size aside, not at every look', async () => {
  let nowMs = 0;
  let asked = 0;
  const readAside = async (path: string): Promise<string> => {
    asked += 1;
    return read(path);
  };
  const reader = new RoleUsageReader({ read, readAside, now: () => nowMs });
  const keeperPss = (): number | undefined =>
    reader.look({ ...PROCESSES, dataplane: [] }).roles[0]?.proportionalBytes;
  assert.equal(keeperPss(), undefined);
  for (let step = 0; step < 5; step++) await turn();
  nowMs = 29_999;
  assert.equal(keeperPss(), 30 * 1024);
  assert.equal(asked, 2);
  nowMs = 30_000;
  keeperPss();
  for (let step = 0; step < 5; step++) await turn();
  assert.equal(asked, 4);
});

test('RoleUsageReader reads the files of this kernel', () => {
  const reader = new RoleUsageReader();
  const look = (): RoleUsage | undefined =>
    reader
      .look({ keeper: [], control: [process.pid], dataplane: [], spare: [] })
      .roles.find(({ role }) => role === 'control');
  look();
  const before = process.cpuUsage();
  while (process.cpuUsage(before).user < 50_000); // two ticks and more
  const control = look();
  assert.ok((control?.residentBytes ?? 0) > 1e6 && (control?.cpuSeconds ?? 0) > 0, JSON.stringify(control));
});
