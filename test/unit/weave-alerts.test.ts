// Weave Net's own alerts (weave-alerts.ts) with what Weft's agents show: they fire when they should, and not on a cluster that is well.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { prometheusMissing, promtool } from '../support/prometheus.ts';
import { type Series, on } from './alert-series.ts';
import { WEAVE_ALERTS } from './weave-alerts.ts';

const skip = prometheusMissing();
const NODES = ['node-1', 'node-2', 'node-3'];
const CONNECTION_STATES = ['established', 'pending', 'retrying', 'failed', 'connecting'];

const connections = (node: string, state: string): string =>
  on(node, 'weave_connections', { state, type: 'vxlan', encryption: '' });

const counts = (node: string): readonly (readonly [string, string])[] =>
  CONNECTION_STATES.map((state) => [connections(node, state), state === 'established' ? '2x30' : '0x30']);

/** What agents show while all is well. There is no weave_flows. */
const WELL: Series = Object.fromEntries([
  ...NODES.flatMap(counts),
  ...[
    'weave_connection_terminations_total',
    'weave_ipam_unreachable_percentage',
    'weave_ipam_pending_allocates',
    'weave_ipam_pending_claims',
  ].flatMap((name) => NODES.map((node) => [on(node, name), '0x30'])),
]);

/** Those that fire with 20 minutes of these in place of the same above. */
const FAULTS: readonly {
  readonly what: string;
  readonly series: Series;
  readonly fires: readonly string[];
}[] = [
  { what: 'all is well', series: {}, fires: [] },
  {
    what: 'node-3 is down and holds a little of the range',
    series: {
      ...Object.fromEntries(
        ['node-1', 'node-2'].flatMap((node) => [
          [connections(node, 'established'), '1x30'],
          [connections(node, 'failed'), '1x30'],
          [on(node, 'weave_ipam_unreachable_percentage'), '0.01x30'],
          [on(node, 'weave_connection_terminations_total'), '0 1x30'],
        ]),
      ),
      ...Object.fromEntries(
        Object.keys(WELL).flatMap((name) => (name.includes('node-3') ? [[name, 'stale']] : [])),
      ),
    },
    fires: ['WeaveNetConnectionsFailed'],
  },
  {
    what: 'node-1 alone does not reach node-3, which holds much',
    series: {
      [connections('node-1', 'failed')]: '1x30',
      [on('node-1', 'weave_ipam_unreachable_percentage')]: '30x30',
    },
    fires: ['WeaveNetIPAMSplitBrain', 'WeaveNetIPAMUnreachable', 'WeaveNetConnectionsFailed'],
  },
  {
    what: 'the range is exhausted',
    series: {
      [on('node-1', 'weave_ipam_pending_claims')]: '1x30',
      [on('node-1', 'weave_ipam_pending_allocates')]: '4x30',
    },
    fires: ['WeaveNetIPAMPendingAllocates', 'WeaveNetIPAMPendingClaims'],
  },
  {
    what: 'peers come and go',
    series: { [on('node-1', 'weave_connection_terminations_total')]: '0+12x30' },
    fires: ['WeaveNetHighConnectionTerminationRate'],
  },
  {
    what: 'a peer is never heard',
    series: { [connections('node-1', 'pending')]: '1x30' },
    fires: ['WeaveNetConnectionsPending'],
  },
];

test("Weave's alerts fire for the faults that they are for, and no others", { skip }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'weft-weave-alerts-'));
  try {
    const rules = join(folder, 'rules.json'); // JSON is YAML
    const group = {
      name: 'weave-net',
      rules: WEAVE_ALERTS.map(({ name, expression, minutes }) => ({
        alert: name,
        expr: `count(${expression}) > 0`, // without the labels of a series
        for: `${minutes}m`,
      })),
    };
    writeFileSync(rules, JSON.stringify({ groups: [group] }));
    const tests = join(folder, 'tests.json');
    writeFileSync(
      tests,
      JSON.stringify({
        rule_files: [rules],
        evaluation_interval: '1m',
        tests: FAULTS.map(({ series, fires }) => ({
          interval: '1m',
          input_series: Object.entries({ ...WELL, ...series }).map(([each, values]) => ({
            series: each,
            values,
          })),
          alert_rule_test: WEAVE_ALERTS.map(({ name }) => ({
            alertname: name,
            eval_time: '20m',
            exp_alerts: fires.includes(name) ? [{}] : [],
          })),
        })),
      }),
    );
    const { status, output } = promtool(['test', 'rules', tests]);
    assert.equal(status, 0, output);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
