import assert from 'node:assert/strict';
import { test } from 'node:test';

import { OperationError } from '../../agent/operation-error.ts';
import { EVENTS } from '../../agent/telemetry/event-names.ts';
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
  log.info('block_claimed', 'Block 10.32.4.0-26 is held by this node', { block: '10.32.4.0-26', attempt: 2 });
  log.child('keeper').error('agent_failed', 'two\nlines', { code: undefined });
  log.debug('packet_dropped', 'below the level');
  assert.deepEqual(lines, [
    '{"level":"info","time":"2026-01-02T03:04:05.006Z","role":"control","event":"block_claimed","block":"10.32.4.0-26","attempt":2,"msg":"Block 10.32.4.0-26 is held by this node"}\n',
    '{"level":"error","time":"2026-01-02T03:04:05.006Z","role":"keeper","event":"agent_failed","msg":"two\\nlines"}\n',
  ]);
});

test('createLogger: pretty is the same for people', () => {
  const { log, lines } = createRig({ format: 'pretty', level: 'debug' });
  log.warn('block_contested', 'Another node was faster', { block: '10.32.4.0-26', reason: 'two words' });
  log.debug('packet_dropped', 'no fields');
  assert.deepEqual(lines, [
    '03:04:05.006 warn  control   block_contested  Another node was faster  block=10.32.4.0-26 reason="two words"\n',
    '03:04:05.006 debug control   packet_dropped  no fields\n',
  ]);
});

test('createLogger: a flood of one event is cut, counted, and hides no other', () => {
  const { log, lines, time } = createRig();
  for (let count = 0; count < 1000; count++) log.warn('cni_refused', 'again');
  assert.equal(lines.length, 20);
  log.info('pod_attached', 'another event');
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

test('createLogger: an unknown level means info', () => {
  const { log, lines } = createRig({ level: 'loud' });
  log.debug('agent_started', 'no');
  log.info('agent_started', 'yes');
  assert.equal(lines.length, 1);
});

test('errorFields: the code and the whole chain of causes', () => {
  const cause = Object.assign(new Error('no space left'), { code: 'ENOSPC' });
  const error = new OperationError('Cannot write', { code: 'LOG_UNWRITABLE', cause });
  assert.deepEqual(errorFields(error), { code: 'LOG_UNWRITABLE', error: 'Cannot write: no space left' });
  assert.deepEqual(errorFields('text'), { code: 'UNKNOWN', error: '"text"' });
});

test('EVENTS: unique, snake case, each with a meaning', () => {
  const names = EVENTS.map(([name]) => name);
  assert.equal(new Set<string>(names).size, names.length);
  for (const [name, meaning] of EVENTS) {
    assert.match(name, /^[a-z]+(_[a-z]+)+$/);
    assert.ok(meaning.length > 10 && !meaning.endsWith('.'), name);
  }
});
