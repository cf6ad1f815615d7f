// The `weft` command beside real agents: what it says of a node that is well, of one that is not, and that no secret leaves the node with it.
//
//   node-1 (weft is run here) ── underlay ── node-2
//     └ pod-1, pod-2                           └ pod-3
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import type { BugReport } from '../../agent/cli/bug-report.ts';
import type { NodeReport } from '../../proto/node-report.ts';
import { createCniRuntime } from '../lab/cni-runtime.ts';
import { type CommandResult, spawnIn, tryCommand } from '../lab/command.ts';
import { until } from '../lab/condition.ts';
import { enterEnclosure } from '../lab/enclosure.ts';
import { type Lab, type LabNode, createLab } from '../lab/lab.ts';

await enterEnclosure();

const WEFT = fileURLToPath(new URL('../../agent/cli/weft.ts', import.meta.url));
const CANARY = 'canary-5f2d9c';

let lab: Lab;
let here: LabNode;
let there: LabNode;

const commandOf = (...args: readonly string[]): readonly string[] => [process.execPath, WEFT, ...args];
const weft = (...args: readonly string[]): Promise<CommandResult> =>
  tryCommand(here.namespace.place, commandOf(...args), { env: { WEFT_TOKEN: CANARY } });
/** Of an attachment of this node. */
const addressOf = async (podName: string): Promise<string> => {
  const { stdout } = await weft('status', 'attachments', '-o', 'json');
  const allocations = JSON.parse(stdout) as NodeReport['ipam']['allocations']; // as: of this release
  return allocations.find((each) => each.podName?.endsWith(podName) === true)?.address ?? '';
};

before(async () => {
  lab = await createLab();
  const environment = { WEFT_TOKEN: CANARY, LOG_LEVEL: 'debug' };
  const nodes = await lab.addNodes(['node-1', 'node-2'], { environment });
  assert.ok(nodes[0] !== undefined && nodes[1] !== undefined);
  [here, there] = [nodes[0], nodes[1]];
  await here.addPod('pod-1');
  await here.addPod('pod-2');
  await there.addPod('pod-3');
});

after(() => lab.close());

test('weft status: well, in the first line and by its exit code', async (t) => {
  const isWell = /^node-1 is well: pods can be attached, its peer answers\n/;
  await until(async () => isWell.test((await weft('status')).stdout), { what: 'the node to be well' });
  const { stdout, status } = await weft('status');
  t.diagnostic(`\n${stdout}`);
  assert.equal(status, 0);
  assert.match(stdout, /^ Addresses: 2 used, \d+ free; 2 attachments$/m);
  assert.match(stdout, /^node-2 +established +\d+s +[\d.]+ms +/m);
  assert.ok(stdout.split('\n').length <= 25, 'one screen');
});

test('weft status PART: tables, JSON and YAML', async (t) => {
  for (const part of ['peers', 'connections', 'ipam', 'attachments']) {
    const { status, stdout, stderr } = await weft('status', part);
    assert.equal(status, 0, stderr);
    t.diagnostic(`weft status ${part}\n${stdout}`);
  }
  const attachments = (await weft('status', 'attachments', '--no-headers')).stdout.trim().split('\n');
  assert.equal(attachments.length, 2);
  const peers = JSON.parse((await weft('status', 'peers', '-o', 'json')).stdout) as NodeReport['peers']; // as: of this release
  assert.deepEqual(
    peers.map(({ name, address }) => [name, address]),
    [['node-2', there.address]],
  );
  assert.ok((peers[0]?.blocks ?? 0) > 0);
  assert.match((await weft('status', 'connections', '-o', 'yaml')).stdout, /^- name: node-2\n {2}address: '/);
});

test('weft ipam: pods of this node since when, of another one where to ask, addresses that are no pod’s', async (t) => {
  const address = await addressOf('pod-1');
  const used = await weft('ipam', address);
  t.diagnostic(`weft ipam ${address}\n${used.stdout}`);
  assert.match(used.stdout, /State: used for \d+s\n +Pod: \S*pod-1\n/);
  assert.match(used.stdout, /Block: \S+, held by this node, node-1, for \d+s\n/);
  assert.match((await weft('ipam', 'pod-1')).stdout, new RegExp(`^ +Address: ${address}\n`));

  const farAddress = there.pods[0]?.address ?? '';
  const far = await weft('ipam', farAddress);
  t.diagnostic(`weft ipam ${farAddress}\n${far.stdout}`);
  assert.match(far.stdout, /held by node-2 for \d+s\nAsk there: kubectl .* -- weft ipam /);

  const freed = await addressOf('pod-2');
  await here.pods.find(({ name }) => name.includes('pod-2'))?.delete();
  await until(
    async () => /State: free; a pod had it until \d+s ago/.test((await weft('ipam', freed)).stdout),
    {
      what: 'the address to be told as free',
    },
  );
  assert.match(
    (await weft('ipam', here.address)).stdout,
    /State: underlay address of this node, node-1; no pod has it/,
  );
  const unknown = await weft('ipam', 'pod-2');
  assert.equal(unknown.status, 1);
  assert.match(
    unknown.stderr,
    /^No pod or container of node "node-1" is called "pod-2": "weft status attachments"/,
  );
});

test('weft status --watch: again and again, until it is interrupted', async () => {
  const watching = spawnIn(here.namespace.place, commandOf('status', '--watch=0.1'), {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let told = '';
  watching.stdout?.setEncoding('utf8').on('data', (text: string) => (told += text));
  const ended = new Promise<number | null>((resolve) => watching.once('exit', resolve));
  await until(() => (told.match(/^--- \d{4}-\d\d-\d\dT[\d:.]+Z\nnode-1 is well/gm) ?? []).length >= 3, {
    what: 'three looks',
  });
  watching.kill('SIGINT');
  assert.equal(await ended, 0);
});

test('weft report: everything of the node, and no secret', async () => {
  const runtime = createCniRuntime(here);
  const container = await runtime.container('canary');
  const added = await runtime.call('ADD', {
    of: container,
    config: { secretOfTheRuntime: CANARY, runtimeConfig: { password: CANARY } },
  });
  assert.equal(added.status, 0, added.stdout);
  await runtime.call('ADD', { of: container, config: `{"cniVersion": "${CANARY}"` });
  const { status, stdout, stderr } = await weft('report');
  assert.equal(status, 0, stderr);
  const report = JSON.parse(stdout) as BugReport; // as: of this release
  assert.deepEqual(report.missing, {});
  assert.ok(report.report !== undefined && 'peers' in report.report);
  assert.equal(report.report.settings['HOSTNAME'], 'node-1');
  assert.equal(report.report.settings['LOG_LEVEL'], 'debug');
  assert.ok(report.ipam?.blocks.some(({ node }) => node === 'node-2'));
  assert.match(report.metrics ?? '', /^weave_max_ips 1048576$/m);
  assert.match(JSON.stringify(report.nftables), /"counter"/);
  const kubeconfig = JSON.parse(readFileSync(lab.api.kubeconfig, 'utf8')) as {
    users: { user: { token: string } }[]; // as: the lab writes it
  };
  const token = kubeconfig.users[0]?.user.token ?? '';
  assert.ok(token.length > 8);
  for (const secret of [CANARY, token]) assert.ok(!stdout.includes(secret), `${secret} is in it`);
  assert.ok(readFileSync(here.agent.logFile, 'utf8').includes('cni_'), 'the requests came to the agent');
  await runtime.call('DEL', { of: container });
  await container.remove();
});

test('a peer that dies: named in the first line, with what to do, and among the last warnings', async (t) => {
  await there.agent.kill();
  const isMissed = async (): Promise<boolean> => (await weft('status')).stdout.includes('stopped answering');
  await until(isMissed, { what: 'the peer to be missed' });
  const { stdout, status } = await weft('status');
  t.diagnostic(`\n${stdout}`);
  assert.equal(status, 1);
  assert.match(
    stdout,
    /^node-1 is not well: 1 of 1 peer has stopped answering \(node-2 heard \d+s ago\)\n +Problem: .*: check that /,
  );
  assert.match(stdout, /^node-2 +failed /m);
  assert.match(
    stdout,
    /Last warnings and errors:\n(?:.*\n)* {2}\d+s ago: Peer "node-2" has stopped answering: check/,
  );
});

test('an agent that refuses its settings, and one that does not run', async (t) => {
  await here.agent.stop();
  const silent = await weft('status');
  assert.deepEqual([silent.status, silent.stdout], [1, '']);
  assert.match(silent.stderr, /^No agent answers at 127\.0\.0\.1:6784 \(ECONNREFUSED\): look at "kubectl/);
  const bug = await weft('report');
  assert.equal(bug.status, 1);
  assert.match((JSON.parse(bug.stdout) as BugReport).missing['report'] ?? '', /^No agent answers/); // as: of this release
  here.agent.start({ IPALLOC_RANGE: '10.32.0.0/30' });
  await until(async () => (await weft('status')).stdout !== '', {
    what: 'the agent to say why it does not start',
  });
  const refused = await weft('status');
  t.diagnostic(`\n${refused.stdout}`);
  assert.equal(refused.status, 1);
  assert.match(
    refused.stdout,
    /^node-1 is not well: the agent cannot start\n(?:.*\n)* +Ready: no: Cannot use IPALLOC_RANGE=/,
  );
  assert.match(
    (await weft('status', 'peers')).stderr,
    /^The agent of this node cannot start: Cannot use IPALLOC_RANGE/,
  );
});
