import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createDetachBatch } from '../../agent/control/cni/detach-batch.ts';
import { OperationError } from '../../agent/operation-error.ts';

function bench(stuck: ReadonlySet<string> = new Set()) {
  const calls: string[][] = [];
  const turns: (() => void)[] = [];
  const refuse = (names: readonly string[]): void => {
    const name = names.find((one) => stuck.has(one));
    if (name !== undefined) throw new OperationError(`Cannot delete ${name}`, { code: 'EBUSY' });
  };
  const batch = createDetachBatch(
    {
      detachAll(names) {
        calls.push([...names]);
        refuse(names);
      },
      detach(name) {
        calls.push([name]);
        refuse([name]);
        return true;
      },
    },
    (run) => void turns.push(run),
  );
  const turn = (): void => turns.shift()?.();
  return { batch, calls, turns, turn };
}

test('DetachBatch: what comes in one turn goes together, what comes later goes next', async () => {
  const { batch, calls, turns, turn } = bench();
  const first = [batch.detach('a'), batch.detach('b')];
  assert.deepEqual([calls, turns.length], [[], 1]);
  turn();
  await Promise.all(first);
  const second = batch.detach('c');
  turn();
  await second;
  assert.deepEqual([calls, turns.length], [[['a', 'b'], ['c']], 0]);
});

test('DetachBatch: a batch is bounded, so that others get their turn', async () => {
  const { batch, calls, turn } = bench();
  const all = Array.from({ length: 70 }, (_, at) => batch.detach(`v${at}`));
  for (let left = 3; left > 0; left--) turn();
  await Promise.all(all);
  assert.deepEqual(
    calls.map(({ length }) => length),
    [32, 32, 6],
  );
});

test('DetachBatch: one that cannot be removed fails alone', async () => {
  const { batch, calls, turn } = bench(new Set(['b']));
  const all = Promise.allSettled(['a', 'b', 'c'].map((name) => batch.detach(name)));
  turn();
  assert.deepEqual(
    (await all).map(({ status }) => status),
    ['fulfilled', 'rejected', 'fulfilled'],
  );
  assert.deepEqual(calls, [['a', 'b', 'c'], ['a'], ['b'], ['c']]);
});
