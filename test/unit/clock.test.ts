import assert from 'node:assert/strict';
import { test } from 'node:test';

import { systemClock } from '../../agent/kube/clock.ts';

test('a timer of more than the 24.8 days that setTimeout knows fires when it is due', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const fired: string[] = [];
  const days = 86_400_000;
  const longest = 2 ** 31 - 1;
  systemClock.setTimer(30 * days, () => fired.push('late'));
  const cancel = systemClock.setTimer(30 * days, () => fired.push('cancelled'));
  t.mock.timers.tick(longest);
  cancel();
  t.mock.timers.tick(30 * days - longest - 1);
  assert.deepEqual(fired, []);
  t.mock.timers.tick(1);
  assert.deepEqual(fired, ['late']);
});
