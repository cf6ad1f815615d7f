// The table at the end of `npm run test:cluster`: what it makes of the test runner's events.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { type StepRow, type TestEvent, formatTable, recordEvent } from '../cluster/table-reporter.ts';

const entryFile = '/checkout/test/cluster/upgrade.test.ts';
const file = '/checkout/test/cluster/steps.ts';

const ended = (type: string, name: string, more: Partial<TestEvent['data']> = {}): TestEvent => ({
  type,
  data: { name, nesting: 0, file, entryFile, details: { duration_ms: 1500 }, ...more },
});
const diagnostic = (message: string): TestEvent => ({
  type: 'test:diagnostic',
  data: { nesting: 0, message, file, entryFile },
});

test('a step has its figures beside it; a file is named once; the runner’s own counts are no figures', () => {
  const rows: StepRow[] = [];
  for (const event of [
    ended('test:start', 'nothing yet'),
    ended('test:pass', 'probes run'),
    diagnostic('sent 1000'),
    diagnostic('lost 0'),
    ended('test:fail', 'agents are replaced'),
    ended('test:pass', 'agents are back', { skip: 'an earlier step failed' }),
    { type: 'test:diagnostic', data: { nesting: 0, message: 'tests 3' } },
  ]) {
    recordEvent(rows, event);
  }
  assert.equal(
    formatTable(rows),
    `
file     step                 result   seconds  figures
───────  ───────────────────  ───────  ───────
upgrade  probes run           passed       1.5  sent 1000
                                                lost 0
         agents are replaced  failed       1.5
         agents are back      skipped      1.5
`,
  );
});

test('a file that fails as a whole is a row too', () => {
  const rows: StepRow[] = [];
  recordEvent(rows, {
    type: 'test:fail',
    data: { name: 'test/cluster/burst.test.ts', nesting: 0, file: '/checkout/test/cluster/burst.test.ts' },
  });
  assert.deepEqual(
    rows.map(({ file: name, result }) => [name, result]),
    [['burst', 'failed']],
  );
});
