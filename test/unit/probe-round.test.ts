// Whom a second's probes go to, in clusters larger than what is asked whole.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { ProbeRound } from '../../agent/dataplane/probe-round.ts';
import { COUNTER, DataplaneStats, GAUGE } from '../../agent/dataplane/stats.ts';
import { OWNER_FIRST_PEER } from '../../proto/forwarding-table.ts';
import { QUIET_PEERS_A_ROUND } from '../../proto/probe.ts';

const PEERS = 1000;
const LONG_AFTER_MS = 1_000_000;

function createRig(peers = PEERS) {
  const stats = new DataplaneStats();
  const round = new ProbeRound(stats);
  const slots = Uint16Array.from({ length: peers }, (_, slot) => slot);
  round.update(slots, () => true, 0);
  return {
    stats,
    round,
    slots,
    /** Rounds of the seconds from `fromMs` on. */
    rounds: (count: number, fromMs = LONG_AFTER_MS): number[][] =>
      Array.from({ length: count }, (_, second) => [...round.choose(fromMs + second * 1000)]),
  };
}

test('choose: a small cluster is asked whole, each second', () => {
  const { rounds, slots } = createRig(QUIET_PEERS_A_ROUND);
  assert.deepEqual(rounds(3), [[...slots], [...slots], [...slots]]);
});

test('choose: of quiet peers so many a second, each of them once in turn', () => {
  const { rounds } = createRig();
  const turn = rounds(PEERS / QUIET_PEERS_A_ROUND);
  assert.ok(turn.every(({ length }) => length === QUIET_PEERS_A_ROUND));
  assert.equal(new Set(turn.flat()).size, PEERS);
});

test('choose: a peer with traffic, in either direction, is asked every second as long as it has it', () => {
  const { rounds, stats } = createRig();
  const [sent, came] = [3, 777];
  for (let second = 0; second < 60; second++) {
    stats.add(OWNER_FIRST_PEER + sent, COUNTER.egress_packets, 1);
    stats.add(OWNER_FIRST_PEER + came, COUNTER.ingress_packets, 5);
    const [chosen = []] = rounds(1, LONG_AFTER_MS + second * 1000);
    assert.ok(chosen.includes(sent) && chosen.includes(came), `second ${second}`);
    assert.ok(chosen.length <= QUIET_PEERS_A_ROUND + 2);
  }
  const later = rounds(26, LONG_AFTER_MS + 60_000).flat();
  assert.ok(later.filter((slot) => slot === sent).length <= 3);
});

test('choose: traffic that another worker carries counts as well', () => {
  const others = [new DataplaneStats(), new DataplaneStats()];
  const round = new ProbeRound(new DataplaneStats(), others);
  round.update(
    Uint16Array.from({ length: PEERS }, (_, slot) => slot),
    () => true,
    0,
  );
  const missed: number[] = [];
  for (let second = 0; second < 60; second++) {
    for (const [index, other] of others.entries()) {
      other.add(OWNER_FIRST_PEER + 900 + index, COUNTER.ingress_packets, 1);
    }
    const chosen = round.choose(LONG_AFTER_MS + second * 1000);
    if (!chosen.includes(900) || !chosen.includes(901)) missed.push(second);
  }
  assert.deepEqual(missed, []);
});

test('choose: one that owes an answer is asked every second at first, then in turn, and at once when it is heard', () => {
  const { rounds, stats } = createRig();
  const silent = OWNER_FIRST_PEER + 500;
  const includes = (atMs: number): boolean => rounds(1, atMs)[0]?.includes(500) === true;
  stats.set(silent, GAUGE.first_unanswered_probe_ms, LONG_AFTER_MS);
  for (let second = 0; second < 10; second++) assert.ok(includes(LONG_AFTER_MS + second * 1000));
  const inTurn = rounds(50, LONG_AFTER_MS + 10_000).flat();
  assert.ok(inTurn.filter((slot) => slot === 500).length <= 3, 'it is away for good');
  stats.set(silent, GAUGE.last_request_ms, LONG_AFTER_MS + 70_000);
  assert.ok(includes(LONG_AFTER_MS + 70_000));
});

test('choose: a new peer is asked every second for a while, one that stays is not new', () => {
  const { round, slots, rounds } = createRig();
  round.update(slots, (slot) => slot === 42, LONG_AFTER_MS);
  assert.ok(rounds(10).every((chosen) => chosen.includes(42)));
  assert.ok(
    rounds(25, LONG_AFTER_MS + 10_000)
      .flat()
      .filter((slot) => slot === 42).length <= 1,
  );
});

test('choose: peers that leave are not chosen, nobody is when there is nobody', () => {
  const { round, rounds } = createRig();
  rounds(7);
  round.update(Uint16Array.of(5, 6), () => false, LONG_AFTER_MS);
  assert.deepEqual(rounds(1), [[5, 6]]);
  round.update(new Uint16Array(0), () => false, LONG_AFTER_MS);
  assert.deepEqual(rounds(1), [[]]);
});
