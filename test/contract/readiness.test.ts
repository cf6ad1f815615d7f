import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { test } from 'node:test';

import { openChannel, sendText } from '../../agent/linux/channel.ts';
import { libc } from '../../agent/linux/libc.ts';
import { READABLE, WRITABLE, openReadiness } from '../../agent/linux/readiness.ts';
import { until } from '../lab/condition.ts';

const openDescriptors = (): number => readdirSync('/proc/self/fd').length;

test('watch: level-triggered until unwatched, also for a descriptor number that is used again', async () => {
  const before = openDescriptors();
  const readiness = openReadiness();
  const [a, b] = openChannel();
  let calls = 0;
  const unwatch = readiness.watch(a, READABLE, () => (calls += 1));
  assert.ok(sendText(b, 'x'));
  await until(() => calls >= 3, { what: 'repeated calls while data is there' });
  unwatch();
  unwatch();
  const seen = calls;
  let writable = 0;
  const stop = readiness.watch(a, WRITABLE, () => {
    writable += 1;
    stop();
  });
  await until(() => writable === 1, { what: 'the socket to be writable' });
  assert.equal(calls, seen);
  libc.close(a);
  libc.close(b);
  readiness.close();
  readiness.close();
  await until(() => openDescriptors() === before, { what: 'all descriptors to be closed' });
});

test('unwatch from a callback: events already fetched for another descriptor are not delivered', async () => {
  const readiness = openReadiness();
  const first = openChannel();
  const second = openChannel();
  const order: string[] = [];
  const stops: (() => void)[] = [];
  const stopAll = (name: string) => () => {
    order.push(name);
    for (const stop of stops) stop();
  };
  sendText(first[1], 'x');
  sendText(second[1], 'x');
  stops.push(readiness.watch(first[0], READABLE, stopAll('first')));
  stops.push(readiness.watch(second[0], READABLE, stopAll('second')));
  await until(() => order.length > 0, { what: 'a call' });
  let marker = false;
  const third = openChannel();
  sendText(third[1], 'x');
  const stop = readiness.watch(third[0], READABLE, () => {
    marker = true;
    stop();
  });
  await until(() => marker, { what: 'the third call' });
  assert.equal(order.length, 1);
  readiness.close();
  for (const fd of [...first, ...second, ...third]) libc.close(fd);
});

test('a process ends: by close, by process.exit and by an error in a callback', () => {
  const run = (body: string): number | null => {
    const readiness = new URL('../../agent/linux/readiness.ts', import.meta.url).href;
    const channel = new URL('../../agent/linux/channel.ts', import.meta.url).href;
    const program = `import { openReadiness } from ${JSON.stringify(readiness)};
      import { openChannel, sendText } from ${JSON.stringify(channel)};
      const readiness = openReadiness(); ${body}`;
    return spawnSync(process.execPath, ['--input-type=module', '-e', program], {
      timeout: 20_000,
      stdio: 'ignore',
    }).status;
  };
  assert.equal(run('setImmediate(() => readiness.close());'), 0);
  assert.equal(run('setImmediate(() => process.exit(5));'), 5);
  const failing = `const [a, b] = openChannel(); readiness.watch(a, 1, () => { throw new Error('own bug'); }); sendText(b, 'x');`;
  assert.equal(run(failing), 1);
  assert.equal(run(`process.on('uncaughtException', () => process.exit(6)); ${failing}`), 6);
});
