// Tables in the documentation say what the source says.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { SETTING_TABLE } from '../../agent/setting-table.ts';
import { COMMANDS } from '../../agent/cli/commands.ts';
import { CHECKS } from '../../agent/doctor/checks.ts';
import { captureCommand } from '../../agent/cli/commands/capture.ts';
import { pingCommand } from '../../agent/cli/commands/ping.ts';
import { traceCommand } from '../../agent/cli/commands/trace.ts';
import { TROUBLES } from '../../agent/control/trouble.ts';
import { EVENT_ROWS } from '../../agent/telemetry/event-names.ts';
import { FIELD_ROWS } from '../../agent/telemetry/field-names.ts';
import { REFUSAL_WORDS } from '../../agent/telemetry/refusal-words.ts';
import { parseFamilies } from '../support/exposition.ts';
import { createMetricsRig, fillMetrics } from '../support/metrics-source.ts';
// @ts-expect-error: a script of the page, which has no declarations; its types are checked by page/tsconfig.json
import { SIGNS } from '../../agent/control/map/page/words.js';
import { REFUSAL_REASONS } from '../../proto/drop-reason.ts';

/** Rows of a table of a page of docs/operations, the first one unless told, as trimmed cells. */
function tableOf(page: string, index = 0): readonly (readonly string[])[] {
  const text = readFileSync(new URL(`../../docs/operations/${page}`, import.meta.url), 'utf8');
  const tables = text.split(/\n(?!\|)/).filter((part) => part.includes('|---'));
  const lines = (tables[index] ?? '').split('\n').filter((line) => line.startsWith('|'));
  return lines.slice(2).map((line) =>
    line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
}

const plain = (cell: string | undefined): string => (cell ?? '').replaceAll('`', '');

test('the settings table has every setting with its default and meaning', () => {
  const rows = tableOf('settings.md').map(([name, fallback, meaning]) => [
    plain(name),
    plain(fallback),
    meaning,
  ]);
  assert.deepEqual(rows, SETTING_TABLE);
});

/** Without the addresses of links, which log lines have no use for. */
const unlinked = (cell: string | undefined): string =>
  (cell ?? '').replaceAll(/\[([^\]]*)\]\([^)]*\)/g, '$1');

test('the table of refused packets has every reason with its words, and whether the log tells', () => {
  const rows = tableOf('drops.md').map(([reason, meaning, remedy, isTold]) => [
    plain(reason),
    unlinked(meaning),
    unlinked(remedy),
    isTold,
  ]);
  assert.deepEqual(
    rows,
    REFUSAL_REASONS.map((reason) => {
      const { meaning, remedy, isNews } = REFUSAL_WORDS[reason];
      return [reason, meaning, remedy, isNews ? 'yes' : 'no'];
    }),
  );
});

test('the table of log events has every event with its levels, its meaning and what to do', () => {
  const rows = tableOf('log-events.md').map(([name, levels, meaning, remedy]) => [
    plain(name),
    levels,
    meaning,
    remedy,
  ]);
  assert.deepEqual(
    rows,
    EVENT_ROWS.map(([name, levels, meaning, remedy = '']) => [name, levels, meaning, remedy]),
  );
});

test('the table of log fields has every field with its type and meaning', () => {
  const rows = tableOf('log-events.md', 1).map(([name, type, meaning]) => [plain(name), type, meaning]);
  assert.deepEqual(rows, FIELD_ROWS);
});

test('the table of what an agent refuses has every code with its Event and meaning, and something to do', () => {
  const rows = tableOf('refusals.md');
  assert.deepEqual(
    rows.map(([code, reason, meaning]) => [plain(code), reason, meaning]),
    TROUBLES,
  );
  for (const [code, , , remedy] of rows) assert.ok(remedy !== undefined && remedy !== '', code);
});

test('the table of commands has every command of weft with its summary and flags', async () => {
  const commands = await Promise.all(COMMANDS.map((entry) => entry.load()));
  const expected = commands.map(({ name, summary, flags }) => [
    name,
    summary,
    Object.entries(flags)
      .map(([flag, { short }]) => `${short === undefined ? '' : `-${short}, `}--${flag}`)
      .join('; '),
  ]);
  assert.deepEqual(
    tableOf('commands.md').map((cells) => cells.map(plain)),
    expected,
  );
});

test('the table of metrics has every metric with its type and labels, and a meaning', async () => {
  const rig = createMetricsRig(2);
  fillMetrics(rig);
  const families = parseFamilies(await rig.metrics.render());
  const rows = tableOf('metrics.md');
  assert.deepEqual(
    rows.map(([name, type, labels]) => `${plain(name)} ${type} ${plain(labels)}`),
    families.map(({ name, type, labels }) => `${name} ${type} ${labels.join(', ')}`),
  );
  for (const { name, series } of families) assert.ok(series > 0, `${name} has no series: fill it`);
  for (const [name, , , meaning] of rows) assert.ok(meaning !== undefined && meaning !== '', name);
});

test("the table of the doctor's checks has every check, with what it finds, why and the remedy", () => {
  const rows = tableOf('doctor.md').map(([id, finds, why, fix]) => [plain(id), finds, why, fix]);
  assert.deepEqual(
    rows,
    CHECKS.map(({ id, finds, why, fix }) => [id, finds, why, fix]),
  );
});

test('the table of the live map has every sign of a link with its words, and what it is about', () => {
  const signs = SIGNS as readonly (readonly [sign: string, words: string])[]; // as: see page/words.js
  const rows = tableOf('map.md');
  assert.deepEqual(
    rows.map(([words]) => words),
    signs.map(([, words]) => words),
  );
  for (const [words, few, many, meaning] of rows) {
    assert.ok(few !== '' && many !== '' && meaning !== undefined && meaning !== '', words);
  }
});

test('the page on looking at packets tells every flag of its commands, and no other', () => {
  const text = readFileSync(new URL('../../docs/operations/capture.md', import.meta.url), 'utf8');
  for (const { name, flags } of [captureCommand, pingCommand, traceCommand]) {
    const [, section = ''] = text.split(`\n## ${name}\n`);
    const [own = ''] = section.split('\n## ');
    const told = new Set([...own.matchAll(/`--([a-z-]+)[` ]/g)].map(([, flag]) => flag));
    assert.deepEqual(told, new Set(Object.keys(flags)), name);
  }
});
