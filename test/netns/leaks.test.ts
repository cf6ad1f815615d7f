// What is left when a runtime or the agent does not finish: allocations without a veth, veths without an allocation.
import assert from 'node:assert/strict';
import { copyFileSync, readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';

import { runCommand, runScript } from '../lab/command.ts';
import { until } from '../lab/condition.ts';
import { enterEnclosure } from '../lab/enclosure.ts';
import { type Lab, type LabNode, createLab } from '../lab/lab.ts';
import { createSandbox, tryCni } from '../lab/pod.ts';
import { pingFrom } from '../lab/reachability.ts';

await enterEnclosure();

let lab: Lab;
let node: LabNode;

before(async () => {
  lab = await createLab();
  node = await lab.addNode('node-1');
});
after(() => lab.close());

const used = async (): Promise<number> =>
  Number(/Addresses: (\d+) used/.exec(await node.agent.status('/status'))?.[1]);
const veths = async (): Promise<number> =>
  (await runCommand(node.namespace.place, ['ip', '-br', 'link']))
    .split('\n')
    .filter((line) => line.startsWith('vethwe')).length;
const logged = (event: string): number =>
  readFileSync(node.agent.logFile, 'utf8').split(`"event":"${event}"`).length - 1;
/** So many times a leak was freed: said when the log on disk has it, which is after /status has. */
const freed = (times: number): Promise<void> =>
  until(() => logged('allocation_leaked') === times, { what: 'the address to be freed', boundMs: 40_000 });
const reached = async (from: LabNode['pods'][number], to: LabNode['pods'][number]): Promise<boolean> =>
  (await pingFrom(from, [to]))[0]?.roundTripMs !== undefined;

test('a sandbox that went without DEL gives its address back, and nobody else loses theirs', async () => {
  const [stays, other] = [await node.addPod('stays'), await node.addPod('other')];
  const lost = await createSandbox(node.namespace, 'lost');
  assert.equal((await tryCni(node.namespace, { sandbox: lost, command: 'ADD' })).status, 0);
  assert.equal(await used(), 3);
  await lost.remove();
  await freed(1);
  assert.equal(await used(), 2);
  assert.equal(await reached(stays, other), true);
  assert.equal((await tryCni(node.namespace, { sandbox: lost, command: 'DEL' })).status, 0);
});

test('control is killed, and a sandbox goes while it is away', async () => {
  const lost = await createSandbox(node.namespace, 'lost-meanwhile');
  assert.equal((await tryCni(node.namespace, { sandbox: lost, command: 'ADD' })).status, 0);
  await node.agent.stop();
  await lost.remove();
  node.agent.start();
  await node.agent.ready();
  await freed(2);
  assert.equal(await used(), 2);
});

test('an allocation log that went back in time: running pods keep their network, their addresses stay theirs', async () => {
  const log = node.namespace.path('/var/lib/weft/allocations.log');
  copyFileSync(log, `${log}.old`);
  const young = await node.addPod('young');
  await node.agent.stop();
  copyFileSync(`${log}.old`, log);
  node.agent.start();
  await node.agent.ready();
  assert.equal(await used(), 3);
  assert.equal(logged('allocations_rebuilt'), 1, 'this start, and not the first one');
  const next = await node.addPod('next');
  assert.notEqual(next.address, young.address);
  assert.equal(await reached(young, next), true);
  await young.delete();
  await next.delete();
  assert.deepEqual([await used(), await veths()], [2, 2]);
});

test('a second veth with the address of another pod is removed', async () => {
  const [owner] = node.pods;
  assert.ok(owner !== undefined);
  await runScript(node.namespace.place, [
    'ip link add vethwestray0001 type veth peer name stray',
    `ip link set vethwestray0001 alias weft:stray:eth0:${owner.address}`,
  ]);
  await until(async () => (await veths()) === 2, { what: 'the stray veth to be removed', boundMs: 40_000 });
});
