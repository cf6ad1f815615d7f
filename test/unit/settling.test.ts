// How long pods wait after a start, on a clock that the test sets.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { type Settling, SILENCE_MS, startSettling } from '../../agent/control/cluster/settling.ts';
import { FakeClock } from './kube-fakes.ts';

interface Waiting {
  readonly clock: FakeClock;
  readonly settling: Settling;
  readonly events: string[];
}

function startWaiting(): Waiting {
  const clock = new FakeClock();
  const events: string[] = [];
  const settling = startSettling(clock, () => events.push('in vain'));
  void settling.over().then(() => events.push('over'));
  return { clock, settling, events };
}

test('an API that is away is waited for once', async () => {
  const { clock, events } = startWaiting();
  await clock.advance(SILENCE_MS - 1);
  assert.deepEqual(events, []);
  await clock.advance(1);
  assert.deepEqual(events, ['over']);
});

test('an API that was heard has as long again to answer; in vain comes before pods go on', async () => {
  const { clock, settling, events } = startWaiting();
  await clock.advance(SILENCE_MS - 1);
  settling.asking();
  await clock.advance(SILENCE_MS - 1);
  settling.asking();
  assert.deepEqual(events, []);
  await clock.advance(1);
  assert.deepEqual(events, ['in vain', 'over']);
});

test('an API that answers lets pods go on at once, and nothing comes after', async () => {
  const { clock, settling, events } = startWaiting();
  settling.asking();
  settling.settled();
  await clock.advance(2 * SILENCE_MS);
  assert.deepEqual(events, ['over']);
  assert.equal(clock.pending, 0);
});

test('an API that is heard after pods went on is waited for again, and may be asked in vain as well', async () => {
  const { clock, settling, events } = startWaiting();
  await clock.advance(SILENCE_MS);
  await settling.over();
  settling.asking();
  void settling.over().then(() => events.push('over again'));
  await clock.advance(SILENCE_MS - 1);
  assert.deepEqual(events, ['over']);
  await clock.advance(1);
  assert.deepEqual(events, ['over', 'in vain', 'over again']);
  await settling.over();
});
