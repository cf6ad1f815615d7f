// The search for a path's MTU on simulated paths with a clock of the test's own: black holes, loss, asymmetry, silence, flapping, jumbo frames.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { MOST_SEARCHES, PathMtu, type PathPeer, RAISE_MS } from '../../agent/dataplane/path-mtu.ts';
import { SMALLEST_PATH_MTU } from '../../agent/dataplane/path-search.ts';
import { randomInt, seededRandom, testSeed } from '../support/random.ts';

const seed = testSeed();
const SLOT = 7;
const STEP_MS = 5;
const SECOND = 1000;

/** What happens to probes on their way. Sizes are inner ones. */
interface Path {
  /** Larger ones vanish. */
  limit: number;
  /** Larger ones are refused at once. */
  interfaceLimit: number;
  /** Of a round trip, 0 … 1. */
  loss: number;
  roundTripMs: number;
  isDown: boolean;
}

interface Change {
  readonly atMs: number;
  readonly mtu: number;
}

function createRig(
  options: { path?: Partial<Path>; device?: number; known?: number; peers?: readonly PathPeer[] } = {},
) {
  const random = seededRandom(seed);
  const path: Path = {
    limit: 1450,
    interfaceLimit: 65_535,
    loss: 0,
    roundTripMs: 1,
    isDown: false,
    ...options.path,
  };
  const peers = options.peers ?? [{ slot: SLOT, probes: true }];
  let nowMs = 50_000;
  let sent = 0;
  let sentBytes = 0;
  const changes: Change[] = [];
  const answers: { readonly dueMs: number; readonly deliver: () => void }[] = [];
  const answerLater = (deliver: () => void): void => {
    if (!path.isDown && random() >= path.loss) answers.push({ dueMs: nowMs + path.roundTripMs, deliver });
  };
  const pathMtu = new PathMtu({
    random,
    send(slot, bytes, sequence) {
      if (bytes > path.interfaceLimit) return false;
      sent += 1;
      sentBytes += bytes;
      if (bytes <= path.limit) answerLater(() => pathMtu.answered(slot, bytes, sequence, nowMs));
      return true;
    },
    roundTripMs: () => path.roundTripMs,
    known: () => options.known ?? 0,
    changed: (slot, mtu) => {
      if (slot === SLOT) changes.push({ atMs: nowMs, mtu });
    },
  });
  pathMtu.update(peers, nowMs);
  if (options.device !== 0) pathMtu.deviceMtu(options.device ?? 1450, nowMs);
  const isAnswering = new Set(peers.map(({ slot }) => slot));
  const ask = (slot: number): void => {
    const answered = isAnswering.delete(slot);
    answerLater(() => {
      isAnswering.add(slot);
      pathMtu.alive(slot);
    });
    if (answered) pathMtu.ask(slot, nowMs);
  };
  return {
    pathMtu,
    path,
    now: () => nowMs,
    changes,
    takeSent: () => {
      const taken = { sent, sentBytes };
      sent = 0;
      sentBytes = 0;
      return taken;
    },
    run(ms: number): void {
      for (const end = nowMs + ms; nowMs < end;) {
        nowMs += STEP_MS;
        for (let index = 0; index < answers.length;) {
          if (answers[index]!.dueMs > nowMs) index += 1; // !: below the length
          else answers.splice(index, 1)[0]?.deliver();
        }
        for (const { slot, probes } of peers)
          if (probes && (nowMs + slot * STEP_MS) % SECOND === 0) ask(slot);
        pathMtu.due(nowMs);
      }
    },
  };
}

const mtuOf = (rig: ReturnType<typeof createRig>): number => rig.pathMtu.of(SLOT);

test('PathMtu: a path that takes what the device takes costs one probe in two seconds and no wake-up', () => {
  const rig = createRig();
  rig.run(20 * SECOND);
  assert.equal(mtuOf(rig), 1450);
  assert.deepEqual(rig.takeSent(), { sent: 10, sentBytes: 14_500 });
  assert.equal(rig.pathMtu.nextDueMs(), Number.POSITIVE_INFINITY);
  assert.equal(rig.changes.length, 1);
});

test('PathMtu: every black hole from the least to the device is found to the byte, within five seconds', (t) => {
  let slowest = 0;
  let mostBytes = 0;
  for (const device of [1450, 8950]) {
    for (let limit = SMALLEST_PATH_MTU; limit < device; limit += device === 1450 ? 1 : 37) {
      const rig = createRig({ device, path: { limit: device } });
      rig.run(10_995);
      rig.path.limit = limit;
      rig.takeSent();
      const since = rig.now();
      rig.run(5 * SECOND);
      const [, change, ...more] = rig.changes;
      assert.deepEqual([change?.mtu, more], [limit, []], `limit ${limit} of ${device}`);
      slowest = Math.max(slowest, change === undefined ? 0 : change.atMs - since);
      mostBytes = Math.max(mostBytes, rig.takeSent().sentBytes);
    }
  }
  t.diagnostic(`slowest ${slowest} ms, at most ${mostBytes} bytes of probes`);
  assert.ok(slowest <= 5 * SECOND);
});

test('PathMtu: a path with a round trip of half a second is found too', () => {
  const rig = createRig({ path: { roundTripMs: 500 } });
  rig.run(10 * SECOND);
  rig.path.limit = 1222;
  rig.run(20 * SECOND);
  assert.equal(mtuOf(rig), 1222);
});

test('PathMtu: what the own interface refuses is learnt without waiting for lost probes', () => {
  const rig = createRig();
  rig.run(10_995);
  rig.path.interfaceLimit = 1399;
  rig.path.limit = 1399;
  const since = rig.now();
  rig.run(3 * SECOND);
  assert.deepEqual(
    rig.changes.map(({ mtu }) => mtu),
    [1450, 1399],
  );
  assert.ok(rig.changes[1]!.atMs - since <= 2500, `${rig.changes[1]!.atMs - since} ms`); // !: just compared
});

test('PathMtu: a peer that is silent, from one moment to the next or for an hour, shrinks nothing', () => {
  const rig = createRig();
  rig.run(3 * SECOND);
  for (const pause of [SECOND, 4 * SECOND, 3_600 * SECOND]) {
    for (let offset = 0; offset < 2 * SECOND; offset += 100) {
      rig.path.isDown = true;
      rig.run(pause > 10 * SECOND && offset > 0 ? SECOND : pause);
      rig.path.isDown = false;
      rig.run(1000 + offset);
    }
  }
  assert.deepEqual(
    rig.changes.map(({ mtu }) => mtu),
    [1450],
  );
});

test('PathMtu: nothing smaller than the least is believed, whatever is lost', () => {
  const rig = createRig({ path: { limit: 100 } });
  rig.run(10 * SECOND);
  assert.equal(mtuOf(rig), SMALLEST_PATH_MTU);
  const small = createRig({ device: 500, path: { limit: 100 } });
  small.run(10 * SECOND);
  assert.equal(mtuOf(small), 500);
});

test('PathMtu: a path that takes all of the device again grows within twelve seconds, another one within two minutes', () => {
  for (const [limit, boundMs] of [
    [1450, 12 * SECOND],
    [1444, 2 * RAISE_MS],
  ] as const) {
    const rig = createRig({ path: { limit: 1350 } });
    rig.run(10 * SECOND);
    assert.equal(mtuOf(rig), 1350);
    rig.path.limit = limit;
    rig.run(boundMs);
    assert.equal(mtuOf(rig), limit);
  }
});

test('PathMtu: below the device the look upwards costs little and says nothing', () => {
  const rig = createRig({ path: { limit: 1350 } });
  rig.run(10 * SECOND);
  rig.takeSent();
  rig.run(600 * SECOND);
  const { sent } = rig.takeSent();
  assert.ok(sent < 1200, `${sent} probes in ten minutes`);
  assert.deepEqual(
    rig.changes.map(({ mtu }) => mtu),
    [1450, 1350],
  );
});

test('PathMtu: a path that flaps is raised ever more seldom', () => {
  for (const best of [1444, 1450]) {
    const rig = createRig();
    for (let minute = 0; minute < 240; minute += 1) {
      rig.path.limit = minute % 2 === 0 ? best : 1350;
      rig.run(30 * SECOND);
    }
    const raised = rig.changes.filter(({ mtu }, index) => mtu > (rig.changes[index - 1]?.mtu ?? mtu)).length;
    assert.ok(raised > 0 && raised < 30, `raised to ${best} ${raised} times in two hours`);
  }
});

test(`PathMtu: under loss no path is believed to take more than it takes, and a steady one is kept or found again (seed ${seed})`, (t) => {
  const random = seededRandom(seed);
  let wrong = 0;
  const RUNS = 60;
  for (let round = 0; round < RUNS; round += 1) {
    const limit = 576 + randomInt(random, 875);
    const rig = createRig({ path: { loss: 0.02 + random() * 0.28 } });
    rig.run(60 * SECOND);
    rig.path.limit = limit;
    rig.run(60 * SECOND);
    assert.ok(mtuOf(rig) <= limit, `round ${round}: ${mtuOf(rig)} on a path of ${limit}`);
    if (mtuOf(rig) !== limit) wrong += 1;
  }
  t.diagnostic(`${wrong} of ${RUNS} paths believed smaller than they are after a minute with 2 to 30 % loss`);
  assert.ok(wrong <= RUNS / 4, `${wrong} of ${RUNS}`);
});

test('PathMtu: the device counts: a smaller one at once, a larger one when the path has shown it', () => {
  const rig = createRig({ path: { limit: 8950 } });
  rig.run(10 * SECOND);
  rig.pathMtu.deviceMtu(1350, rig.now());
  assert.equal(mtuOf(rig), 1350);
  rig.pathMtu.deviceMtu(8950, rig.now());
  assert.equal(mtuOf(rig), 1350);
  rig.run(5 * SECOND);
  assert.equal(mtuOf(rig), 8950);
  rig.pathMtu.deviceMtu(1450, rig.now());
  rig.path.limit = 1400;
  rig.pathMtu.deviceMtu(8950, rig.now());
  rig.run(8 * SECOND);
  assert.equal(mtuOf(rig), 1400, 'shrunk by the search upwards itself');
});

test('PathMtu: a peer that answers no probes has what the device has', () => {
  const rig = createRig({ peers: [{ slot: SLOT, probes: false }], path: { limit: 600 } });
  rig.run(10 * SECOND);
  assert.deepEqual([mtuOf(rig), rig.takeSent().sent], [1450, 0]);
  rig.pathMtu.deviceMtu(8950, rig.now());
  assert.equal(mtuOf(rig), 8950);
});

test('PathMtu: a process goes on with what the one before it found, and forgets peers that are gone', () => {
  const rig = createRig({ known: 1350, path: { limit: 1350 } });
  assert.equal(mtuOf(rig), 1350);
  rig.run(30 * SECOND);
  assert.deepEqual(
    rig.changes.map(({ mtu }) => mtu),
    [1350],
  );
  rig.pathMtu.update([], rig.now());
  assert.deepEqual([mtuOf(rig), rig.changes.at(-1)?.mtu], [0, 0]);
  assert.equal(createRig({ known: 8950 }).pathMtu.of(SLOT), 1450, 'never more than the device');
});

test('PathMtu: before the device is known nothing is sent or told', () => {
  const rig = createRig({ device: 0 });
  rig.run(10 * SECOND);
  assert.deepEqual([rig.takeSent().sent, rig.changes, mtuOf(rig)], [0, [], 0]);
});

test('PathMtu: answers of earlier rounds, to nobody, or of sizes that nobody sent change nothing', () => {
  const rig = createRig({ path: { limit: 1350 } });
  for (let sequence = 0; sequence < 50; sequence += 1)
    rig.pathMtu.answered(SLOT, 1450, sequence * 0x0400_0000, rig.now());
  rig.pathMtu.answered(SLOT + 1, 1450, 0, rig.now());
  rig.run(10 * SECOND);
  assert.equal(mtuOf(rig), 1350);
});

test('PathMtu: a common link that shrinks under 1,000 peers is followed for all, a bounded number at once', (t) => {
  const peers = Array.from({ length: 1000 }, (_, slot) => ({ slot, probes: true }));
  const rig = createRig({ peers });
  rig.run(10 * SECOND);
  rig.path.limit = 1350;
  rig.takeSent();
  let seconds = 0;
  for (; peers.some(({ slot }) => rig.pathMtu.of(slot) !== 1350); seconds += 1) {
    rig.run(SECOND);
    assert.ok(seconds < 60);
  }
  const { sent } = rig.takeSent();
  t.diagnostic(`${seconds} s, ${sent} probes, ${MOST_SEARCHES} searches at once`);
});
