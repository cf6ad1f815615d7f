// When refused packets are worth a line: not a single one, not what was before, each reason and peer once, and its end.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { type DropLog, type DropSources, createDropLog } from '../../agent/control/status/drop-log.ts';
import { fencedBlocks, collisions, missingWorkers, silentPeers } from '../../agent/control/node-troubles.ts';
import { REFUSAL_WORDS } from '../../agent/telemetry/refusal-words.ts';
import type { Connection } from '../../agent/telemetry/stats-reader.ts';
import { NO_PEER_ROW } from '../../proto/dataplane-stats.ts';
import { parseCidr } from '../../proto/address-text.ts';
import { REFUSAL_REASONS } from '../../proto/drop-reason.ts';

const LOOK_MS = 6000;
const PEER_ROW = 100;

interface Rig {
  readonly log: DropLog;
  /** By row and reason. */
  readonly counts: Map<string, number>;
  readonly firewall: Map<'pod_spoofed' | 'unknown_sender', number>;
  readonly told: string[];
  /** Of those that were told as over. */
  readonly refused: number[];
  readonly rows: { peer: string; row: number }[];
  /** One look later; what came meanwhile. */
  readonly look: (...counted: readonly (readonly [row: number, reason: string])[]) => void;
  readonly now: { ms: number };
}

function stand(): Rig {
  const told: string[] = [];
  const refused: number[] = [];
  const tell = (event: string, message: string): void => void told.push(`${event}: ${message}`);
  const log = createDropLog({
    warn: tell,
    info(event, message, fields) {
      tell(event, message);
      refused.push(Number(fields?.['count']));
    },
  });
  const counts = new Map<string, number>();
  const firewall: Rig['firewall'] = new Map();
  const rows = [{ peer: 'b', row: PEER_ROW }];
  const sources: DropSources = {
    stats: { drops: (row, reason) => counts.get(`${row} ${reason}`) ?? 0 },
    rows,
    firewall,
  };
  const now = { ms: 0 };
  const look: Rig['look'] = (...counted) => {
    now.ms += LOOK_MS;
    for (const [row, reason] of counted) {
      counts.set(`${row} ${reason}`, (counts.get(`${row} ${reason}`) ?? 0) + 7);
    }
    log.look(() => sources, now.ms);
  };
  return { log, counts, firewall, told, refused, rows, look, now };
}

test('DropLog: what goes on is told once, with reason, peer and remedy, and so is its end', () => {
  const { look, told } = stand();
  look([PEER_ROW, 'vxlan_vni']);
  look([PEER_ROW, 'vxlan_vni']);
  look([PEER_ROW, 'vxlan_vni']);
  assert.deepEqual(told, [], 'the first look is no growth');
  for (let count = 0; count < 50; count++) look([PEER_ROW, 'vxlan_vni']);
  assert.equal(told.length, 1);
  assert.match(
    told[0] ?? '',
    /^packet_dropped: Packets to or from "b" are refused \(vxlan_vni\): another network's VNI\. What to do: give all nodes one `WEFT_VNI`$/,
  );
  for (let count = 0; count < 99; count++) look();
  assert.equal(told.length, 1);
  for (let count = 0; count < 10; count++) look();
  assert.match(told[1] ?? '', /^packet_drops_ended: No packet to or from "b" has been refused \(vxlan_vni\)/);
  for (let count = 0; count < 3; count++) look([PEER_ROW, 'vxlan_vni']);
  assert.equal(told.length, 3, 'and begins anew');
});

test('DropLog: single packets now and then, and what networks meet all the time, are left to the counters', () => {
  const { look, told } = stand();
  look();
  for (let count = 0; count < 60; count++) {
    look(...(count % 4 === 0 ? [[PEER_ROW, 'truncated'] as const] : []), [NO_PEER_ROW, 'egress_no_owner']);
  }
  assert.deepEqual(told, []);
});

test('DropLog: looked at more often, it still takes its time; the firewall counts as well', () => {
  const { log, look, told, firewall, now } = stand();
  look();
  for (let count = 1; count < 10; count++) {
    firewall.set('pod_spoofed', count);
    now.ms += 1;
    log.look(() => assert.fail('not yet'), now.ms);
  }
  for (let count = 10; count < 13; count++) {
    firewall.set('pod_spoofed', count);
    now.ms += LOOK_MS;
    look();
  }
  assert.equal(told.length, 1);
  assert.match(told[0] ?? '', /^packet_dropped: Packets are refused \(pod_spoofed\)/);
});

test('DropLog: a node that comes back under its name is a new one', () => {
  const { counts, look, told, rows } = stand();
  look();
  for (let count = 0; count < 50; count++) look([PEER_ROW, 'vxlan_vni']);
  const [peer] = rows.splice(0, 1, { peer: 'c', row: PEER_ROW + 1 });
  look();
  counts.clear();
  rows.push(peer ?? assert.fail());
  for (let count = 0; count < 120; count++) look();
  assert.equal(told.length, 1, 'nothing has ended');
  for (let count = 0; count < 3; count++) look([PEER_ROW, 'vxlan_vni']);
  assert.match(told[1] ?? '', /^packet_dropped: Packets to or from "b" are refused/);
});

test('DropLog: counters of nftables that begin anew, or cannot be read for a while, are neither an end nor a beginning', () => {
  const { look, told, refused, firewall } = stand();
  look();
  const grow = (from: number): void => {
    for (let count = from; count < from + 5; count++) {
      firewall.set('pod_spoofed', count);
      look();
    }
  };
  grow(1000); // told at the third
  firewall.clear();
  for (let count = 0; count < 120; count++) look();
  grow(1005);
  grow(1); // the tables were deleted
  assert.equal(told.length, 1);
  firewall.set('pod_spoofed', 0); // once more
  for (let count = 0; count < 120; count++) look();
  assert.match(told[1] ?? '', /^packet_drops_ended: No packet has been refused \(pod_spoofed\)/);
  assert.deepEqual(refused, [2 + 5 + 5]);
});

test('REFUSAL_WORDS: every reason, with something to do', () => {
  assert.deepEqual(Object.keys(REFUSAL_WORDS), [...REFUSAL_REASONS]);
  for (const { meaning, remedy } of Object.values(REFUSAL_WORDS)) assert.ok(meaning !== '' && remedy !== '');
});

const connection = (name: string, state: Connection['state'], sinceMs: number): Connection => ({
  name,
  slot: 1,
  state,
  sinceMs,
  roundTripSeconds: undefined,
  pathMtu: undefined,
  lastHeardMs: 0,
});
const AT = { nowMs: 100_000, random: 0, port: 6784 };

test('silentPeers: after a minute, one sentence for all, which does not count', () => {
  const peers = ['a', 'b', 'c', 'd', 'e'].map((name) => connection(name, 'failed', 40_001));
  assert.equal(silentPeers(peers, AT), undefined);
  const later = { ...AT, nowMs: 100_001 };
  assert.match(silentPeers(peers, later)?.message ?? '', /^No other node answers; .*UDP 6784/);
  const some = [...peers, connection('f', 'established', 0)];
  assert.match(silentPeers(some, later)?.message ?? '', /^Nodes do not answer: "a", "b", "c" and others; /);
  assert.equal(
    silentPeers(some, later)?.message,
    silentPeers(some.slice(1), later)?.message.replace('"b", "c", "d"', '"a", "b", "c"'),
  );
  assert.equal(silentPeers(peers, { ...later, random: 0.9 }), undefined, 'agents differ in when they tell');
});

test('silentPeers: a node of many that goes is not worth an Event of each other node', () => {
  const peers = Array.from({ length: 99 }, (_, at) => connection(`n${at}`, 'established', 0));
  const gone = (count: number): Connection[] =>
    Array.from({ length: count }, (_, at) => connection(`gone${at}`, 'pending', 0));
  assert.equal(silentPeers([...peers, ...gone(1)], AT), undefined);
  assert.equal(silentPeers([...peers, ...gone(11)], AT)?.code, 'PEERS_UNREACHABLE');
  assert.equal(silentPeers([], AT), undefined);
});

test('fencedBlocks and collisions: what concerns this node alone, with what to do', () => {
  const cidr = parseCidr('10.32.0.64/26');
  const blocks = fencedBlocks([
    { cidr, state: 'fenced', used: 2 },
    { cidr, state: 'fenced', used: 0 },
    { cidr, state: 'held', used: 2 },
  ]);
  assert.deepEqual(
    blocks.map(({ code }) => code),
    ['BLOCK_FENCED'],
  );
  assert.match(blocks[0]?.message ?? '', /^Block 10\.32\.0\.64-26 .*: delete those pods/);
  const problems = [
    { kind: 'same-address', name: 'b', text: 'peer "b" has the underlay address of "me"' },
    { kind: 'same-mac', name: 'c', text: 'peer "c" has the VTEP MAC of "b"' },
    { kind: 'unusable-block', name: 'x', text: 'block "x" of "me"' },
  ] as const;
  const found = collisions({ problems }, 'me');
  assert.deepEqual(
    found.map(({ code, message }) => [code, message.includes('of "me"; it gets no packets: give')]),
    [['PEER_COLLISION', true]],
  );
});

test('missingWorkers: none of the data plane is another trouble than one of several', () => {
  const codeOf = (...pids: readonly number[]): string | undefined =>
    missingWorkers([
      { role: 'control', pid: 0, restarts: 0 },
      {
        role: 'dataplane',
        pid: pids.includes(0) ? 0 : (pids[0] ?? 0),
        restarts: 0,
        ...(pids.length > 1 && { pids }),
      },
    ])?.code;
  assert.deepEqual([codeOf(7), codeOf(7, 8)], [undefined, undefined]);
  assert.deepEqual([codeOf(0), codeOf(0, 0)], ['DATAPLANE_DOWN', 'DATAPLANE_DOWN']);
  assert.deepEqual([codeOf(7, 0), codeOf(0, 8)], ['WORKER_MISSING', 'WORKER_MISSING']);
  assert.equal(missingWorkers([]), undefined, 'the keeper has not said');
});
