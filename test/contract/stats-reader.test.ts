import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { highestSlotCounted, peerRow, readStats } from '../../agent/telemetry/stats-reader.ts';
import {
  NO_PEER_ROW,
  PEER_SLOTS,
  STATS_BYTES,
  counterColumn,
  dropColumn,
  gaugeColumn,
  processGaugeColumn,
  statsIndex,
} from '../../proto/dataplane-stats.ts';
import { statsFileOf } from '../../proto/worker-files.ts';

const directory = mkdtempSync(join(tmpdir(), `weft-test-${process.pid}-stats-`));
after(() => rmSync(directory, { recursive: true }));

/** Writes a worker's file: the layout's cells by row and column. */
function writeStats(runDirectory: string, worker: number, cells: readonly (readonly number[])[]): void {
  const values = new Float64Array(STATS_BYTES / 8);
  for (const [row = 0, column = 0, value = 0] of cells) values[statsIndex(row, column)] = value;
  writeFileSync(join(runDirectory, statsFileOf(worker)), new Uint8Array(values.buffer));
}

const folder = (name: string): string => {
  const path = join(directory, name);
  mkdirSync(path);
  return path;
};

test('readStats: the values where the layout has them; rows beyond the highest slot are not read', () => {
  const runDirectory = folder('one');
  writeStats(runDirectory, 0, [
    [NO_PEER_ROW, processGaugeColumn('process_id'), 4711],
    [peerRow(5), counterColumn('egress_bytes'), 2 ** 53],
    [peerRow(5), dropColumn('tun_write_failed'), 3],
    [peerRow(5), gaugeColumn('probe_rtt_us'), 81.5],
    [peerRow(6), counterColumn('egress_bytes'), 9],
  ]);
  const stats = readStats({ runDirectory, highestSlot: 5, workers: 1 });
  assert.equal(stats?.process('process_id'), 4711);
  assert.equal(stats?.counter(peerRow(5), 'egress_bytes'), 2 ** 53);
  assert.equal(stats?.drops(peerRow(5), 'tun_write_failed'), 3);
  assert.equal(stats?.gauge(peerRow(5), 'probe_rtt_us'), 81.5);
  assert.equal(stats?.counter(peerRow(6), 'egress_bytes'), 0);
});

test("readStats: workers' counters are added up, also of one that is no more; gauges are the newest", () => {
  const runDirectory = folder('three');
  writeStats(runDirectory, 0, [
    [NO_PEER_ROW, processGaugeColumn('process_id'), 4711],
    [NO_PEER_ROW, processGaugeColumn('generation'), 8],
    [NO_PEER_ROW, dropColumn('egress_truncated'), 1],
    [peerRow(0), counterColumn('egress_packets'), 10],
    [peerRow(1), counterColumn('egress_packets'), 5],
    [peerRow(0), gaugeColumn('last_ingress_ms'), 900],
    [peerRow(0), gaugeColumn('probe_rtt_us'), 81.5],
    [peerRow(0), gaugeColumn('first_unanswered_probe_ms'), 7],
  ]);
  writeStats(runDirectory, 1, [
    [NO_PEER_ROW, processGaugeColumn('process_id'), 4712],
    [NO_PEER_ROW, processGaugeColumn('generation'), 7],
    [NO_PEER_ROW, dropColumn('egress_truncated'), 2],
    [peerRow(0), counterColumn('egress_packets'), 100],
    [peerRow(0), gaugeColumn('last_ingress_ms'), 950],
  ]);
  writeStats(runDirectory, 2, [
    [NO_PEER_ROW, processGaugeColumn('generation'), 3],
    [peerRow(1), counterColumn('egress_packets'), 1000],
  ]);
  const stats = readStats({ runDirectory, highestSlot: 1, workers: 2 });
  assert.equal(stats?.counter(peerRow(0), 'egress_packets'), 110);
  assert.equal(stats?.counter(peerRow(1), 'egress_packets'), 1005);
  assert.equal(stats?.drops(NO_PEER_ROW, 'egress_truncated'), 3);
  assert.deepEqual(stats?.byWorker('egress_packets'), [15, 100, 1000]);
  assert.equal(stats?.gauge(peerRow(0), 'last_ingress_ms'), 950);
  assert.equal(stats?.gauge(peerRow(0), 'probe_rtt_us'), 81.5);
  assert.equal(stats?.gauge(peerRow(0), 'first_unanswered_probe_ms'), 7);
  assert.equal(stats?.process('process_id'), 4711);
  assert.equal(stats?.process('generation'), 7, 'the table that all who work use');
});

test('highestSlotCounted: the highest row of any worker that has a value, 0 where there is none', () => {
  assert.equal(highestSlotCounted(join(directory, 'nobody')), 0);
  const runDirectory = folder('left');
  writeStats(runDirectory, 0, [[NO_PEER_ROW, processGaugeColumn('process_id'), 4711]]);
  assert.equal(highestSlotCounted(runDirectory), 0);
  writeStats(runDirectory, 0, [[peerRow(7), counterColumn('egress_packets'), 1]]);
  writeStats(runDirectory, 1, [[peerRow(9), gaugeColumn('last_request_ms'), 1]]);
  assert.equal(highestSlotCounted(runDirectory), 9);
  writeStats(runDirectory, 1, [[peerRow(PEER_SLOTS - 1), counterColumn('egress_packets'), 1]]);
  assert.equal(highestSlotCounted(runDirectory), PEER_SLOTS - 1);
});

test('readStats: a missing file is undefined, a short one is zeros', () => {
  assert.equal(readStats({ runDirectory: join(directory, 'none'), highestSlot: 0, workers: 1 }), undefined);
  const runDirectory = folder('short');
  writeFileSync(join(runDirectory, statsFileOf(0)), new Uint8Array(statsIndex(1, 0) * 8 - 3));
  const stats = readStats({ runDirectory, highestSlot: 100, workers: 1 });
  assert.equal(stats?.counter(peerRow(100), 'egress_bytes'), 0);
});
