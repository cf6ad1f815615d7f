// Nothing is lost at speed: 50,000 numbered datagrams a second from a pod of one node to a pod of another while data planes and controls are
// killed with -9. What arrives while no data plane runs waits in the queues of the descriptors that the keeper holds. Losses are counted by
// number; the rate that the machine had room for and the pauses are printed, never asserted.
import assert from 'node:assert/strict';
import { type TestContext, after, before, test } from 'node:test';

import { until } from '../lab/condition.ts';
import { enterEnclosure } from '../lab/enclosure.ts';
import { type Lab, type LabNode, createLab } from '../lab/lab.ts';
import { type PacedLoad, startPacedLoad } from '../lab/paced-load.ts';

await enterEnclosure();

const PER_SECOND = 50_000;
const BYTES = 64;
const KILLS = { dataplane: 6, control: 4 } as const;
/** Half a second of calm traffic before the next kill. */
const CALM = PER_SECOND / 2;

let lab: Lab;
let nodes: readonly LabNode[];

before(async () => {
  lab = await createLab();
  nodes = await lab.addNodes(['node-1', 'node-2']);
  for (const node of nodes) await node.addPod(`pod-of-${node.name}`);
});

after(() => lab.close());

async function startLoad(t: TestContext): Promise<PacedLoad> {
  const [from, to] = lab.pods();
  assert.ok(from !== undefined && to !== undefined);
  const load = await startPacedLoad({ from, to, perSecond: PER_SECOND, bytes: BYTES });
  t.after(() => load.stop());
  await calm(load);
  return load;
}

async function calm(load: PacedLoad): Promise<void> {
  const { received } = load.arrived();
  await until(() => load.arrived().received >= received + CALM, { what: `${CALM} more datagrams` });
}

async function expectNoLoss(load: PacedLoad, say: (text: string) => void): Promise<void> {
  const { sent, failed, seconds, lost, doubled, reordered, pause_us } = await load.finish();
  say(
    `${sent} sent at ${(sent / seconds).toFixed(0)}/s, ${lost} lost, ${doubled} twice, ${reordered} out of order; ` +
      `longest pause ${(pause_us / 1000).toFixed(0)} ms`,
  );
  assert.deepEqual({ lost, failed }, { lost: 0, failed: 0 });
}

test(`${PER_SECOND} datagrams/s, nobody killed: nothing lost`, async (t) => {
  const load = await startLoad(t);
  await calm(load);
  await expectNoLoss(load, (text) => t.diagnostic(text));
});

for (const role of ['dataplane', 'control'] as const) {
  test(`${PER_SECOND} datagrams/s, ${role} killed with -9 ${KILLS[role]} times, on both nodes in turn: nothing lost`, async (t) => {
    const load = await startLoad(t);
    for (let count = 0; count < KILLS[role]; count += 1) {
      const agent = nodes[count % nodes.length]?.agent;
      assert.ok(agent !== undefined);
      await agent.restored(role, agent.killRole(role));
      await calm(load);
    }
    await expectNoLoss(load, (text) => t.diagnostic(text));
  });
}
