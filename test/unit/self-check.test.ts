// The node's look after itself on a clock of the test's own: told once, told as over, never told twice.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { startSelfCheck } from '../../agent/control/status/self-check.ts';
import type { NodeFault } from '../../proto/node-report.ts';
import { FakeClock } from './kube-fakes.ts';

const INTERVAL_MS = 300_000;

const fault = (check: string, what: string, severity: NodeFault['severity'] = 'error'): NodeFault => ({
  check,
  severity,
  what,
  why: 'it matters',
  fix: 'mend it',
});

function createRig(intervalMs = INTERVAL_MS) {
  const clock = new FakeClock();
  const lines: string[] = [];
  let answer: readonly NodeFault[] | Error = [];
  let runs = 0;
  const note = (level: string) => (event: string, message: string) =>
    void lines.push(`${level} ${event}: ${message}`);
  const check = startSelfCheck({
    intervalMs,
    clock,
    examine: () => {
      runs += 1;
      return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer);
    },
    log: { info: note('info'), warn: note('warn'), error: note('error') },
  });
  return {
    check,
    runs: () => runs,
    /** Lets a run come, and returns what it logged. */
    next: async (found: readonly NodeFault[] | Error): Promise<string[]> => {
      answer = found;
      await clock.advance(intervalMs);
      return lines.splice(0);
    },
  };
}

test('a fault is told once, with what to do, and once more when it is gone', async () => {
  const { next, check } = createRig();
  assert.deepEqual(await next([]), []);
  assert.deepEqual(await next([fault('routes', 'a route is missing')]), [
    'error fault_found: a route is missing. What to do: mend it',
  ]);
  assert.deepEqual(await next([fault('routes', 'another route is missing')]), []);
  assert.equal(check.faults()[0]?.what, 'another route is missing');
  assert.deepEqual(await next([]), ['info fault_gone: No longer so: another route is missing']);
  assert.deepEqual(await next([]), []);
});

test('many findings of one check are one line, the gravest first; a warning that becomes an error is told again', async () => {
  const { next } = createRig();
  const warning = fault('peers', 'a peer is slow', 'warning');
  assert.deepEqual(await next([warning]), ['warn fault_found: a peer is slow. What to do: mend it']);
  assert.deepEqual(
    await next([warning, fault('peers', 'a peer is away'), fault('clock', 'it is wrong', 'warning')]),
    [
      'error fault_found: a peer is away. What to do: mend it (and 1 more: weft doctor --only peers)',
      'warn fault_found: it is wrong. What to do: mend it',
    ],
  );
});

test('a run that fails is told once and changes nothing of what is known', async () => {
  const { next, check } = createRig();
  await next([fault('routes', 'a route is missing')]);
  const ended = check.ageSeconds() ?? assert.fail();
  const broken = new Error('no memory');
  assert.equal((await next(broken)).filter((line) => line.startsWith('warn self_check_failed')).length, 1);
  assert.deepEqual(await next(broken), []);
  assert.equal(check.faults().length, 1);
  assert.equal(check.ageSeconds(), ended + 600, 'since the one that ended well');
  assert.deepEqual(await next([]), ['info fault_gone: No longer so: a route is missing']);
  assert.equal((await next(broken)).length, 1);
});

test('while no run has ended well, the last one is as old as the agent', async () => {
  const { next, check } = createRig();
  assert.equal(check.ageSeconds(), 0);
  await next(new Error('no memory'));
  assert.equal(check.ageSeconds(), 300);
});

test('0 means never; after close nothing runs or is told', async () => {
  const never = createRig(0);
  assert.deepEqual(
    [await never.next([fault('routes', 'x')]), never.runs(), never.check.ageSeconds()],
    [[], 0, undefined],
  );
  const { next, check, runs } = createRig();
  await next([]);
  check.close();
  assert.deepEqual(await next([fault('routes', 'x')]), []);
  assert.equal(runs(), 1);
});
