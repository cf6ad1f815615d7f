// Starting without the API: an agent comes up from its snapshot, forwards, and serves ADD and DEL.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { until } from '../lab/condition.ts';
import { enterEnclosure } from '../lab/enclosure.ts';
import { type Lab, type LabNode, createLab } from '../lab/lab.ts';
import type { Pod } from '../lab/pod.ts';
import { pingFrom } from '../lab/reachability.ts';

await enterEnclosure();

let lab: Lab;
let nodes: readonly LabNode[];
let near: Pod;
let far: Pod;

const reached = async (from: Pod, to: Pod): Promise<boolean> =>
  (await pingFrom(from, [to]))[0]?.roundTripMs !== undefined;

before(async () => {
  lab = await createLab();
  nodes = await lab.addNodes(['node-1', 'node-2']);
  const pods = await Promise.all(nodes.map((node) => node.addPod(`pod-of-${node.name}`)));
  assert.ok(pods[0] !== undefined && pods[1] !== undefined);
  [near, far] = [pods[0], pods[1]];
  await until(() => reached(near, far), { what: 'the nodes to know each other' });
});

after(() => lab.close());

test('agent stopped, API down, agent started: traffic flows, ADD and DEL work', async () => {
  const agent = nodes[0]?.agent;
  assert.ok(agent !== undefined);
  await agent.stop();
  assert.equal(await reached(near, far), false, 'nothing carries packets while the agent is stopped');
  await lab.api.kill();
  agent.start();
  await agent.ready();
  assert.equal(await reached(near, far), true);
  assert.equal(await reached(far, near), true);
  const pod = await nodes[0]?.addPod('without-api');
  assert.ok(pod !== undefined);
  assert.equal(await reached(pod, far), true);
  assert.equal(await reached(far, pod), true);
  await pod.delete();
});

test('both agents killed whole and started while the API is still down: traffic flows', async () => {
  for (const { agent } of nodes) agent.killRole('keeper');
  await until(() => nodes.every(({ agent }) => !agent.running()), { what: 'the keepers to end' });
  for (const { agent } of nodes) agent.start();
  await Promise.all(nodes.map(({ agent }) => agent.ready()));
  assert.equal(await reached(near, far), true);
});

test('when the API is back, a node that joins is reachable', async () => {
  await lab.api.start();
  const node = await lab.addNode('node-3');
  const pod = await node.addPod('late');
  await until(() => reached(near, pod), { what: 'the first node to learn of it' });
  await until(() => reached(pod, far), { what: 'the second node to learn of it' });
});
