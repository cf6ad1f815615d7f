// The share of probes that were lost, by the counters of a statistics file that the test fills in.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { createProbeLoss } from '../../agent/control/status/probe-loss.ts';
import { peerRow, statsSnapshot } from '../../agent/telemetry/stats-reader.ts';
import { counterColumn, gaugeColumn, statsIndex } from '../../proto/dataplane-stats.ts';

const SLOT = 3;
const peer = { name: 'node-b', slot: SLOT, probes: true };

/** A peer that is asked each second; `answers` says which second's request is answered. */
function ask(seconds: number, answers: (second: number) => boolean): (number | undefined)[] {
  const loss = createProbeLoss();
  const values = new Float64Array(statsIndex(peerRow(SLOT) + 1, 0));
  const cell = (column: number): number => statsIndex(peerRow(SLOT), column);
  const add = (column: number): void => void (values[cell(column)] = (values[cell(column)] ?? 0) + 1);
  return Array.from({ length: seconds }, (_, second) => {
    const nowMs = 1000 + second * 1000;
    add(counterColumn('probes_sent'));
    const unanswered = cell(gaugeColumn('first_unanswered_probe_ms'));
    if (answers(second)) {
      add(counterColumn('probes_answered'));
      values[unanswered] = 0;
    } else if (values[unanswered] === 0) {
      values[unanswered] = nowMs;
    }
    loss.observe([peer], statsSnapshot([values]), nowMs + 500);
    return loss.of('node-b');
  });
}

describe('createProbeLoss', () => {
  it('says nothing of the first probes, then 0 of a path that loses none', () => {
    const told = ask(30, () => true);
    assert.deepEqual(told.slice(0, 20), Array(20).fill(undefined));
    assert.deepEqual(told.slice(20), Array(10).fill(0));
  });
  it('is 1 of a path that answers nothing', () => {
    const told = ask(70, () => false);
    assert.ok((told.at(-1) ?? 0) > 0.95, String(told.at(-1)));
  });
  it('does not count those of before the first answer: the peer did not know this node yet', () => {
    const told = ask(40, (second) => second >= 3);
    assert.equal(told[22], undefined);
    assert.deepEqual(new Set(told.slice(30)), new Set([0]));
  });
  it('does not count a request that may be answered yet as lost', () => {
    assert.equal(ask(30, (second) => second < 29).at(-1), 0);
  });
  it('is the share of those that were lost, within the last minute', () => {
    const told = ask(70, (second) => second % 4 !== 0);
    assert.ok(Math.abs((told.at(-1) ?? 0) - 0.25) < 0.03, String(told.at(-1)));
    assert.equal(
      ask(140, (second) => second > 70 || second % 2 === 0).at(-1),
      0,
      'what was before is forgotten',
    );
  });
  it('knows nothing of a peer that answers no probes, is another in the slot, or is gone', () => {
    const loss = createProbeLoss();
    const values = new Float64Array(statsIndex(peerRow(SLOT) + 1, 0));
    const observe = (peers: readonly (typeof peer)[]): void => {
      loss.observe(peers, statsSnapshot([values]), 1000);
      const sent = statsIndex(peerRow(SLOT), counterColumn('probes_sent'));
      values[sent] = (values[sent] ?? 0) + 20;
    };
    observe([peer]);
    observe([peer]);
    assert.equal(loss.of('node-b'), 1);
    observe([{ ...peer, slot: 2 }]);
    assert.equal(loss.of('node-b'), undefined);
    observe([{ ...peer, probes: false }]);
    assert.equal(loss.of('node-b'), undefined);
    observe([]);
    assert.equal(loss.of('node-b'), undefined);
  });
});
