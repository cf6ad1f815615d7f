import assert from 'node:assert/strict';
import { test } from 'node:test';

import { OperationError } from '../../agent/operation-error.ts';
import { EVENTS, EVENT_ROWS } from '../../agent/telemetry/event-names.ts';
import { FIELD_ROWS, contextFields } from '../../agent/telemetry/field-names.ts';
import { MOST_VARIETIES } from '../../agent/telemetry/log-rate.ts';
import { formatLogLine } from '../../agent/telemetry/log-text.ts';
import { type Logger, type LoggerOptions, createLogger, errorFields } from '../../agent/telemetry/logger.ts';

interface Rig {
  readonly log: Logger;
  readonly lines: string[];
  readonly time: { now: number };
}

function createRig(options: Partial<LoggerOptions> = {}): Rig {
  const lines: string[] = [];
  const time = { now: Date.UTC(2026, 0, 2, 3, 4, 5, 6) };
  const log = createLogger({
    role: 'control',
    level: 'info',
    format: 'json',
    write: (line) => void lines.push(line),
    clock: () => time.now,
    ...options,
  });
  return { log, lines, time };
}

test('createLogger: one JSON line per event', () => {
  const { log, lines } = createRig();
  log.info('block_claimed', 'Block 10.32.4.0-26 is held by this node', { block: '10.32.4.0-26', count: 2 });
  log.child('keeper').error('agent_failed', 'two\nlines', { code: undefined });
  log.debug('pod_attached', 'below the level');
  assert.deepEqual(lines, [
    '{"level":"info","time":"2026-01-02T03:04:05.006Z","role":"control","event":"block_claimed","block":"10.32.4.0-26","count":2,"msg":"Block 10.32.4.0-26 is held by this node"}\n',
    '{"level":"error","time":"2026-01-02T03:04:05.006Z","role":"keeper","event":"agent_failed","msg":"two\\nlines"}\n',
  ]);
});

test('createLogger: pretty is the same for people', () => {
  const { log, lines } = createRig({ format: 'pretty', level: 'debug' });
  log.info('block_contested', 'Another node was faster', { block: '10.32.4.0-26', reason: 'two words' });
  log.debug('pod_attached', 'no fields');
  log.warn('cni_failed', 'two\nlines\u001b[31m\u009b', { reason: 'a\u2028b', code: '\u0085' });
  assert.deepEqual(lines, [
    '03:04:05.006Z info  control   block_contested             Another node was faster  block=10.32.4.0-26 reason="two words"\n',
    '03:04:05.006Z debug control   pod_attached                no fields\n',
    '03:04:05.006Z warn  control   cni_failed                  two\\nlines\\u001b[31m\\u009b  reason="a\\u2028b" code="\\u0085"\n',
  ]);
});

test('createLogger: a flood of one event is cut, counted, and hides no other', () => {
  const { log, lines, time } = createRig();
  for (let count = 0; count < 1000; count++) log.warn('cni_refused', 'again');
  assert.equal(lines.length, 20);
  log.info('block_claimed', 'another event');
  assert.equal(lines.length, 21);
  time.now += 1000;
  log.warn('cni_refused', 'again');
  assert.match(lines[21] ?? '', /"left_out":980/);
  log.warn('cni_refused', 'again');
  log.flush();
  assert.match(lines[22] ?? '', /"event":"log_lines_left_out","of_event":"cni_refused","left_out":1/);
  log.flush();
  assert.equal(lines.length, 23);
});

test('createLogger: a flood of one failure does not hide the first line of another, and buckets are bounded', () => {
  const { log, lines, time } = createRig();
  for (let count = 0; count < 1000; count++) log.warn('cni_failed', 'again', { code: 'ENOSPC' });
  log.warn('cni_failed', 'first', { code: 'EIO' });
  assert.equal(lines.length, 21);
  for (let kind = 0; kind < 10_000; kind++) log.warn('cni_failed', 'x', { code: `E${kind}` });
  assert.ok(lines.length < 21 + MOST_VARIETIES + 20, `${lines.length} lines`);
  time.now += 3_600_000;
  const before = lines.length;
  log.warn('cni_failed', 'first of its kind', { code: 'ELATER' });
  assert.equal(lines.length, before + 1);
});

test('formatLogLine: colours only where they are asked for, and every event in its column', () => {
  const line = '{"level":"warn","time":"2026-01-02T03:04:05.006Z","role":"control","event":"e","msg":"m"}';
  assert.ok(formatLogLine(line, true).includes(' \u001b[33mwarn \u001b[0m control '));
  assert.ok(!formatLogLine(line).includes('\u001b'));
  const columns = EVENTS.map(([event]) => formatLogLine(line.replace('"e"', `"${event}"`)).lastIndexOf(' m'));
  assert.deepEqual([...new Set(columns)], [columns[0]]);
});

test('createLogger: an unknown level means info', () => {
  const { log, lines } = createRig({ level: 'loud' });
  log.debug('pod_attached', 'no');
  log.info('agent_started', 'yes');
  assert.equal(lines.length, 1);
});

test('errorFields: the code and the whole chain of causes', () => {
  const cause = Object.assign(new Error('no space left'), { code: 'ENOSPC' });
  const error = new OperationError('Cannot write', { code: 'LOG_UNWRITABLE', cause });
  assert.deepEqual(errorFields(error), { code: 'LOG_UNWRITABLE', error: 'Cannot write: no space left' });
  assert.deepEqual(errorFields('text'), { code: 'UNKNOWN', error: '"text"' });
});

test('FIELDS: unique, snake case, none of the line itself; contextFields takes those alone', () => {
  const names = FIELD_ROWS.map(([name]) => name);
  assert.equal(new Set<string>(names).size, names.length);
  for (const [name, , meaning] of FIELD_ROWS) {
    assert.match(name, /^[a-z]+(_[a-z]+)*$/);
    assert.ok(meaning.length > 5 && !['time', 'level', 'role', 'event', 'msg'].includes(name), name);
  }
  const context = { setting: 'WEFT_PORT', value: '0', token: 'secret', count: 'no number', mtu: undefined };
  assert.deepEqual(contextFields(context), { setting: 'WEFT_PORT', value: '0' });
});

test('EVENTS: what can be a warning or an error says what to do', () => {
  for (const [name, levels, , remedy] of EVENT_ROWS) {
    const isLoud = /warn|error/.test(levels);
    assert.equal(isLoud, remedy !== undefined && remedy.length > 5, name);
  }
});

test('EVENTS: unique, snake case, each with a meaning', () => {
  const names = EVENTS.map(([name]) => name);
  assert.equal(new Set<string>(names).size, names.length);
  for (const [name, , meaning] of EVENTS) {
    assert.match(name, /^[a-z]+(_[a-z]+)+$/);
    assert.ok(meaning.length > 10 && !meaning.endsWith('.'), name);
  }
});
