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

test('nextFailures forgets once a process has lived', () => {
  assert.equal(nextFailures(4, { livedMs: 60_000, how: 1 }), 0);
});
