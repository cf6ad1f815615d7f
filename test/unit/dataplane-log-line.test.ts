// The data plane writes its log lines without pino: they must be the logger's in every byte.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { type LogLineOptions, createReport } from '../../agent/dataplane/log-line.ts';
import { type Report, limitFailures } from '../../agent/dataplane/report.ts';
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
    const fields = { operation: 'send', code: 'ENOBUFS', count: 2, worker: undefined };
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
    report({ level: 'info', event: 'dataplane_active', message: 'm' });
    report({ level: 'warn', event: 'dataplane_io_failed', message: 'm' });
    report({ level: 'error', event: 'dataplane_failed', message: 'm' });
    assert.equal(lines.length, count, `${level}`);
  }
});

test('createReport: a line is never longer than a pipe takes without blocking', () => {
  const { report, lines } = createRig();
  report({
    level: 'error',
    event: 'dataplane_failed',
    message: '\u0001'.repeat(5000),
    fields: { path: 'x'.repeat(5000) },
  });
  assert.equal(lines.length, 1);
  assert.ok(Buffer.byteLength(lines[0] ?? '') <= 4096);
  assert.equal(typeof JSON.parse(lines[0] ?? ''), 'object');
});

test('createReport: a flood of one failure is cut and counted, and hides no other', () => {
  let now = NOW;
  const { report, lines } = createRig({ clock: () => now });
  const fail = (code: string): void =>
    report({ level: 'warn', event: 'dataplane_io_failed', message: 'm', fields: { code } });
  for (let count = 0; count < 1000; count++) fail('ENOBUFS');
  assert.equal(lines.length, 20);
  fail('ENETDOWN');
  assert.equal(lines.length, 21);
  now += 1000;
  fail('ENOBUFS');
  assert.match(lines.at(-1) ?? '', /"left_out":980/);
});

test('limitFailures: each kind of failure when it begins, then ever more seldom, with how often it was', () => {
  const told: string[] = [];
  const clock = { nowMs: 5_000_000 };
  const report: Report = ({ event, message, fields = {} }) => {
    assert.match(message, /^send failed \(E\d\); .*: look whether the underlay interface is up/);
    told.push(`${event} ${fields.operation} ${fields.code} ${fields.repeated ?? 1}`);
  };
  const failed = limitFailures(report, clock as never, (errno) => `E${errno}`); // as: only the time is read
  const second = (): void => {
    failed('send', 1);
    clock.nowMs += 1000;
  };
  for (let count = 0; count < 3600; count++) second();
  const repeats = told.map((text) => Number(text.split(' ').at(-1)));
  assert.deepEqual(repeats, [1, 10, 60, 600, 600, 600, 600, 600]);
  failed('send', 2);
  assert.equal(told.at(-1), 'dataplane_io_failed send E2 1', 'another failure at once');
  clock.nowMs += 1_300_000;
  second();
  assert.match(told.at(-1) ?? '', /^dataplane_io_failed send E1 /);
  clock.nowMs += 10_000;
  second();
  assert.equal(told.at(-1), 'dataplane_io_failed send E1 1', 'after calm it is a new story');
});
