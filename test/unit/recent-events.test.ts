import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { createRecentEvents } from '../../agent/control/status/recent-events.ts';
import { createLogger } from '../../agent/telemetry/logger.ts';

function listen(): {
  log: ReturnType<typeof createLogger>;
  recent: ReturnType<typeof createRecentEvents>;
  lines: string[];
  time: { nowMs: number };
} {
  const lines: string[] = [];
  const time = { nowMs: 0 };
  const recent = createRecentEvents(() => time.nowMs);
  const write = (line: string): void => void lines.push(line);
  const log = recent.listeningTo(
    createLogger({ role: 'control', level: 'error', format: 'json', write, clock: () => 0 }),
  );
  return { log, recent, lines, time };
}

describe('createRecentEvents', () => {
  it('remembers warnings and errors, the newest first, also those that the level leaves out of the log', () => {
    const { log, recent, lines, time } = listen();
    log.info('agent_started', 'not remembered');
    log.warn('status_failed', 'Cannot answer /status', { code: 'EPIPE' });
    time.nowMs = 2500;
    log.child('cli').error('agent_failed', 'A bug ended control', { code: 'UNKNOWN', error: 'secret' });
    assert.deepEqual(recent.list(), [
      { level: 'error', event: 'agent_failed', text: 'A bug ended control', ageSeconds: 0, count: 1 },
      {
        level: 'warn',
        event: 'status_failed',
        text: 'Cannot answer /status (EPIPE)',
        ageSeconds: 2.5,
        count: 1,
      },
    ]);
    assert.equal(lines.length, 1);
  });
  it('what is said again is one, with the age of the last time', () => {
    const { log, recent, time } = listen();
    for (let second = 0; second < 50; second++) {
      time.nowMs = second * 1000;
      log.warn('api_disconnected', 'Cannot reach the API');
      if (second === 20) log.warn('network_failed', 'Cannot make the network');
    }
    assert.deepEqual(
      recent.list().map(({ event, ageSeconds, count }) => [event, ageSeconds, count]),
      [
        ['api_disconnected', 0, 50],
        ['network_failed', 29, 1],
      ],
    );
  });
  it('is bounded in number and in length', () => {
    const { log, recent } = listen();
    for (let index = 0; index < 1000; index++) log.error('agent_failed', `${index} ${'x'.repeat(5000)}`);
    assert.equal(recent.list().length, 10);
    assert.ok(recent.list().every(({ text }) => text.length < 700));
    assert.match(recent.list()[0]?.text ?? '', /^999 /);
  });
});
