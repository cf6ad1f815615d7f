import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { isDown, rolesPath, writeRoleStates } from '../../agent/role-states.ts';
import { nextFailures } from '../../agent/role.ts';

test('isDown: no process of the role works; one of several that is missing is not that', (t) => {
  const runDirectory = mkdtempSync(join(tmpdir(), 'weft-roles-'));
  t.after(() => rmSync(runDirectory, { recursive: true }));
  const isDownWith = (...pids: readonly number[]): boolean => {
    const pid = pids.includes(0) ? 0 : (pids[0] ?? 0);
    const state = { role: 'dataplane', pid, restarts: 0, ...(pids.length > 1 && { pids }) };
    writeRoleStates(rolesPath(runDirectory), [{ role: 'control', pid: 0, restarts: 0 }, state]);
    return isDown(runDirectory, 'dataplane');
  };
  assert.deepEqual([isDownWith(0), isDownWith(0, 0)], [true, true]);
  assert.deepEqual([isDownWith(7), isDownWith(7, 8), isDownWith(7, 0)], [false, false, false]);
});

test('nextFailures gives no pause to a process that was killed from outside', () => {
  assert.equal(nextFailures(0, { livedMs: 800, how: 'SIGKILL' }), 0);
});

test('nextFailures grows while a process gives up by itself or cannot start', () => {
  assert.equal(nextFailures(0, { livedMs: 900, how: 1 }), 1);
  assert.equal(nextFailures(2, { livedMs: 50, how: 'SIGSEGV' }), 3);
});

test('nextFailures grows with a fault of the process itself, however long it had lived', () => {
  for (const how of ['SIGSEGV', 'SIGABRT', 'SIGBUS']) {
    assert.equal(nextFailures(1, { livedMs: 5000, how }), 2, how);
  }
});

test('nextFailures forgets once a process has lived', () => {
  assert.equal(nextFailures(4, { livedMs: 60_000, how: 1 }), 0);
});
