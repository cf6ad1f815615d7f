import assert from 'node:assert/strict';
import { test } from 'node:test';

import { fromDescriptorList, toDescriptorList } from '../../agent/hand-over/descriptor-list.ts';

const SEND = [20, 21, 22, 23, 24, 25, 26, 27];
const FIRST = { tun: 10, receive: 11 };

test('the list of one worker is that of agents which know of one only: TUN, receive, send', () => {
  const list = toDescriptorList({ workers: [FIRST], send: SEND });
  assert.deepEqual(list, [10, 11, ...SEND]);
  assert.deepEqual(fromDescriptorList(list, 1), { workers: [FIRST], send: SEND });
});

test("several workers' come behind, so that the first ten mean the same to every agent", () => {
  for (const count of [2, 3, 8]) {
    const workers = Array.from({ length: count }, (_, index) => ({
      tun: 10 + 100 * index,
      receive: 11 + 100 * index,
    }));
    const list = toDescriptorList({ workers, send: SEND });
    assert.deepEqual(list.slice(0, 10), [10, 11, ...SEND]);
    assert.equal(list.length, 2 * count + SEND.length);
    assert.deepEqual(fromDescriptorList(list, count), { workers, send: SEND });
  }
});

test('another number of send sockets is understood', () => {
  const workers = [FIRST, { tun: 12, receive: 13 }];
  const list = toDescriptorList({ workers, send: [30] });
  assert.deepEqual(fromDescriptorList(list, 2), { workers, send: [30] });
});

test('fromDescriptorList refuses a list that is too short for its workers', () => {
  for (const [length, workers] of [
    [0, 1],
    [1, 1],
    [3, 2],
    [15, 8],
  ] as const) {
    const list = Array.from({ length }, (_, index) => index);
    assert.equal(fromDescriptorList(list, workers), undefined, `${length} for ${workers}`);
  }
});
