// Events about what is wrong with a node: which are told, when, and how often; objects that cannot be read; ranges of Services.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { type NodeEvents, createNodeEvents } from '../../agent/control/cluster/node-events.ts';
import { createObjectWatch } from '../../agent/control/cluster/object-watch.ts';
import { overlaps, serviceOverlap } from '../../agent/control/cluster/service-ranges.ts';
import { eventReason } from '../../agent/control/trouble.ts';
import type { NodeEvent } from '../../agent/kube/api-client.ts';
import { OperationError } from '../../agent/operation-error.ts';
import { parseReporting } from '../../agent/settings.ts';
import type { Logger } from '../../agent/telemetry/logger.ts';
import { parseCidr } from '../../proto/address-text.ts';
import { FakeClock } from './kube-fakes.ts';

const MINUTE = 60_000;
const tun = { code: 'TUN_MISSING', message: 'no TUN' };
const role = { code: 'FORBIDDEN', message: 'no role' };

function rig(settleMs: number) {
  const clock = new FakeClock();
  const posted: NodeEvent[] = [];
  const said: string[] = [];
  const answer = { node: undefined as string | undefined, event: undefined as string | undefined };
  const line = (event: string): void => void said.push(event);
  const log: Logger = {
    trace: line,
    debug: line,
    info: line,
    warn: line,
    error: line,
    child: () => log,
    flush: () => undefined,
  };
  const fail = (code: string | undefined): void => {
    if (code !== undefined) throw new OperationError('refused', { code });
  };
  const events: NodeEvents = createNodeEvents({
    nodeName: 'a',
    api: () =>
      Promise.resolve({
        getNode: async () => {
          fail(answer.node);
          return Promise.resolve({ uid: 'uid-a', podCidrs: [] });
        },
        createEvent: async (event) => {
          fail(answer.event);
          posted.push(event);
          return Promise.resolve();
        },
      }),
    settleMs,
    clock,
    random: () => 0.5,
    log,
  });
  const messages = (): readonly string[] => posted.map(({ message }) => message);
  return { clock, posted, messages, said, answer, events };
}

test('an Event for each trouble, once, and again before the API server forgets it', async () => {
  const { clock, events, posted, messages } = rig(0);
  for (let minute = 0; minute < 45; minute += 1) {
    events.tell([tun, role]);
    await clock.advance(MINUTE);
  }
  assert.deepEqual(
    posted.map(({ node, type, reason, message }) => [node.uid, type, reason, message]),
    [
      ['uid-a', 'Warning', 'NetworkUnavailable', 'no TUN'],
      ['uid-a', 'Warning', 'ClusterStateUnavailable', 'no role'],
    ],
  );
  for (let minute = 0; minute < 15; minute += 1) {
    events.tell([tun]);
    await clock.advance(MINUTE);
  }
  assert.deepEqual(messages(), ['no TUN', 'no role', 'no TUN']);
});

test('a trouble that ends soon is not told, one that comes and goes not each time', async () => {
  const { clock, events, messages } = rig(5000);
  events.tell([role]);
  await clock.advance(4000);
  events.tell([]);
  await clock.advance(4000);
  events.tell([role]);
  await clock.advance(4000);
  assert.deepEqual(messages(), []);
  for (let count = 0; count < 10; count += 1) {
    events.tell([role]);
    await clock.advance(6000);
    events.tell([role]);
    await clock.advance(0);
    events.tell([]);
  }
  assert.deepEqual(messages(), ['no role']);
});

test('messages that change all the time are told ten times, then rarely', async () => {
  const { clock, events, posted } = rig(0);
  for (let count = 0; count < 100; count += 1) {
    events.tell([{ code: 'EIO', message: `number ${count}` }]);
    await clock.advance(1000);
  }
  assert.equal(posted.length, 10);
});

test('while the API is away an Event waits, said once in the log; the Node need not be readable', async () => {
  const { clock, events, posted, said, answer } = rig(0);
  answer.node = 'FORBIDDEN';
  answer.event = 'UNAVAILABLE';
  for (let second = 0; second < 300; second += 1) {
    events.tell([tun]);
    await clock.advance(1000);
  }
  assert.deepEqual([posted.length, said], [0, ['event_failed']]);
  answer.event = undefined;
  await clock.advance(MINUTE);
  assert.deepEqual(
    posted.map(({ node }) => node),
    [{ name: 'a', uid: 'a' }],
  );
  events.stop();
});

test('a code that is not listed is of the node', () => {
  assert.equal(eventReason({ code: 'EPERM', message: '' }), 'NetworkUnavailable');
});

test('objects that are refused stay as last known, deleted ones go', () => {
  const shown: string[] = [];
  const known = new Map([
    ['a', 'old a'],
    ['b', 'old b'],
  ]);
  const refused = new Map([['a', 'schema']]);
  const watch = createObjectWatch<string>({
    plural: 'peers',
    handlers: {
      synced: (objects) => void shown.push(JSON.stringify([...objects])),
      changed: (name, object) => void shown.push(`${name} ${object}`),
    },
    known: () => known,
    refused: () => refused,
    relisted: () => undefined,
    failing: new Map(),
    log: rig(0) as never, // as: nothing is logged here
  });
  watch.synced(new Map([['c', 'new c']]), '7');
  watch.changed('a', undefined, '8');
  watch.changed('c', undefined, '9');
  assert.deepEqual(shown, ['[["a","old a"],["c","new c"]]', 'c undefined']);
});

test('the range and those of Services: overlaps either way, IPv6 and nonsense never', () => {
  const range = parseCidr('10.96.0.0/12');
  for (const text of ['10.96.0.0/16', '10.0.0.0/8', '10.111.255.0/24'])
    assert.ok(overlaps(range, text), text);
  for (const text of ['10.112.0.0/16', 'fd00::/108', 'services', '']) assert.ok(!overlaps(range, text), text);
  assert.match(
    serviceOverlap(range, ['fd00::/108', '10.96.0.0/16'])?.message ?? '',
    /^Cannot use IPALLOC_RANGE="10\.96\.0\.0\/12": it overlaps the addresses of Services, 10\.96\.0\.0\/16; choose/,
  );
  assert.equal(serviceOverlap(range, ['10.112.0.0/16']), undefined);
});

test('parseReporting: what can be used of settings that are refused', () => {
  const { nodeName, statusAddress, logLevel, logFormat } = parseReporting({
    HOSTNAME: 'n1',
    IPALLOC_RANGE: 'x',
    WEAVE_HTTP_ADDR: '127.0.0.1:7000',
    LOG_LEVEL: 'loud',
    LOG_FORMAT: 'pretty',
  });
  assert.deepEqual([nodeName, statusAddress.port, logLevel, logFormat], ['n1', 7000, 'info', 'pretty']);
  assert.equal(parseReporting({ HOSTNAME: 'Not A Name' }).nodeName, undefined);
});
