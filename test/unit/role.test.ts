import assert from 'node:assert/strict';
import { test } from 'node:test';

import { nextFailures } from '../../agent/role.ts';

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
