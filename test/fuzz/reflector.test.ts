// Random writes on a model server with random faults. While it runs, nothing is reported gone that was not; once the faults end, the
// reflector's objects equal the model's.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { startReflector } from '../../agent/kube/reflector.ts';
import { randomInt, seededRandom, testSeed } from '../support/random.ts';
import {
  FakeClock,
  type ListFault,
  ModelServer,
  type Thing,
  type WatchFault,
  decodeThing,
  inOrder,
  reset,
  settle,
} from '../unit/kube-fakes.ts';

const LIST_FAULTS: readonly (ListFault | undefined)[] = [
  'gone',
  'throttled',
  'failed',
  'stale',
  'too-large',
  undefined,
];
const WATCH_FAULTS: readonly (WatchFault | undefined)[] = ['gone', 'throttled', 'failed', 'hang', undefined];
const STEPS = 120;
const RUNS = 25;

async function run(seed: number, options: { restores: boolean }): Promise<void> {
  const random = seededRandom(seed);
  const pick = <T>(values: readonly T[]): T => values[randomInt(random, values.length)]!; // !: never empty
  const server = new ModelServer();
  for (let at = 0; at < 6; at++) server.put(`thing-${at}`, 'first');
  const clock = new FakeClock();
  const objects = new Map<string, Thing>();
  const removed = new Set<string>();
  const gone = (name: string): void => {
    if (!options.restores) assert.ok(removed.has(name), `"${name}" was reported gone and never was`);
  };
  const reflector = startReflector({
    source: server,
    decode: decodeThing,
    clock,
    random,
    events: {
      synced(all) {
        for (const name of objects.keys()) if (!all.has(name)) gone(name);
        objects.clear();
        for (const [name, object] of all) objects.set(name, object);
      },
      changed(name, object) {
        if (object === undefined) {
          gone(name);
          objects.delete(name);
        } else objects.set(name, object);
      },
      stale() {},
    },
  });
  const name = (): string => `thing-${randomInt(random, 12)}`;
  const steps: readonly (() => void)[] = [
    () => server.put(name(), `value ${random()}`),
    () => server.put(name(), `value ${random()}`),
    () => {
      const victim = name();
      removed.add(victim);
      server.put(victim, 'bad');
    },
    () => {
      const victim = name();
      removed.add(victim);
      server.remove(victim);
    },
    () => server.putUnseen(name(), 'unseen'),
    () => server.bookmark(),
    () => server.stall(),
    () => server.compact(),
    () => server.endWatches(),
    () => server.endWatches(reset()),
    () => server.listFaults.push(pick(LIST_FAULTS)),
    () => server.watchFaults.push(pick(WATCH_FAULTS)),
    () => server.send({ type: 'ERROR', object: { code: pick([410, 429, 500, 504]) } }),
    () => server.send(pick([{}, { type: 'MODIFIED' }, { type: 'BOOKMARK', object: {} }])),
    () => {
      if (options.restores && random() < 0.2)
        server.restore(Math.max(106, server.version - randomInt(random, 9)));
    },
  ];
  for (let at = 0; at < STEPS; at++) {
    pick(steps)();
    await settle();
    if (random() < 0.4) await clock.advance(random() < 0.8 ? random() * 2000 : random() * 120_000);
  }
  server.listFaults.length = 0;
  server.watchFaults.length = 0;
  // Ten to fifteen minutes until the audit, two more for a history that went back.
  for (let minute = 0; minute < 20; minute++) {
    await clock.advance(60_000);
    server.bookmark();
    if (minute % 4 === 3) server.endWatches();
  }
  await clock.advance(60_000);
  const expected = [...server.objects()].filter(([, { spec }]) => spec.value !== 'bad');
  assert.deepEqual(inOrder(objects), inOrder(new Map(expected)));
  reflector.stop();
  await settle();
  assert.equal(clock.pending, 0);
}

for (const restores of [false, true]) {
  test(`reflector equals the model after random faults${restores ? ' and restored backups' : ''}`, async (t) => {
    const seed = testSeed();
    t.diagnostic(`WEFT_TEST_SEED=${seed}`);
    for (let at = 0; at < RUNS; at++) {
      try {
        await run((seed + at) >>> 0, { restores });
      } catch (error) {
        throw new Error(`WEFT_TEST_SEED=${(seed + at) >>> 0} repeats this as the first of its runs`, {
          cause: error,
        });
      }
    }
  });
}
