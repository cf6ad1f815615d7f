// A new agent takes over from the one that runs on the node (docs/decisions/0013): under 1,000 probes/s between pods of two nodes nothing
// is lost, whoever of the two dies at which moment. Losses are counted by sequence number; times are printed, never asserted.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';

import { until } from '../lab/condition.ts';
import { type Window, disturb, settle } from '../lab/disturbance.ts';
import { enterEnclosure } from '../lab/enclosure.ts';
import { type Lab, type LabNode, createLab } from '../lab/lab.ts';
import type { Probe } from '../lab/probe/endpoint.ts';
import { pingFrom } from '../lab/reachability.ts';

await enterEnclosure();

const UPGRADES = 4;

let lab: Lab;
let nodes: readonly LabNode[];
let node: LabNode;

before(async () => {
  lab = await createLab();
  nodes = await lab.addNodes(['node-1', 'node-2']);
  for (const each of nodes) await each.addPod(`pod-of-${each.name}`);
  node = nodes[0]!; // !: two were added
});

after(() => lab.close());

async function startProbe(): Promise<Probe> {
  const [from, to] = lab.pods();
  assert.ok(from !== undefined && to !== undefined);
  await lab.endpoint(to);
  return (await lab.endpoint(from)).startProbe(to.address, { perSecond: 1000 });
}

/** Runs `act` under probes, which must all arrive; then a pod can be attached and detached. */
async function withoutLoss(
  acts: readonly { readonly what: string; readonly act: () => Promise<void> }[],
  say: (text: string) => void,
): Promise<void> {
  const probe = await startProbe();
  const windows: Window[] = [];
  for (const { what, act } of acts) windows.push(await disturb(probe, { what, act }));
  const { total, disturbances } = await settle(probe, windows);
  for (const { what, lost, backMs, longestGapMs } of disturbances) {
    say(`${what}: ${lost} lost, took ${backMs.toFixed(0)} ms, longest pause ${longestGapMs.toFixed(0)} ms`);
  }
  say(`${total.sent} probes sent, ${total.lost} lost, ${total.duplicates} twice`);
  assert.deepEqual({ lost: total.lost, sendErrors: total.sendErrors }, { lost: 0, sendErrors: 0 });
  for (const each of nodes) await (await each.addPod(`afterwards-on-${each.name}`)).delete();
}

const events = ({ agent }: LabNode, event: string): number =>
  readFileSync(agent.logFile, 'utf8').split(`"event":"${event}"`).length - 1;

const packetsSent = async (): Promise<number> =>
  Number(
    /^weft_packets_total\{direction="egress",peer="node-2"\} (\d+)$/m.exec(await node.agent.metrics())?.[1],
  );

/** Resolves when the new agent has found the old one. */
async function metOld(act: () => void): Promise<void> {
  const before = events(node, 'hand_over_started');
  act();
  await until(() => events(node, 'hand_over_started') > before, {
    what: 'the new agent to find the old one',
  });
}

test(`${UPGRADES} upgrades, on the sender's and the receiver's node in turn: nothing lost, counters go on`, async (t) => {
  const addresses = lab.pods().map(({ address }) => address);
  const sentBefore = await packetsSent();
  const upgrades = Array.from({ length: UPGRADES }, (_, count) => {
    const { name, agent } = nodes[count % 2]!; // !: two nodes
    return {
      what: `upgrade of ${name}`,
      act: async () => {
        const next = agent.startBeside();
        await next.ready();
        await next.replaceOld();
      },
    };
  });
  await withoutLoss(upgrades, (text) => t.diagnostic(text));
  assert.deepEqual(
    lab.pods().map(({ address }) => address),
    addresses,
  );
  assert.ok((await packetsSent()) > sentBefore, 'the counters went on');
});

test('the new agent is killed while it warms up: the old one has never stopped', async (t) => {
  const act = async (): Promise<void> => {
    let next: ReturnType<typeof node.agent.startBeside> | undefined;
    await metOld(() => (next = node.agent.startBeside()));
    await next?.process.kill();
  };
  await withoutLoss([{ what: 'the new one killed', act }], (text) => t.diagnostic(text));
});

test('the new agent is killed after it took over: the old one goes on', async (t) => {
  const act = async (): Promise<void> => {
    const next = node.agent.startBeside();
    await next.ready();
    const failures = events(node, 'hand_over_failed');
    await next.process.kill();
    await until(() => events(node, 'hand_over_failed') > failures, { what: 'the old one to notice' });
    await node.agent.ready();
  };
  await withoutLoss([{ what: 'the new one killed', act }], (text) => t.diagnostic(text));
});

test('an agent that waits to be stopped stays idle when its successor ends after handing over itself', async (t) => {
  const act = async (): Promise<void> => {
    const second = node.agent.startBeside();
    await second.ready();
    const third = node.agent.startBeside();
    await third.ready();
    const failures = events(node, 'hand_over_failed');
    const active = node.agent.pidOf('dataplane');
    await second.process.kill();
    await third.replaceOld();
    assert.deepEqual([events(node, 'hand_over_failed'), node.agent.pidOf('dataplane')], [failures, active]);
  };
  await withoutLoss([{ what: 'the second of three killed', act }], (text) => t.diagnostic(text));
});

test('the old agent is killed while the new one warms up: the new one holds its descriptors', async (t) => {
  const act = async (): Promise<void> => {
    let next: ReturnType<typeof node.agent.startBeside> | undefined;
    await metOld(() => (next = node.agent.startBeside()));
    await node.agent.kill();
    await next?.replaceOld();
    await next?.ready();
  };
  await withoutLoss([{ what: 'the old one killed', act }], (text) => t.diagnostic(text));
});

test('an upgrade to another port: the sockets are opened afresh, and the peers learn of it', async () => {
  const next = node.agent.startBeside({ WEFT_PORT: '6790' });
  await next.ready();
  await next.replaceOld();
  const [to, from] = lab.pods();
  assert.ok(from !== undefined && to !== undefined);
  const reached = async (): Promise<boolean> => (await pingFrom(from, [to]))[0]?.roundTripMs !== undefined;
  await until(reached, { what: 'the peers to use the other port' });
});
