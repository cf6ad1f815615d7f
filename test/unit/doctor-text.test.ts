// How `weft doctor` tells what it found.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { type Diagnosis, formatDiagnosis } from '../../agent/doctor/diagnosis-text.ts';
import { applyRepair, type Hands } from '../../agent/doctor/repair.ts';

const diagnosis: Diagnosis = {
  node: 'node-a',
  version: '0.1.0',
  seconds: 2.34,
  findings: [
    {
      check: 'bridge',
      severity: 'error',
      what: 'Interface "weave": it is down',
      why: 'every pod of the node is a port of it',
      fix: 'ip link set weave up',
      fixable: true,
    },
  ],
  checks: [
    { id: 'bridge', finds: 'a bridge that is down' },
    { id: 'api', finds: 'an API server that is slow' },
  ],
  repairs: [],
  failures: [],
  unseen: [],
};

test('a finding says what, why and how to fix it; the last line counts', () => {
  assert.equal(
    formatDiagnosis(diagnosis, { verbose: false, columns: 80 }),
    `ERROR    Interface "weave": it is down [bridge]
         why: every pod of the node is a port of it
         fix: ip link set weave up

Node "node-a": 2 checks, 1 finding in 2.3 s; 1 of them can be put right with --fix
`,
  );
});

test('silent checks are listed with -v; what was done and what could not be seen, always', () => {
  const text = formatDiagnosis(
    {
      ...diagnosis,
      repairs: ['set up of interface "weave"'],
      failures: ['Cannot continue process 7 (EPERM)'],
      unseen: ['nftables (EPERM)'],
    },
    { verbose: true, columns: 80 },
  );
  assert.match(text, /^ok {7}api {2}an API server that is slow$/m);
  assert.match(text, /^fixed {4}set up of interface "weave"$/m);
  assert.match(text, /^not done Cannot continue process 7 \(EPERM\)$/m);
  assert.match(text, /^unseen {3}nftables \(EPERM\)$/m);
  assert.doesNotMatch(text, /--fix/);
});

test('no line is longer than the terminal, if its words allow', () => {
  const long = {
    ...diagnosis,
    findings: diagnosis.findings.map((found) =>
      Object.assign({}, found, { what: 'word '.repeat(60).trim() }),
    ),
  };
  for (const line of formatDiagnosis(long, { verbose: false, columns: 72 }).split('\n').slice(0, -2)) {
    assert.ok(line.length <= 72, line);
  }
});

test('each repair does its one thing and says so', () => {
  const done: string[] = [];
  const hands: Hands = {
    setLink: (name, change) => done.push(`${name} ${JSON.stringify(change)}`),
    setRoute: () => done.push('route'),
    allowPod: () => done.push('pod'),
    continueProcess: (pid) => done.push(`continue ${pid}`),
  };
  assert.equal(
    applyRepair({ do: 'set_link', name: 'weave', change: { up: true } }, hands),
    'set up of interface "weave"',
  );
  assert.match(
    applyRepair({ do: 'continue_process', pid: 7, role: 'control' }, hands),
    /process 7 \(control\)/,
  );
  assert.deepEqual(done, ['weave {"up":true}', 'continue 7']);
});

test('what other nodes and programs say moves no cursor', () => {
  const findings = diagnosis.findings.map((found) => Object.assign({}, found, { what: 'peer "\u001B[2J"' }));
  const text = formatDiagnosis({ ...diagnosis, findings }, { verbose: false, columns: 80 });
  assert.ok(text.startsWith('ERROR    peer "\uFFFD[2J" [bridge]\n'));
});
