// Probes between two data planes on a clock of the test's own: schedule, answers, round trips, what is not counted, and the path's MTU.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createClock } from '../../agent/dataplane/clock.ts';
import { Forwarding } from '../../agent/dataplane/forwarding.ts';
import { PeerRecords } from '../../agent/dataplane/peer-records.ts';
import { NEVER, PROBE_DATAGRAM_BYTES, Probes } from '../../agent/dataplane/probes.ts';
import { COUNTER, DataplaneStats, GAUGE } from '../../agent/dataplane/stats.ts';
import { ipv4, mac } from '../../proto/address.ts';
import { decodeEthernet } from '../../proto/ethernet.ts';
import type { ForwardingTable } from '../../proto/forwarding-table.ts';
import { decodeProbe } from '../../proto/probe.ts';
import { decodeVxlan } from '../../proto/vxlan.ts';
import {
  OTHER_PEER_SLOT,
  PEER_MAC,
  PEER_SLOT,
  SELF_MAC,
  nonZero,
  testMemory,
  threeNodes,
} from '../support/dataplane-rig.ts';
import { randomInt, seededRandom, testSeed } from '../support/random.ts';

const seed = testSeed();
const ROW = 2 + PEER_SLOT;

interface Sent {
  readonly datagram: Uint8Array;
  readonly slot: number;
  /** By sendWhole: never fragmented. */
  readonly isWhole: boolean;
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
  const probes: Probes = new Probes({
    memory,
    records,
    stats,
    clock,
    random: seededRandom(seed),
    send: (offset, length, slot) => note(offset, length, slot, false),
    sendWhole: (offset, length, slot) => note(offset, length, slot, true),
  });
  function note(offset: number, length: number, slot: number, isWhole: boolean): boolean {
    const datagram = memory.bytes.slice(offset, offset + length);
    return sent.push({ datagram, slot, isWhole, atMs: elapsed }) > 0;
  }
  probes.update(new Forwarding(table));
  const area = memory.allocate(10_000);
  return {
    probes,
    records,
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
  assert.equal(answer?.datagram.length, PROBE_DATAGRAM_BYTES);
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
  const sent = runFor(rig, 2000).slice(0, 1000);
  const beginMs = sent[0]?.atMs ?? 0;
  const tookMs = (sent.at(-1)?.atMs ?? 0) - beginMs;
  assert.ok(beginMs <= 100 && tookMs > 980 && tookMs <= 1000, `from ${beginMs} for ${tookMs} ms`);
  assert.equal(new Set(sent.map(({ slot }) => slot)).size, 1000);
  for (let from = beginMs; from < beginMs + 1000; from += 50) {
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

test('receive: a request is answered once per receipt, shortly and with its length, and stays as it came', () => {
  const rig = createRig();
  const [request] = runUntil(createRig(), 1);
  assert.ok(request !== undefined);
  for (const padding of [0, 1, 1000, 8930, 65_465]) {
    const datagram: Uint8Array = new Uint8Array([...request.datagram, ...new Uint8Array(padding).fill(7)]);
    assert.ok(rig.receive(datagram, PEER_SLOT));
    const [answer, ...more] = rig.take();
    assert.deepEqual([answer?.datagram.length, answer?.isWhole, more], [PROBE_DATAGRAM_BYTES, false, []]);
    const probe = decodeProbe((answer?.datagram ?? new Uint8Array()).subarray(22));
    assert.equal(probe.ok && probe.value.requestBytes, padding === 0 ? 0 : 20 + padding);
    assert.deepEqual(rig.received(datagram.length), datagram);
  }
});

/** Lets a second pass, the peer answering what it gets: datagrams of up to `limit` inner bytes. Returns what was sent whole. */
function runSecond(
  rig: ReturnType<typeof createRig>,
  limit: number,
  answer: (request: Uint8Array) => Uint8Array = answerOf,
): readonly number[] {
  const sizes: number[] = [];
  for (let at = 0; at < 1000; at++) {
    rig.pass(1);
    rig.probes.sendDue();
    for (const { datagram, slot, isWhole } of rig.take()) {
      const bytes: number = datagram.length - 22;
      if (isWhole) sizes.push(bytes);
      if (bytes <= limit) rig.receive(answer(datagram), slot);
    }
  }
  return sizes;
}

test("pathMtu: the path's MTU is looked for with whole probes, and put where egress and control read it", () => {
  const rig = createRig();
  rig.probes.pathMtu.deviceMtu(1450, 10_000);
  assert.deepEqual([rig.records.pathMtuOf(PEER_SLOT), rig.gauges()['path_mtu']], [1450, 1450]);
  const quiet = Array.from({ length: 10 }, () => runSecond(rig, 1450)).flat();
  assert.ok(quiet.length >= 4 && quiet.length <= 6, `${quiet.length} in 10 s`);
  assert.ok(quiet.every((bytes) => bytes === 1450));
  for (let second = 0; second < 5; second++) runSecond(rig, 1350);
  assert.deepEqual([rig.records.pathMtuOf(PEER_SLOT), rig.gauges()['path_mtu']], [1350, 1350]);
  assert.equal(rig.records.pathMtuOf(OTHER_PEER_SLOT), 1450, 'a peer that answers no probes: as the device');
});

test('pathMtu: an answer as long as its request, as earlier releases give it, counts the same', () => {
  const rig = createRig();
  rig.probes.pathMtu.deviceMtu(1450, 10_000);
  const long = (request: Uint8Array): Uint8Array => {
    const answer = new Uint8Array(request.length);
    answer.set(answerOf(request));
    answer.fill(0, 28, 30);
    return answer;
  };
  for (let second = 0; second < 6; second++) runSecond(rig, 1350, long);
  assert.equal(rig.gauges()['path_mtu'], 1350);
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
  rig.probes.pathMtu.deviceMtu(1450, 10_000);
  rig.stats.set(ROW, GAUGE.probe_rtt_us, 5);
  rig.probes.update(new Forwarding(threeNodes()));
  assert.equal(rig.gauges()['probe_rtt_us'], 5);
  rig.probes.update(new Forwarding({ ...threeNodes(), peers: [], owners: new Uint16Array(2 ** 14) }));
  rig.probes.update(new Forwarding(threeNodes()));
  assert.deepEqual(rig.gauges(), { path_mtu: 1450 });
});

test('update: a process that waits for its turn leaves the gauges alone, and goes on with them', () => {
  const nobody = { ...threeNodes(), peers: [], owners: new Uint16Array(2 ** 14) };
  const rig = createRig(nobody);
  rig.stats.set(ROW, GAUGE.probe_rtt_us, 5);
  rig.stats.set(ROW, GAUGE.path_mtu, 1350);
  rig.probes.update(new Forwarding(threeNodes()));
  assert.deepEqual(rig.gauges(), { probe_rtt_us: 5, path_mtu: 1350 });
  rig.probes.pathMtu.deviceMtu(1450, 10_000);
  assert.deepEqual([rig.gauges()['path_mtu'], rig.records.pathMtuOf(PEER_SLOT)], [1350, 1350]);
});
