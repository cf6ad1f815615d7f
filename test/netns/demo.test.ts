// The demo as a person runs it: from outside, with --json, and with what it must refuse.
import assert from 'node:assert/strict';
import process from 'node:process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { cidrContains } from '../../proto/address.ts';
import { parseCidr, parseIpv4 } from '../../proto/address-text.ts';
import { ENCLOSURE, type CommandResult, tryCommand } from '../lab/command.ts';
import type { DemoReport } from '../lab/demo-report.ts';

const DEMO = fileURLToPath(new URL('../lab/demo.ts', import.meta.url));

const runDemo = (...flags: readonly string[]): Promise<CommandResult> =>
  tryCommand(ENCLOSURE, [process.execPath, DEMO, ...flags]);

test('--json: one object; every pair reached, addresses unique, nothing lost', async (t) => {
  const { status, stdout, stderr } = await runDemo('--json');
  assert.equal(status, 0, stderr);
  const lines = stdout.trim().split('\n');
  assert.equal(lines.length, 1);
  const report = JSON.parse(lines[0] ?? '') as DemoReport; // as: the demo's own type, whose parts are checked below
  assert.equal(report.nodes.length, 3);
  assert.equal(report.pods.length, 12);
  assert.equal(new Set(report.pods.map(({ address }) => address)).size, 12);
  for (const { address } of report.pods) {
    assert.ok(cidrContains(parseCidr('10.32.0.0/12'), parseIpv4(address)), address);
  }
  const { icmp, tcp, udp } = report.pairs;
  for (const pairs of [icmp, tcp, udp]) assert.deepEqual(pairs, { tried: 132, reached: 132, missing: [] });
  assert.equal(report.kills.length, 3);
  assert.deepEqual(
    report.kills.map(({ lost }) => lost),
    [0, 0, 0],
  );
  assert.ok(report.throughput.weftGbps > 0 && report.throughput.kernelGbps > 0);
  t.diagnostic(
    `${report.seconds.toFixed(0)} s, ${report.throughput.weftGbps.toFixed(2)} Gbit/s, ratio to the kernel's device ${report.throughput.ratio.toFixed(2)}`,
  );
});

test('--help tells the flags', async () => {
  const { status, stdout } = await runDemo('--help');
  assert.equal(status, 0);
  for (const flag of ['--nodes', '--pods', '--keep', '--json']) assert.ok(stdout.includes(flag), flag);
});

const REFUSED = [
  [['--nodes', '1'], 'Cannot use --nodes "1": write a whole number from 2 to 16'],
  [['--pods', 'many'], 'Cannot use --pods "many": write a whole number from 1 to 20'],
  [['--nodes', '16', '--pods', '20'], 'Cannot run 320 pods in all'],
  [['--colour'], "Unknown option '--colour'"],
] as const;

for (const [flags, sentence] of REFUSED) {
  test(`${flags.join(' ')} is refused with one sentence`, async () => {
    const { status, stdout, stderr } = await runDemo(...flags);
    assert.equal(status, 2);
    assert.equal(stdout, '');
    assert.equal(stderr.trim().split('\n').length, 1);
    assert.ok(stderr.startsWith(sentence), stderr);
  });
}
