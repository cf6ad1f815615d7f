// The data plane writes its log lines without pino: they must be the logger's in every byte.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { type LogLineOptions, createReport } from '../../agent/dataplane/log-line.ts';
import type { Report } from '../../agent/dataplane/report.ts';
import { createLogger } from '../../agent/telemetry/logger.ts';

const NOW = Date.UTC(2026, 0, 2, 3, 4, 5, 6);

function createRig(options: Partial<LogLineOptions> = {}): { report: Report; lines: string[] } {
  const lines: string[] = [];
  const report = createReport({
    level: undefined,
    format: undefined,
    write: (line) => void lines.push(line),
    clock: () => NOW,
    ...options,
  });
  return { report, lines };
}

for (const format of ['json', 'pretty'] as const) {
  test(`createReport: the same line as the logger's, ${format}`, () => {
    const { report, lines } = createRig({ format });
    const expected: string[] = [];
    const log = createLogger({
      role: 'dataplane',
      level: 'info',
      format,
      write: (line) => void expected.push(line),
      clock: () => NOW,
    });
    const fields = { operation: 'send', code: 'ENOBUFS', count: 2, more: undefined };
    log.warn('dataplane_io_failed', 'two\nlines', fields);
    report({ level: 'warn', event: 'dataplane_io_failed', message: 'two\nlines', fields });
    assert.deepEqual(lines, expected);
  });
}

test('createReport: LOG_LEVEL is honoured; another word means info', () => {
  for (const [level, count] of [
    ['trace', 3],
    ['info', 3],
    ['loud', 3],
    [undefined, 3],
    ['warn', 2],
    ['error', 1],
  ] as const) {
    const { report, lines } = createRig({ level });
    for (const each of ['info', 'warn', 'error'] as const) {
      report({ level: each, event: 'dataplane_failed', message: 'm' });
    }
    assert.equal(lines.length, count, `${level}`);
  }
});

test('createReport: a line is never longer than a pipe takes without blocking', () => {
  const { report, lines } = createRig();
  report({
    level: 'info',
    event: 'dataplane_failed',
    message: '\u0001'.repeat(5000),
    fields: { path: 'x'.repeat(5000) },
  });
  assert.equal(lines.length, 1);
  assert.ok(Buffer.byteLength(lines[0] ?? '') <= 4096);
  assert.equal(typeof JSON.parse(lines[0] ?? ''), 'object');
});
