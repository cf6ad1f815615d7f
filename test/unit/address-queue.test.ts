import assert from 'node:assert/strict';
import { test } from 'node:test';

import { AddressQueue, bridgeAddress, podAddresses } from '../../agent/ipam/address-queue.ts';
import { type Cidr, type Ipv4, formatIpv4 } from '../../proto/address.ts';
import { parseCidr, parseIpv4 } from '../../proto/address-text.ts';
import { randomInt, seededRandom, testSeed } from '../support/random.ts';

const range = parseCidr('10.32.0.0/24');
const [low, second, high] = ['10.32.0.0/26', '10.32.0.64/26', '10.32.0.192/26'].map(parseCidr) as [
  Cidr,
  Cidr,
  Cidr,
]; // as: three in, three out
const REST = 30_000;
const nothingUsed = (): boolean => false;

const queueOf = (...blocks: Cidr[]): AddressQueue => {
  const queue = new AddressQueue({ range, restMs: REST });
  queue.setBlocks(blocks, nothingUsed);
  return queue;
};
const takeText = (queue: AddressQueue, nowMs: number): string | undefined => {
  const taken = queue.take(nowMs);
  return taken === undefined ? undefined : formatIpv4(taken.address);
};

test('podAddresses: all but the bridge; of the range, not its first and last', () => {
  assert.equal(podAddresses(range, low).length, 62);
  assert.equal(podAddresses(range, second).length, 63);
  assert.equal(podAddresses(range, high).length, 62);
  assert.equal(formatIpv4(podAddresses(range, low)[0]!), '10.32.0.2');
  assert.equal(formatIpv4(podAddresses(range, second)[0]!), '10.32.0.64');
  assert.equal(formatIpv4(podAddresses(range, high).at(-1)!), '10.32.0.254');
  assert.equal(formatIpv4(bridgeAddress(second)), '10.32.0.65');
});

test('take: blocks in the order of claim, a later one while the first rests', () => {
  const queue = queueOf(second, low);
  for (let count = 0; count < 63; count++)
    assert.match(takeText(queue, 0)!, /^10\.32\.0\.(6[4-9]|[7-9]\d|1[01]\d|12[0-7])$/);
  queue.give(parseIpv4('10.32.0.70'), 1000);
  assert.equal(queue.peek(1000 + REST - 1)?.freedAtMs, Number.NEGATIVE_INFINITY);
  assert.equal(queue.peek(1000 + REST)?.freedAtMs, 1000);
  assert.equal(takeText(queue, 1000 + REST - 1), '10.32.0.2');
  assert.equal(takeText(queue, 1000 + REST), '10.32.0.70');
});

test('take: when all are resting, the longest freed one, of whichever block', () => {
  const queue = queueOf(second, low);
  while (queue.free > 0) queue.take(0);
  queue.give(parseIpv4('10.32.0.70'), 30);
  queue.give(parseIpv4('10.32.0.9'), 10);
  queue.give(parseIpv4('10.32.0.8'), 20);
  assert.deepEqual(
    [1, 2, 3, 4].map(() => takeText(queue, 40)),
    ['10.32.0.9', '10.32.0.8', '10.32.0.70', undefined],
  );
});

test('setBlocks: free addresses of a lost block are gone, used ones do not come back to it', () => {
  const queue = queueOf(low, second);
  const used = queue.take(0)!;
  queue.setBlocks([second], nothingUsed);
  queue.give(used.address, 0);
  assert.equal(queue.free, 63);
  queue.setBlocks([second, low], (address) => address === used.address);
  assert.equal(queue.free, 63 + 61);
});

test('give: an address that is free already is a bug', () => {
  const queue = queueOf(low);
  assert.throws(() => queue.give(parseIpv4('10.32.0.9'), 0), /freed twice/);
});

test('AddressQueue: random operations agree with a naive oracle', (t) => {
  const seed = testSeed();
  t.diagnostic(`seed ${seed}`);
  const random = seededRandom(seed);
  const blocks = [low, second, high];
  const queue = queueOf(...blocks);
  /** Every free address with the time it was freed, per block, in order. */
  const oracle = blocks.map((block) =>
    podAddresses(range, block).map((address) => ({ address, at: -Infinity })),
  );
  const used = new Set<Ipv4>();
  let now = 0;
  for (let step = 0; step < 20_000; step++) {
    now += randomInt(random, 400);
    if (random() < 0.52) {
      const rested = oracle.find((free) => free.length > 0 && now - free[0]!.at >= REST);
      const heads = oracle.filter((free) => free.length > 0).sort((a, b) => a[0]!.at - b[0]!.at);
      const expected = (rested ?? heads[0])?.shift()?.address;
      assert.equal(queue.take(now)?.address, expected, `step ${step}`);
      if (expected !== undefined) {
        assert.ok(!used.has(expected), 'given out twice');
        used.add(expected);
      }
    } else if (used.size > 0) {
      const address = [...used][randomInt(random, used.size)]!;
      used.delete(address);
      queue.give(address, now);
      oracle[blocks.findIndex((block) => address >= block.base && address < block.base + 64)]!.push({
        address,
        at: now,
      });
    }
    assert.equal(queue.free + used.size, queue.total);
  }
});
