// Every alert fires when it should, not a minute earlier, with words that say where; what comes near leaves it silent, and so does the
// ordinary life of a cluster. All of it is decided by promtool.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { type Alert, runbookUrl } from '../../manifests/monitoring/alert.ts';
import { ALERTS, groupsOf } from '../../manifests/monitoring/alert-groups.ts';
import { DROP_CLASSES } from '../../manifests/monitoring/alerts-packets.ts';
import { REFUSAL_REASONS } from '../../proto/drop-reason.ts';
import { prometheusMissing, promtool } from '../support/prometheus.ts';
import { AGENT_FIRING, AGENT_QUIET } from './alert-cases-agent.ts';
import { CONTROL_FIRING, CONTROL_QUIET } from './alert-cases-control.ts';
import { PACKET_FIRING, PACKET_QUIET } from './alert-cases-packets.ts';
import { SCENARIOS } from './alert-scenarios.ts';
import type { FiringCase, QuietCase, Series } from './alert-series.ts';
import { manifestPath } from './manifests-documents.ts';

const FIRING: readonly FiringCase[] = [...AGENT_FIRING, ...PACKET_FIRING, ...CONTROL_FIRING];
const QUIET: readonly QuietCase[] = [...AGENT_QUIET, ...PACKET_QUIET, ...CONTROL_QUIET];
const RULES = manifestPath('monitoring/rules.yaml');
const skip = prometheusMissing();

const folder = mkdtempSync(join(tmpdir(), 'weft-alerts-'));
after(() => rmSync(folder, { recursive: true }));

const BY_NAME = new Map(ALERTS.map((alert) => [alert.name, alert]));

function alertOf(name: string): Alert {
  const alert = BY_NAME.get(name);
  assert.ok(alert !== undefined, `a case is about "${name}", which is no alert`);
  return alert;
}

interface Expectation {
  readonly eval_time: string;
  readonly alertname: string;
  readonly exp_alerts: readonly object[];
}

const silent = (alertname: string, minute: number): Expectation => ({
  eval_time: `${minute}m`,
  alertname,
  exp_alerts: [],
});

interface PromtoolTest {
  readonly series: Series;
  readonly expected: readonly Expectation[];
}

function write(name: string, content: object): string {
  const file = join(folder, `${name}.json`); // JSON is YAML
  writeFileSync(file, JSON.stringify(content));
  return file;
}

const testFile = (
  name: string,
  { rules, tests }: { rules: string; tests: readonly PromtoolTest[] },
): string =>
  write(name, {
    rule_files: [rules],
    evaluation_interval: '1m',
    tests: tests.map(({ series, expected }) => ({
      interval: '1m',
      input_series: Object.entries(series).map(([each, values]) => ({ series: each, values })),
      alert_rule_test: expected,
    })),
  });

/** A rules file of this alert alone: promtool evaluates every rule for every test. */
const rulesOf = (alert: Alert): string => write(`rules-${alert.name}`, groupsOf([['weft', [alert]]]));

/** What promtool says of tests that fail. */
function failures(files: readonly string[]): string {
  const { status, output } = promtool(['test', 'rules', ...files]);
  return status === 0 ? '' : output.slice(output.indexOf('  FAILED')); // after the list of files
}

test('promtool check rules finds nothing to say', { skip }, () => {
  const { status, output } = promtool(['check', 'rules', RULES]);
  assert.equal(status, 0, output);
  assert.match(output, new RegExp(`SUCCESS: ${ALERTS.length} rules found`));
});

test(
  'each alert fires when its time has come, not a minute earlier, and says where and how much',
  { skip },
  () => {
    const files = FIRING.map(({ alert, series, from, labels, summary }, index) => {
      const { minutes, severity, description } = alertOf(alert);
      const annotations = { summary, description, runbook_url: runbookUrl(alert) };
      const fires = { exp_labels: { ...labels, severity }, exp_annotations: annotations };
      const at = from + minutes;
      const expected = [
        silent(alert, at - 1),
        { eval_time: `${at}m`, alertname: alert, exp_alerts: [fires] },
      ];
      return testFile(`firing-${index}`, { rules: rulesOf(alertOf(alert)), tests: [{ series, expected }] });
    });
    assert.equal(failures(files), '');
  },
);

test('what comes near an alert leaves it silent', { skip }, () => {
  const files = QUIET.map(({ alert, series }, index) => {
    const end = Math.max(120, 3 * alertOf(alert).minutes);
    const step = Math.ceil(end / 120);
    const minutes = Array.from({ length: Math.floor(end / step) }, (_, at) => (at + 1) * step);
    const expected = minutes.map((minute) => silent(alert, minute));
    return testFile(`quiet-${index}`, { rules: rulesOf(alertOf(alert)), tests: [{ series, expected }] });
  });
  assert.equal(failures(files), '');
});

for (const { name, series, minutes } of SCENARIOS) {
  test(`no alert at all: ${name}`, { skip }, () => {
    const expected = ALERTS.flatMap((alert) =>
      Array.from({ length: minutes }, (_, minute) => silent(alert.name, minute)),
    );
    assert.equal(failures([testFile('scenario', { rules: RULES, tests: [{ series, expected }] })]), '');
  });
}

test('a case that is wrong would be noticed', { skip }, () => {
  const [first] = FIRING;
  assert.ok(first !== undefined);
  const at = first.from + alertOf(first.alert).minutes;
  const tests = [{ series: first.series, expected: [silent(first.alert, at)] }];
  assert.match(failures([testFile('wrong', { rules: RULES, tests })]), /FAILED/);
});

test('every alert has both kinds of cases', () => {
  const names = ALERTS.map(({ name }) => name);
  assert.equal(new Set(names).size, names.length, 'each name once');
  for (const name of names) {
    assert.ok(
      FIRING.some(({ alert }) => alert === name),
      `${name} has no case that fires`,
    );
    assert.ok(
      QUIET.some(({ alert }) => alert === name),
      `${name} has no case that is silent`,
    );
  }
});

test('every alert has a section in the runbooks with its meaning, its weight, where to look and what to do', () => {
  const page = readFileSync(new URL('../../docs/operations/alerts.md', import.meta.url), 'utf8');
  const sections = page.split(/^### /m).slice(1);
  assert.deepEqual(
    sections.map((section) => section.split('\n')[0]),
    ALERTS.map(({ name }) => name),
    'sections in the order of the rules',
  );
  for (const section of sections) {
    const [name = ''] = section.split('\n');
    const { severity, minutes } = alertOf(name);
    assert.ok(
      section.includes(`\n${severity}, ${minutes === 0 ? 'at once' : `after ${inWords(minutes)}`}\n`),
      `${name}: severity and patience`,
    );
    const parts = [...section.matchAll(/^- \*\*(\w+)\*\*: (.+)$/gm)].map(([, part]) => part);
    assert.deepEqual(parts, ['Means', 'Matters', 'Look', 'Do'], name);
  }
});

const inWords = (minutes: number): string => (minutes >= 60 ? `${minutes / 60} hours` : `${minutes} min`);

test('summaries say where, and descriptions are without templates', () => {
  for (const { name, summary, description } of ALERTS) {
    assert.ok(!description.includes('{{'), name);
    assert.ok(summary.endsWith('.') && description.endsWith('.'), name);
  }
});

test('every reason for which a packet is refused is in one class of alerts', () => {
  assert.deepEqual(Object.values(DROP_CLASSES).flat().toSorted(), REFUSAL_REASONS.toSorted());
});
