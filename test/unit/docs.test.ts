// Tables in the documentation say what the source says.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { SETTING_TABLE } from '../../agent/setting-table.ts';
import { TROUBLES } from '../../agent/control/trouble.ts';
import { EVENTS } from '../../agent/telemetry/event-names.ts';
import { REFUSAL_REASONS } from '../../proto/drop-reason.ts';

/** Rows of the first table of a page of docs/operations, as trimmed cells. */
function tableOf(page: string): readonly (readonly string[])[] {
  const text = readFileSync(new URL(`../../docs/operations/${page}`, import.meta.url), 'utf8');
  const lines = text.split('\n').filter((line) => line.startsWith('|'));
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

test('the table of refused packets has every reason, with a meaning and something to do', () => {
  const rows = tableOf('drops.md');
  assert.deepEqual(
    rows.map(([reason]) => plain(reason)),
    [...REFUSAL_REASONS],
  );
  for (const [reason, meaning, remedy] of rows) assert.ok(meaning !== '' && remedy !== '', reason);
});

test('the table of log events has every event with its meaning', () => {
  const rows = tableOf('log-events.md').map(([name, meaning]) => [plain(name), meaning]);
  assert.deepEqual(rows, EVENTS);
});

test('the table of what an agent refuses has every code with its Event and meaning, and something to do', () => {
  const rows = tableOf('refusals.md');
  assert.deepEqual(
    rows.map(([code, reason, meaning]) => [plain(code), reason, meaning]),
    TROUBLES,
  );
  for (const [code, , , remedy] of rows) assert.ok(remedy !== undefined && remedy !== '', code);
});
