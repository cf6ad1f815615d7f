// The container runtimes' own library and the specification's own tool, libcni and cnitool, drive every verb against a lab node's agent:
//
//   cnitool | libcni (go/libcni) ── exec ──▶ shim ──▶ agent of node-1, a lab node (no cluster)
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import process from 'node:process';
import { after, before, test } from 'node:test';

import {
  type CniPrinted,
  type CniRuntime,
  type Container,
  VERSIONS,
  createCniRuntime,
} from '../lab/cni-runtime.ts';
import { type CommandResult, tryCommand } from '../lab/command.ts';
import { LAB_DIRECTORY, enterEnclosure, isEnclosed } from '../lab/enclosure.ts';
import { type Lab, type LabNode, createLab } from '../lab/lab.ts';
import { SHIM } from '../lab/pod.ts';
import { buildOptionalPrograms, optionalProgram } from './build.ts';

if (!isEnclosed()) {
  try {
    await buildOptionalPrograms(['cnitool', 'libcni']);
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    process.exit(1);
  }
}
await enterEnclosure();

const CONFIGURATIONS = `${LAB_DIRECTORY}/net.d`;
const QUICK = { WEFT_CNI_DEADLINE_MS: '1000' };

let lab: Lab;
let node: LabNode;
let runtime: CniRuntime;

before(async () => {
  lab = await createLab();
  node = await lab.addNode('node-1');
  runtime = createCniRuntime(node);
  mkdirSync(CONFIGURATIONS);
  for (const cniVersion of VERSIONS) configure(`v${cniVersion}`, { cniVersion });
  configure('two', { cniVersion: '1.1.0', plugins: [plugin(), plugin()] });
});
after(() => lab.close());

const plugin = (): object => ({ type: 'weft', capabilities: { ips: true, mac: true } });
const fileOf = (name: string): string => `${CONFIGURATIONS}/${name}.conflist`;
const configure = (name: string, parts: object): void =>
  writeFileSync(fileOf(name), JSON.stringify({ name, plugins: [plugin()], ...parts }));

interface Ran extends CommandResult {
  readonly json: CniPrinted;
}

async function run(command: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Ran> {
  const result = await tryCommand(node.namespace.place, command, {
    env: { CNI_PATH: dirname(SHIM), NETCONFPATH: CONFIGURATIONS, ...env },
  });
  const json = result.stdout.trim() === '' ? {} : (JSON.parse(result.stdout) as CniPrinted); // as: the programs' contract
  return { ...result, json };
}

const libcni = (verb: string, network: string, ...words: readonly string[]): Promise<Ran> =>
  run([optionalProgram('libcni'), verb, fileOf(network), ...words]);
const attachment = ({ id, netns }: Container, ifname = 'eth0'): readonly string[] => [id, netns, ifname];

const succeeded = ({ status, stdout, stderr, json }: Ran): CniPrinted => {
  assert.equal(status, 0, `${stdout}${stderr}`);
  return json;
};

test('libcni: ADD, CHECK and DEL in each version, DEL again, and the codes of errors', async () => {
  const before = await runtime.holdings();
  for (const cniVersion of VERSIONS) {
    const of = await runtime.container(`c-${cniVersion}`);
    const network = `v${cniVersion}`;
    const result = succeeded(await libcni('add', network, ...attachment(of)));
    assert.equal(result.cniVersion, cniVersion);
    assert.equal(result.interfaces?.[1]?.sandbox, of.netns);
    assert.match(
      await runtime.run('ip -4 -br address show eth0', of),
      new RegExp(`${result.ips?.[0]?.address}`),
    );
    if (cniVersion !== '0.3.1') {
      succeeded(await libcni('check', network, ...attachment(of)));
      await runtime.run('ip route delete default', of);
      const differing = await libcni('check', network, ...attachment(of));
      assert.deepEqual([differing.status, differing.json.code], [1, 100], differing.stdout);
    }
    const again = await libcni('add', network, ...attachment(of));
    assert.deepEqual([again.status, again.json.code], [1, 4], again.stdout);
    for (let times = 0; times < 2; times += 1) succeeded(await libcni('del', network, ...attachment(of)));
    await of.remove();
    succeeded(await libcni('del', network, ...attachment(of)));
  }
  assert.deepEqual(await runtime.holdings(), before);
});

test('libcni: VERSION: the configuration is valid in each version', async () => {
  for (const cniVersion of VERSIONS) succeeded(await libcni('validate', `v${cniVersion}`));
});

test('libcni: capability arguments reach the plugin', async () => {
  const of = await runtime.container('capable');
  const first = succeeded(await libcni('add', 'v1.1.0', ...attachment(of)));
  succeeded(await libcni('del', 'v1.1.0', ...attachment(of)));
  const address = first.ips?.[0]?.address ?? '';
  const wanted = { ips: [address], mac: 'c2:11:22:33:44:55' };
  const words = [optionalProgram('libcni'), 'add', fileOf('v1.1.0'), ...attachment(of)];
  const result = succeeded(await run(words, { CAP_ARGS: JSON.stringify(wanted) }));
  assert.deepEqual([result.ips?.[0]?.address, result.interfaces?.[1]?.mac], [address, wanted.mac]);
  succeeded(await libcni('check', 'v1.1.0', ...attachment(of)));
  succeeded(await libcni('del', 'v1.1.0', ...attachment(of)));
  await of.remove();
});

test('libcni: a chain whose second plugin fails is undone by its DEL', async () => {
  const before = await runtime.holdings();
  const of = await runtime.container('chained');
  // The same plugin twice: the second finds the interface of the first.
  const added = await libcni('add', 'two', ...attachment(of));
  assert.deepEqual([added.status, added.json.code], [1, 4], added.stdout);
  succeeded(await libcni('del', 'two', ...attachment(of)));
  assert.deepEqual(await runtime.holdings(), before);
  await of.remove();
});

test('libcni: GC keeps the valid attachments and those of other networks', async () => {
  const before = await runtime.holdings();
  const [kept, stale, other] = await Promise.all(
    ['kept', 'stale', 'other'].map((name) => runtime.container(name)),
  );
  assert.ok(kept !== undefined && stale !== undefined && other !== undefined);
  for (const each of [kept, stale]) succeeded(await libcni('add', 'v1.1.0', ...attachment(each)));
  succeeded(await libcni('add', 'v1.0.0', ...attachment(other)));
  // What the cache of libcni does not know only the plugin can collect.
  await runtime.run(`rm /var/lib/cni/results/v1.1.0-${stale.id}-eth0`);
  succeeded(await libcni('gc', 'v1.1.0', `${kept.id}/eth0`));
  assert.equal((await runtime.holdings()).used, before.used + 2);
  succeeded(await libcni('check', 'v1.1.0', ...attachment(kept)));
  succeeded(await libcni('check', 'v1.0.0', ...attachment(other)));
  succeeded(await libcni('gc', 'v1.1.0'));
  succeeded(await libcni('del', 'v1.0.0', ...attachment(other)));
  assert.deepEqual(await runtime.holdings(), before);
  await Promise.all([kept.remove(), stale.remove(), other.remove()]);
});

test('cnitool: add, check, status, gc and del', async () => {
  const before = await runtime.holdings();
  const of = await runtime.container('tool');
  const cnitool = (verb: string): Promise<Ran> => run([optionalProgram('cnitool'), verb, 'v1.1.0', of.netns]);
  const result = succeeded(await cnitool('add'));
  assert.equal(result.interfaces?.[1]?.sandbox, of.netns);
  succeeded(await cnitool('status'));
  succeeded(await cnitool('check'));
  succeeded(await cnitool('del'));
  succeeded(await cnitool('del'));
  succeeded(await cnitool('add'));
  succeeded(await cnitool('gc'));
  assert.deepEqual(await runtime.holdings(), before);
  await of.remove();
});

test('libcni: STATUS is 50 and ADD 11 while no agent answers, and DEL succeeds', async () => {
  const of = await runtime.container('alone');
  succeeded(await libcni('add', 'v1.1.0', ...attachment(of)));
  succeeded(await libcni('status', 'v1.1.0'));
  await node.agent.stop();
  const words = (verb: string): readonly string[] => [optionalProgram('libcni'), verb, fileOf('v1.1.0')];
  assert.equal((await run(words('status'), QUICK)).json.code, 50);
  assert.equal((await run([...words('add'), ...attachment(of, 'net1')], QUICK)).json.code, 11);
  succeeded(await run([...words('del'), ...attachment(of)], QUICK));
  node.agent.start();
  await node.agent.ready();
  succeeded(await libcni('status', 'v1.1.0'));
  assert.equal((await runtime.holdings()).used, 0);
  await of.remove();
});
