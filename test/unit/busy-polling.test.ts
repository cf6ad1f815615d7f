// How long the loop looks for packets: grows with short sleeps, falls back to nothing without traffic, and stays within its bound.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { BusyPolling, LONGEST_LOOK_MS, REST_SLEEPS } from '../../agent/dataplane/busy-polling.ts';

const sleepTimes = (polling: BusyPolling, count: number, sleptMs: number): void => {
  for (let sleep = 0; sleep < count; sleep++) polling.slept(sleptMs, true);
};

test('BusyPolling does not look before there was traffic', () => {
  assert.equal(new BusyPolling().lookMs, 0);
});

test('BusyPolling looks longer after each short sleep, up to its bound', () => {
  const polling = new BusyPolling();
  const seen: number[] = [];
  for (let sleep = 0; sleep < 4; sleep++) {
    polling.slept(0.03, true);
    seen.push(polling.lookMs);
  }
  assert.deepEqual(
    seen,
    seen.toSorted((a, b) => a - b),
  );
  assert.equal(seen[0], 0.01);
  assert.equal(polling.lookMs, LONGEST_LOOK_MS);
});

test('BusyPolling stops to look when packets come rarely, or when something else ends the sleep', () => {
  for (const [sleptMs, byPackets] of [
    [1, true],
    [0.02, false],
  ] as const) {
    const polling = new BusyPolling();
    sleepTimes(polling, 4, 0.03);
    for (let sleep = 0; sleep < 4; sleep++) polling.slept(sleptMs, byPackets);
    assert.equal(polling.lookMs, 0);
  }
});

test('BusyPolling rests where packets come only when it sleeps, and tries again later', () => {
  const polling = new BusyPolling();
  sleepTimes(polling, 9, 0.03); // one before the first look, and eight in vain
  assert.equal(polling.lookMs, 0);
  assert.ok(polling.isResting);
  sleepTimes(polling, REST_SLEEPS, 0.03);
  assert.equal(polling.lookMs, 0);
  sleepTimes(polling, 1, 0.03);
  assert.ok(polling.lookMs > 0);
});

test('BusyPolling rests where every other sleep is too short to look for and the others too long', () => {
  const polling = new BusyPolling();
  for (let round = 0; round < 8; round++) {
    polling.slept(0.03, true);
    polling.slept(0.09, true);
  }
  assert.ok(polling.isResting);
});

test('BusyPolling goes on where looking finds packets', () => {
  const polling = new BusyPolling();
  for (let round = 0; round < 50; round++) {
    polling.slept(0.03, true);
    if (polling.lookMs === LONGEST_LOOK_MS) polling.found();
  }
  assert.equal(polling.lookMs, LONGEST_LOOK_MS);
});

test('BusyPolling with a bound of 0 never looks', () => {
  const polling = new BusyPolling(0);
  sleepTimes(polling, 10, 0);
  assert.equal(polling.lookMs, 0);
});
