import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createWarmUp } from '../../agent/hand-over/warm-up.ts';

/** Whether it is done once what is under way has settled. */
async function isDone(done: Promise<void>): Promise<boolean> {
  let settled = false;
  void done.then(() => (settled = true));
  await new Promise(setImmediate);
  return settled;
}

test('createWarmUp: done when control waits and as many data planes are ready as there are workers', async () => {
  const { said, done } = createWarmUp(2, new Promise(() => undefined));
  said('ready');
  said('waiting');
  said('something else');
  assert.equal(await isDone(done), false);
  said('ready');
  assert.equal(await isDone(done), true);
  said('ready'); // the spare
});

test('createWarmUp: done at once when the agent before is gone', async () => {
  const { done } = createWarmUp(2, Promise.resolve());
  assert.equal(await isDone(done), true);
});
