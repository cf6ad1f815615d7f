// How long the loop does not look for packets, as the statistics tell it.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { LoopPace } from '../../agent/dataplane/loop-pace.ts';
import { DataplaneStats, PROCESS_GAUGE } from '../../agent/dataplane/stats.ts';
import { statsSnapshot } from '../../agent/telemetry/stats-reader.ts';
import { PROCESS_GAUGES, ROW_COLUMNS, processGaugeColumn } from '../../proto/dataplane-stats.ts';

interface Rig {
  readonly pace: LoopPace;
  readonly passes: () => { readonly count: number; readonly sum: number };
  /** Of the minute that is under way, and of the one before, in milliseconds. */
  readonly longest: () => readonly [number, number];
}

function createRig(): Rig {
  const stats = new DataplaneStats();
  const gauge = (name: 'longest_pause_us' | 'longest_pause_before_us'): number =>
    stats.get(0, PROCESS_GAUGE[name]) / 1000;
  return {
    pace: new LoopPace(stats),
    passes() {
      const { counts, sum } = statsSnapshot([stats.cells]).histogram('pass_us');
      return { count: counts.reduce((total, count) => total + count, 0), sum };
    },
    longest: () => [gauge('longest_pause_us'), gauge('longest_pause_before_us')],
  };
}

test('LoopPace counts passes with packets, and keeps the longest pause of any', () => {
  const { pace, passes, longest } = createRig();
  pace.forget(0);
  pace.began(100);
  pace.ended(102, true);
  pace.began(110);
  pace.ended(115, false);
  assert.deepEqual(passes(), { count: 1, sum: 2000 });
  assert.deepEqual(longest(), [5, 0]);
});

test('LoopPace counts a sleep that lasted too long, not one that packets ended', () => {
  const { pace, longest } = createRig();
  pace.woke(-3);
  assert.deepEqual(longest(), [0, 0]);
  pace.woke(40);
  pace.woke(7);
  assert.deepEqual(longest(), [40, 0]);
});

test('LoopPace forgets a pause after a minute or two', () => {
  const { pace, longest } = createRig();
  pace.forget(0);
  pace.woke(40);
  pace.forget(59_999);
  assert.deepEqual(longest(), [40, 0]);
  pace.forget(60_000);
  pace.woke(3);
  assert.deepEqual(longest(), [3, 40]);
  pace.forget(120_000);
  assert.deepEqual(longest(), [0, 3]);
});

test("the process's gauges fit into a row", () => {
  for (const gauge of PROCESS_GAUGES) assert.ok(processGaugeColumn(gauge) < ROW_COLUMNS, gauge);
});
