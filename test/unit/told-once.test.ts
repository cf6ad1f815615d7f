// What operators are told once, not with every look: contradictions in the cluster, a log that cannot be written. And what they can do.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createLogHealth } from '../../agent/control/cni/log-health.ts';
import { withRemedy } from '../../agent/control/cluster/api-remedy.ts';
import type { ViewProblem } from '../../agent/control/cluster/cluster-view.ts';
import { createProblemLog } from '../../agent/control/cluster/problem-log.ts';
import { OperationError } from '../../agent/operation-error.ts';

test('ProblemLog: each contradiction once while it lasts, with what to do; a joining node is none', () => {
  const lines: string[] = [];
  const problems = createProblemLog({ warn: (event, message) => void lines.push(`${event}: ${message}`) });
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
  problems.tell([collision]);
  assert.equal(lines.length, 2);
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
  assert.equal(withRemedy(conflict), 'Cannot claim; it is tried again');
});
