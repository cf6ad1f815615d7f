// Nothing is lost: 1,000 probes/s between pods of two nodes while parts of the agents die. The descriptors that the keeper holds queue
// what arrives in between. Losses are counted by sequence number; times are printed, never asserted.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';

import { type Window, disturb, settle } from '../lab/disturbance.ts';
import { enterEnclosure } from '../lab/enclosure.ts';
import { type Lab, type LabNode, createLab } from '../lab/lab.ts';
import type { Probe } from '../lab/probe/endpoint.ts';

await enterEnclosure();

const KILLS = 10;
/** The one place where time itself is what is tested: the API server must be missed for this long without effect. */
const API_AWAY_MS = 30_000;

let lab: Lab;
let nodes: readonly LabNode[];

before(async () => {
  lab = await createLab();
  nodes = await lab.addNodes(['node-1', 'node-2']);
  for (const node of nodes) await node.addPod(`pod-of-${node.name}`);
});

after(() => lab.close());

async function startProbe(): Promise<Probe> {
  const [from, to] = lab.pods();
  assert.ok(from !== undefined && to !== undefined);
  await lab.endpoint(to);
  return (await lab.endpoint(from)).startProbe(to.address, { perSecond: 1000 });
}

async function expectNoLoss(
  probe: Probe,
  windows: readonly Window[],
  say: (text: string) => void,
): Promise<void> {
  const { total, disturbances } = await settle(probe, windows);
  for (const one of disturbances) {
    say(
      `${one.what}: ${one.lost} lost, back after ${one.backMs.toFixed(0)} ms, longest pause ${one.longestGapMs.toFixed(0)} ms`,
    );
  }
  // A data plane that dies after a send and before it has noted it leaves the packet to its successor, which sends it again.
  say(
    `${total.sent} probes sent, ${total.lost} lost, ${total.duplicates} twice, round trip p99 ${total.roundTripMs.p99.toFixed(2)} ms`,
  );
  assert.ok(total.sent > 0);
  assert.deepEqual({ lost: total.lost, sendErrors: total.sendErrors }, { lost: 0, sendErrors: 0 });
}

for (const role of ['dataplane', 'control'] as const) {
  test(`${role} killed with -9 ten times, on the sender's and the receiver's node in turn: nothing lost`, async (t) => {
    const probe = await startProbe();
    const windows: Window[] = [];
    for (let count = 0; count < KILLS; count += 1) {
      const agent = nodes[count % 2]?.agent;
      assert.ok(agent !== undefined);
      const what = `${role} of node-${(count % 2) + 1}`;
      windows.push(
        await disturb(probe, {
          what,
          calmAnswers: 50,
          act: () => agent.restored(role, agent.killRole(role)),
        }),
      );
    }
    await expectNoLoss(probe, windows, (text) => t.diagnostic(text));
  });
}

test('control and data plane of a node killed at once: nothing lost', async (t) => {
  const probe = await startProbe();
  const agent = nodes[0]?.agent;
  assert.ok(agent !== undefined);
  const act = async (): Promise<void> => {
    const control = agent.killRole('control');
    const dataplane = agent.killRole('dataplane');
    await Promise.all([agent.restored('control', control), agent.restored('dataplane', dataplane)]);
  };
  const window = await disturb(probe, { what: 'control and dataplane of node-1', act });
  await expectNoLoss(probe, [window], (text) => t.diagnostic(text));
});

test('API server away for 30 s: nothing lost, and the agents go on afterwards', async (t) => {
  const probe = await startProbe();
  const act = async (): Promise<void> => {
    await lab.api.kill();
    await pause(API_AWAY_MS);
    await lab.api.start();
  };
  const window = await disturb(probe, { what: 'API server', act });
  await expectNoLoss(probe, [window], (text) => t.diagnostic(text));
  const pod = await nodes[0]?.addPod('afterwards');
  await pod?.delete();
});
