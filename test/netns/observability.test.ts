// What an operator and Prometheus see of a node with the agent.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { until } from '../lab/condition.ts';
import { enterEnclosure } from '../lab/enclosure.ts';
import { type Lab, type LabNode, createLab } from '../lab/lab.ts';
import { ENCLOSURE, tryCommand } from '../lab/command.ts';

await enterEnclosure();

let lab: Lab;
let node: LabNode;

before(async () => {
  lab = await createLab();
  const nodes = await lab.addNodes(['node-1', 'node-2', 'node-3']);
  assert.ok(nodes[0] !== undefined);
  [node] = nodes as [LabNode, ...LabNode[]]; // as: checked above
});

after(() => lab.close());

const samples = async (name: string): Promise<readonly { labels: string; value: number }[]> =>
  (await node.agent.metrics())
    .split('\n')
    .filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `))
    .map((line) => ({
      labels: line.slice(name.length, line.lastIndexOf(' ')),
      value: Number(line.slice(line.lastIndexOf(' ') + 1)),
    }));

test('promtool check metrics is clean', async () => {
  const text = await node.agent.metrics();
  const result = await tryCommand(ENCLOSURE, ['promtool', 'check', 'metrics'], { stdin: text });
  assert.deepEqual(result, { status: 0, stdout: '', stderr: '' });
});

test("weave_connections counts this node's connections to its peers by state", async () => {
  await until(
    async () => {
      const established = (await samples('weave_connections')).filter(({ labels }) =>
        labels.includes('state="established"'),
      );
      return established.reduce((sum, { value }) => sum + value, 0) === 2;
    },
    { what: 'two established connections' },
  );
});

test('weave_ips counts the addresses in use on this node, weave_max_ips the size of the range', async () => {
  const total = async (name: string): Promise<number> =>
    (await samples(name)).reduce((sum, { value }) => sum + value, 0);
  const usedBefore = await total('weave_ips');
  const pod = await node.addPod('counted');
  await until(async () => (await total('weave_ips')) === usedBefore + 1, {
    what: 'the new address to be counted',
  });
  await pod.delete();
  await until(async () => (await total('weave_ips')) === usedBefore, {
    what: 'the freed address to be counted',
  });
  assert.equal(await total('weave_max_ips'), 2 ** 20);
});

test('the status pages answer: /status, its parts, /report, /healthz, /readyz', async () => {
  for (const path of [
    '/status',
    '/status/peers',
    '/status/connections',
    '/status/ipam',
    '/healthz',
    '/readyz',
  ]) {
    assert.ok((await node.agent.status(path)).length > 0, path);
  }
  assert.equal(typeof JSON.parse(await node.agent.status('/report')), 'object');
});
