import assert from 'node:assert/strict';
import { test } from 'node:test';

import { IdleCollection } from '../../agent/control/idle-collection.ts';
import { FakeClock } from './kube-fakes.ts';

test('a collection when it is quiet after many operations, not in between and not after few', async () => {
  const clock = new FakeClock();
  let collections = 0;
  const idle = new IdleCollection({ clock, collect: () => void (collections += 1) });
  for (let count = 0; count < 99; count++) idle.used();
  await clock.advance(10_000);
  assert.equal(collections, 0, 'too few');
  for (let count = 0; count < 50; count++) {
    idle.used();
    await clock.advance(900);
  }
  assert.equal(collections, 0, 'not quiet');
  await clock.advance(100);
  assert.equal(collections, 1);
  await clock.advance(10_000);
  assert.equal(collections, 1);
});
