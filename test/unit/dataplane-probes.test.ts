// Probes between two data planes on a clock of the test's own: schedule, answers, round trips, and what is not counted.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createClock } from '../../agent/dataplane/clock.ts';
import { Forwarding } from '../../agent/dataplane/forwarding.ts';
import { PeerRecords } from '../../agent/dataplane/peer-records.ts';
import { NEVER, Probes } from '../../agent/dataplane/probes.ts';
import { COUNTER, DataplaneStats, GAUGE } from '../../agent/dataplane/stats.ts';
import { ipv4, mac } from '../../proto/address.ts';
import { decodeEthernet } from '../../proto/ethernet.ts';
import type { ForwardingTable } from '../../proto/forwarding-table.ts';
import { decodeProbe } from '../../proto/probe.ts';
import { decodeVxlan } from '../../proto/vxlan.ts';
import { PEER_MAC, PEER_SLOT, SELF_MAC, nonZero, testMemory, threeNodes } from '../support/dataplane-rig.ts';
import { randomInt, seededRandom, testSeed } from '../support/random.ts';

const seed = testSeed();
const ROW = 2 + PEER_SLOT;

interface Sent {
  readonly datagram: Uint8Array;
  readonly slot: number;
  readonly atMs: number;
}

function createRig(table: ForwardingTable = threeNodes()) {
  const memory = testMemory(1 << 20);
  const records = new PeerRecords(memory);
  records.write(table);
  let elapsed = 0;
  const clock = createClock(10_000, () => elapsed);
  const stats = new DataplaneStats();
  const sent: Sent[] = [];
  const probes = new Probes({
    memory,
    records,
    stats,
    clock,
    random: seededRandom(seed),
    send: (offset, length, slot) =>
      sent.push({ datagram: memory.bytes.slice(offset, offset + length), slot, atMs: elapsed }) > 0,
  });
  probes.update(new Forwarding(table));
  const area = memory.allocate(10_000);
  return {
    probes,
    stats,
    take: (): Sent[] => sent.splice(0),
    pass(ms: number): void {
      elapsed += ms;
      clock.read();
    },
    receive(datagram: Uint8Array, slot: number): boolean {
      memory.bytes.set(datagram, area);
      return probes.receive(area, datagram.length, slot);
    },
    received: (length: number): Uint8Array => memory.bytes.slice(area, area + length),
    gauges: () => nonZero(GAUGE, (column) => stats.get(ROW, column)),
    counters: () => nonZero(COUNTER, (column) => stats.get(ROW, column)),
  };
}

function runFor(rig: ReturnType<typeof createRig>, ms: number): Sent[] {
  for (let at = 0; at < ms; at++) {
    rig.pass(1);
    rig.probes.sendDue();
  }
  return rig.take();
}

/** Lets time pass until so many requests were sent. */
function runUntil(rig: ReturnType<typeof createRig>, count: number): Sent[] {
  const sent: Sent[] = [];
  for (let at = 0; at < 5000 && sent.length < count; at++) sent.push(...runFor(rig, 1));
  return sent;
}

/** The bytes with which the other node answers: the same rig code, seen from there. */
function answerOf(request: Uint8Array): Uint8Array {
  const other = createRig();
  assert.ok(other.receive(request, PEER_SLOT));
  const [answer] = other.take();
  assert.equal(answer?.datagram.length, request.length);
  return answer.datagram;
}

test('sendDue: one request a second, only to peers that answer, with the right headers', () => {
  const rig = createRig();
  const sent = runFor(rig, 10_000);
  assert.ok(sent.length >= 9 && sent.length <= 11, `${sent.length} in 10 s`);
  for (const { datagram, slot } of sent) {
    assert.equal(slot, PEER_SLOT);
    const vxlan = decodeVxlan(datagram);
    assert.ok(vxlan.ok);
    const ethernet = decodeEthernet(vxlan.value.frame);
    assert.ok(ethernet.ok);
    assert.deepEqual([ethernet.value.destination, ethernet.value.source], [PEER_MAC, SELF_MAC]);
    assert.equal(ethernet.value.etherType, 0x88b5);
    assert.ok(decodeProbe(ethernet.value.payload).ok);
  }
});

test('sendDue: the requests to 1,000 peers are spread over the second, each peer once', () => {
  const peers = Array.from({ length: 1000 }, (_, slot) => ({
    slot,
    port: 6784,
    probes: true,
    address: ipv4(0x0a00_0001 + slot),
    vtepMac: mac(slot),
  }));
  const rig = createRig({ ...threeNodes(), peers, owners: new Uint16Array(2 ** 14) });
  const sent = runFor(rig, 1000);
  assert.ok(sent.length > 990 && sent.length <= 1000, `${sent.length} in 1 s`);
  assert.equal(new Set(sent.map(({ slot }) => slot)).size, sent.length);
  for (let from = 0; from < 1000; from += 50) {
    const part = sent.filter(({ atMs }) => atMs >= from && atMs < from + 50).length;
    assert.ok(part <= 60, `${part} in 50 ms`);
  }
});

test('sendDue: after a pause of an hour there is no flood', () => {
  const rig = createRig();
  runFor(rig, 2000);
  rig.pass(3_600_000);
  assert.ok(runFor(rig, 3000).length <= 5);
});

test('update: without peers that answer, nothing is due', () => {
  const rig = createRig({ ...threeNodes(), peers: [], owners: new Uint16Array(2 ** 14) });
  assert.equal(rig.probes.nextDueMs(), NEVER);
  assert.deepEqual(runFor(rig, 3000), []);
});

test('receive: an answer sets the round trip and clears what was outstanding; a second one counts for nothing', () => {
  const rig = createRig();
  const [request] = runUntil(rig, 1);
  assert.ok(request !== undefined);
  const outstanding = rig.gauges()['first_unanswered_probe_ms'];
  assert.equal(outstanding, 10_000 + request.atMs);
  rig.pass(7);
  const answer = answerOf(request.datagram);
  assert.ok(rig.receive(answer, PEER_SLOT));
  assert.ok(rig.receive(answer, PEER_SLOT));
  const { probe_rtt_us: roundTrip, last_probe_answer_ms: answered, ...rest } = rig.gauges();
  assert.equal(answered, 10_000 + request.atMs + 7);
  assert.equal(roundTrip, 7000);
  assert.deepEqual(rest, {});
  assert.deepEqual(rig.counters(), { probes_sent: 1, probes_answered: 1 });
});

test('receive: a late answer counts, but the newer request stays outstanding', () => {
  const rig = createRig();
  const [first, second] = runUntil(rig, 2);
  assert.ok(first !== undefined && second !== undefined);
  rig.receive(answerOf(first.datagram), PEER_SLOT);
  assert.equal(rig.gauges()['first_unanswered_probe_ms'], 10_000 + second.atMs);
  rig.receive(answerOf(second.datagram), PEER_SLOT);
  assert.equal(rig.gauges()['first_unanswered_probe_ms'], undefined);
});

test('receive: a request is answered once per receipt, as long as it came, and stays as it came', () => {
  const rig = createRig();
  const [request] = runUntil(createRig(), 1);
  assert.ok(request !== undefined);
  const padded = new Uint8Array([...request.datagram, ...new Uint8Array(1000).fill(7)]);
  for (const datagram of [request.datagram, padded]) {
    assert.ok(rig.receive(datagram, PEER_SLOT));
    assert.deepEqual(
      rig.take().map((sent) => sent.datagram.length),
      [datagram.length],
    );
    assert.deepEqual(rig.received(datagram.length), datagram);
  }
});

test('receive: a request beyond any frame is not answered', () => {
  const rig = createRig();
  const [request] = runUntil(createRig(), 1);
  assert.ok(request !== undefined);
  assert.equal(rig.receive(new Uint8Array([...request.datagram, ...new Uint8Array(9216)]), PEER_SLOT), false);
  assert.deepEqual(rig.take(), []);
});

test('receive: an answer that nobody asked for counts for nothing', () => {
  const rig = createRig();
  const [request] = runUntil(rig, 1);
  assert.ok(request !== undefined);
  const answer = answerOf(request.datagram);
  answer[22 + 8]! ^= 1; // !: inside the probe; another sequence number
  assert.ok(rig.receive(answer, PEER_SLOT));
  assert.deepEqual(rig.counters(), { probes_sent: 1 });
});

test(`receive: what is no probe is refused, whatever the bytes (seed ${seed})`, () => {
  const random = seededRandom(seed);
  const rig = createRig();
  const [request] = runUntil(rig, 1);
  assert.ok(request !== undefined);
  for (let at = 22; at < 22 + 8; at++) {
    const broken: Uint8Array = request.datagram.slice();
    broken[at]! ^= 1 << (1 + randomInt(random, 7)); // !: inside; kind 1 ^ 1 would be no change of meaning
    if (at === 22 + 5) broken[at] = 3;
    assert.equal(rig.receive(broken, PEER_SLOT), false, `byte ${at}`);
  }
  for (let length = 0; length < 42; length++) {
    assert.equal(rig.receive(request.datagram.slice(0, length), PEER_SLOT), false);
  }
  assert.deepEqual(rig.take(), []);
});

test('update: a peer that is new in a slot starts without old gauges, one that stays keeps them', () => {
  const rig = createRig();
  rig.stats.set(ROW, GAUGE.probe_rtt_us, 5);
  rig.probes.update(new Forwarding(threeNodes()));
  assert.equal(rig.gauges()['probe_rtt_us'], 5);
  rig.probes.update(new Forwarding({ ...threeNodes(), peers: [], owners: new Uint16Array(2 ** 14) }));
  rig.probes.update(new Forwarding(threeNodes()));
  assert.deepEqual(rig.gauges(), {});
});
