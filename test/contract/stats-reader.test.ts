import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { peerRow, readStats } from '../../agent/telemetry/stats-reader.ts';
import {
  NO_PEER_ROW,
  ROW_COLUMNS,
  STATS_BYTES,
  counterColumn,
  dropColumn,
  gaugeColumn,
  processGaugeColumn,
  statsIndex,
} from '../../proto/dataplane-stats.ts';

const directory = mkdtempSync(join(tmpdir(), `weft-test-${process.pid}-stats-`));
after(() => rmSync(directory, { recursive: true }));

test('readStats: the values where the layout has them; rows beyond the highest slot are not read', () => {
  const path = join(directory, 'dataplane.stats');
  const values = new Float64Array(STATS_BYTES / 8);
  values[statsIndex(NO_PEER_ROW, processGaugeColumn('process_id'))] = 4711;
  values[statsIndex(peerRow(5), counterColumn('egress_bytes'))] = 2 ** 53;
  values[statsIndex(peerRow(5), dropColumn('tun_write_failed'))] = 3;
  values[statsIndex(peerRow(5), gaugeColumn('probe_rtt_us'))] = 81.5;
  values[statsIndex(peerRow(6), counterColumn('egress_bytes'))] = 9;
  writeFileSync(path, new Uint8Array(values.buffer));
  const stats = readStats(path, 5);
  assert.equal(stats?.process('process_id'), 4711);
  assert.equal(stats?.counter(peerRow(5), 'egress_bytes'), 2 ** 53);
  assert.equal(stats?.drops(peerRow(5), 'tun_write_failed'), 3);
  assert.equal(stats?.gauge(peerRow(5), 'probe_rtt_us'), 81.5);
  assert.equal(stats?.counter(peerRow(6), 'egress_bytes'), 0);
});

test('readStats: a missing file is undefined, a short one is zeros', () => {
  assert.equal(readStats(join(directory, 'none'), 0), undefined);
  const path = join(directory, 'short');
  writeFileSync(path, new Uint8Array(ROW_COLUMNS * 8 - 3));
  assert.equal(readStats(path, 100)?.counter(peerRow(100), 'egress_bytes'), 0);
});
