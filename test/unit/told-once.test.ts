// What operators are told once, not with every look: contradictions in the cluster, a log that cannot be written. And what they can do.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createLogHealth } from '../../agent/control/cni/log-health.ts';
import { createSnapshotHealth } from '../../agent/control/cluster/snapshot-health.ts';
import { createObjectWatch } from '../../agent/control/cluster/object-watch.ts';
import { createReadiness } from '../../agent/control/status/readiness.ts';
import { createRequestLog } from '../../agent/control/status/request-log.ts';
import { withRemedy } from '../../agent/control/cluster/api-remedy.ts';
import type { ViewProblem } from '../../agent/control/cluster/cluster-view.ts';
import { createProblemLog } from '../../agent/control/cluster/problem-log.ts';
import { OperationError } from '../../agent/operation-error.ts';
import type { Logger } from '../../agent/telemetry/logger.ts';
import { LastingFailure, Repeats } from '../../agent/telemetry/told-once.ts';

test('ProblemLog: each contradiction once while it lasts, with what to do; a joining node is none', () => {
  const lines: string[] = [];
  const line = (event: string, message: string): void => void lines.push(`${event}: ${message}`);
  const problems = createProblemLog({ info: line, warn: line });
  const collision: ViewProblem = {
    kind: 'same-address',
    name: 'b',
    text: 'peer "b" has the underlay address of "a"',
  };
  const joining: ViewProblem = { kind: 'block-without-peer', name: '10.32.0.0-26', text: 'held by "c"' };
  problems.tell([joining, collision]);
  problems.tell([collision, joining]);
  assert.equal(lines.length, 1);
  assert.match(lines[0] ?? '', /^peer_collision: peer "b" has .* "a"; .*delete its Peer$/);
  problems.tell([]);
  assert.equal(lines[1], 'contradiction_ended: No more: peer "b" has the underlay address of "a"');
  problems.tell([]);
  problems.tell([collision]);
  assert.equal(lines.length, 3);
});

test('LogHealth: the failure once, the recovery once', () => {
  const lines: string[] = [];
  let failure: OperationError | undefined;
  const line = (event: string): void => void lines.push(event);
  const health = createLogHealth({ logFailure: () => failure }, { info: line, error: line });
  health.look();
  failure = new OperationError('Cannot write', { code: 'LOG_UNWRITABLE' });
  health.look();
  health.look();
  failure = undefined;
  health.look();
  health.look();
  assert.deepEqual(lines, ['allocation_log_unwritable', 'allocation_log_recovered']);
});

test('withRemedy: what happened, that it is tried again, and what a person can do about a refusal', () => {
  const forbidden = new OperationError('Cannot claim', { code: 'FORBIDDEN' });
  assert.match(withRemedy(forbidden), /^Cannot claim; it is tried again: .*ClusterRole/);
  const conflict = new OperationError('Cannot claim', { code: 'CONFLICT' });
  assert.equal(
    withRemedy(conflict),
    'Cannot claim; it is tried again: if it goes on, look at what the API server logs of it',
  );
});

test('LastingFailure: the beginning, another failure, the end; each once', () => {
  const failing = new LastingFailure();
  assert.equal(failing.isOver(), false);
  assert.deepEqual(
    ['EIO', 'EIO', 'ENOSPC', 'EIO'].map((code) => failing.isNews(code)),
    [true, false, true, true],
  );
  assert.deepEqual([failing.isOver(), failing.isOver(), failing.isNews('EIO')], [true, false, true]);
});

test('Repeats: the first, then once in ten minutes with how often it was; bounded', () => {
  const repeats = new Repeats();
  const MINUTE = 60_000;
  const said = Array.from({ length: 21 }, (_, minute) => repeats.admit('x', minute * MINUTE));
  assert.deepEqual(
    said.filter((count) => count !== undefined),
    [1, 10, 10],
  );
  assert.equal(repeats.admit('y', 0), 1);
  for (let other = 0; other < 1000; other++) repeats.admit(`other ${other}`, 20 * MINUTE);
  assert.equal(repeats.admit('x', 20 * MINUTE), 1, 'forgotten: a flood of others takes no memory');
});

const watchRig = () => {
  const lines: string[] = [];
  const line = (event: string, message: string): void => void lines.push(`${event}: ${message}`);
  const refused = new Map<string, string>();
  const time = { ms: 0 };
  const watch = createObjectWatch<string>({
    plural: 'peers',
    handlers: { synced: () => undefined, changed: () => undefined },
    known: () => new Map(),
    refused: () => refused,
    relisted: () => undefined,
    failing: new Map(),
    log: { info: line, warn: line } as unknown as Logger, // as: all that is used
    nowMs: () => time.ms,
  });
  const refuse = (name: string, reason: string): void => {
    refused.set(name, reason);
    watch.refused?.({ name, reason, detail: undefined } as never); // as: what is read of it
  };
  return { lines, refused, watch, refuse, time };
};

test('ObjectWatch: an object that is refused with every list is told once, and when it is no more', () => {
  const { lines, refused, watch, refuse } = watchRig();
  for (let list = 0; list < 5; list++) {
    refuse('b', 'schema');
    watch.synced(new Map(), String(list));
  }
  assert.equal(lines.length, 1);
  refuse('b', 'address');
  assert.equal(lines.length, 2, 'for another reason');
  refused.delete('b');
  watch.changed('b', 'good', '9');
  watch.changed('b', 'good', '10');
  assert.deepEqual(lines.slice(2), ['contradiction_ended: "b" of peers is no more refused']);
});

test('ObjectWatch: lists that are older than what is known are told once in ten minutes', () => {
  const { lines, watch, time } = watchRig();
  for (; time.ms < 1_200_000; time.ms += 10_000) watch.stale(`list at ${time.ms} is older`);
  assert.equal(lines.length, 2);
  assert.match(lines[0] ?? '', /^api_relisted: list at 0 is older\. If it goes on, look whether/);
});

test('Readiness: each reason once, also when it becomes another one, and the end', () => {
  const lines: string[] = [];
  const line = (event: string, message: string): void => void lines.push(`${event}: ${message}`);
  let why: string | undefined = 'the agent is starting';
  const log = { info: line, warn: line, error: line } as unknown as Logger; // as: all that is used
  const readiness = createReadiness({ blocked: () => why, file: undefined, log });
  const settle = (reason: string | undefined): void => {
    why = reason;
    readiness.settle();
    readiness.settle();
  };
  settle('the agent is starting');
  settle(undefined);
  settle('no data plane');
  settle('range overlaps');
  settle(undefined);
  assert.deepEqual(
    lines.map((text) => text.slice(0, 64)),
    [
      'agent_ready: Pods can be attached',
      'agent_not_ready: Pods cannot be attached at the moment: no data plane',
      'agent_not_ready: Pods cannot be attached at the moment: range overlaps',
      'agent_ready: Pods can be attached',
    ].map((text) => text.slice(0, 64)),
  );
});

test('RequestLog: a page that cannot be answered is told once in ten minutes', () => {
  const lines: string[] = [];
  let nowMs = 0;
  const failed = createRequestLog({ warn: (_event, message) => void lines.push(message) }, () => nowMs);
  for (; nowMs < 600_000; nowMs += 15_000) failed('/metrics', new Error('odd'));
  failed('/status', new Error('odd'));
  failed('/metrics', new Error('odd'));
  assert.deepEqual(
    lines.map((text) => text.slice(0, 28)),
    ['Cannot answer /metrics: odd; ', 'Cannot answer /status: odd; t', 'Cannot answer /metrics: odd; '].map(
      (text) => text.slice(0, 28),
    ),
  );
});

test('SnapshotHealth: a disk that fails is told once, another failure again, and its end; meanwhile it is a trouble', () => {
  const lines: string[] = [];
  const line = (event: string): void => void lines.push(event);
  const health = createSnapshotHealth({ info: line, warn: line });
  const fail = (errno: string): void =>
    health.failed(new OperationError('Cannot write', { code: 'SNAPSHOT_UNWRITABLE', context: { errno } }));
  health.written();
  for (const errno of ['ENOSPC', 'ENOSPC', 'EROFS']) fail(errno);
  assert.equal(health.trouble()?.code, 'SNAPSHOT_UNWRITABLE');
  health.written();
  health.written();
  assert.equal(health.trouble(), undefined);
  assert.deepEqual(lines, ['snapshot_failed', 'snapshot_failed', 'snapshot_recovered']);
});
