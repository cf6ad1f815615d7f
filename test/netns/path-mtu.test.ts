// Paths that carry less than the node's own interface, and links that change while pods talk: TCP goes on by itself, UDP is fragmented or its
// sender told, and every change is followed within seconds. The narrow link (narrow-link.ts) is a black hole: its routers say nothing.
//
//   node-1 ── underlay ── node-3
//                 ╰── router ── 1500, later 1400 ── router ── node-2
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';

import { ENCLOSURE, runScript } from '../lab/command.ts';
import { condition, until } from '../lab/condition.ts';
import { enterEnclosure } from '../lab/enclosure.ts';
import { type Lab, type LabNode, createLab } from '../lab/lab.ts';
import { type NarrowLink, createNarrowLink } from '../lab/narrow-link.ts';
import { pathsAre } from '../lab/path-mtu.ts';
import type { CniResult, Pod } from '../lab/pod.ts';
import { mtuOf, pingWholeMtu, udpSizes } from '../lab/reachability.ts';

await enterEnclosure();

const FULL = 1450;
const NARROW = 1350;
const JUMBO = 8950;
const TRANSFER_BYTES = 300_000_000;

let lab: Lab;
let narrow: NarrowLink;
let nodes: readonly LabNode[];
const pods: (Pod & { readonly result: CniResult })[] = [];

const nodeOf = (index: number): LabNode => nodes[index] ?? assert.fail(`no node ${index}`);
const podOf = (index: number): (typeof pods)[number] => pods[index] ?? assert.fail(`no pod ${index}`);
const podEnd = (index: number): ReturnType<Lab['endpoint']> => lab.endpoint(podOf(index));
const log = (index: number): string => readFileSync(nodeOf(index).agent.logFile, 'utf8');

before(async () => {
  lab = await createLab();
  const made: LabNode[] = [];
  for (const name of ['node-1', 'node-2', 'node-3']) made.push(await lab.addNode(name, { start: false }));
  nodes = made;
  narrow = await createNarrowLink(nodeOf(1).namespace);
  for (const { agent } of nodes) agent.start();
  await Promise.all(nodes.map(({ agent }) => agent.ready()));
  for (const node of nodes) pods.push(await node.addPod(`pod-of-${node.name}`));
  for (const pod of pods) await lab.endpoint(pod);
});

after(async () => {
  await narrow.remove();
  await lab.close();
});

/** Milliseconds until every path is as expected. */
async function settled(
  what: string,
  expected: (from: LabNode, to: LabNode) => number,
  boundMs = 20_000,
): Promise<number> {
  const start = performance.now();
  await until(() => pathsAre(nodes, expected), { what, boundMs });
  return Math.round(performance.now() - start);
}

const behindLink = (mtu: number, otherwise = FULL) => {
  return (from: LabNode, to: LabNode): number => ([from, to].includes(nodeOf(1)) ? mtu : otherwise);
};

const sentTo = async (from: number, to: number): Promise<number> => {
  const peer = nodeOf(to).name;
  const found = new RegExp(`^weft_bytes_total\\{direction="egress",peer="${peer}"\\} (\\d+)`, 'm').exec(
    await nodeOf(from).agent.metrics(),
  );
  return Number(found?.[1] ?? 0);
};

test('paths that carry what the interface does are left alone', async () => {
  await settled('the paths to be known', () => FULL);
  assert.equal(await pingWholeMtu(podOf(0), podOf(1), FULL), true);
});

for (const [from, to] of [
  [0, 1],
  [1, 2],
] as const) {
  test(`a link becomes a black hole for large packets under TCP from node-${from + 1} to node-${to + 1}: the transfer goes on`, async (t) => {
    await narrow.setMtu(1500);
    await settled('the path to be wide', () => FULL);
    const lostBefore = await narrow.lost();
    const transfer = (await podEnd(from)).transfer(podOf(to).address, TRANSFER_BYTES);
    await until(async () => (await sentTo(from, to)) > 20_000_000, { what: 'the transfer to be under way' });
    await narrow.setMtu(1400);
    const foundMs = await settled('the narrow paths to be found', behindLink(NARROW));
    const { sentHash, receivedHash, seconds } = await transfer;
    const lost = (await narrow.lost()) - lostBefore;
    t.diagnostic(
      `all paths found after ${foundMs} ms; ${seconds.toFixed(1)} s in all; ${lost} packets lost in the link`,
    );
    assert.equal(receivedHash, sentHash);
    assert.ok(lost > 0, 'the link was a black hole indeed');
  });
}

test('the log and the status pages tell of the narrow paths', async () => {
  assert.match(log(0), /"event":"path_mtu_lowered","peer":"node-2","path_mtu":1350,"path_mtu_before":1450/);
  assert.doesNotMatch(log(0), /"path_mtu_lowered","peer":"node-3"/);
  assert.match(await nodeOf(0).agent.status('/status/peers'), /^node-2 .* 1350 /m);
  assert.match(await nodeOf(0).agent.status('/status/peers'), /^node-3 .* 1450 /m);
});

test('UDP on the narrow paths: every size comes and goes', async () => {
  for (const [from, to] of [
    [0, 1],
    [1, 0],
    [1, 2],
  ] as const) {
    const sizes = [...udpSizes(NARROW), ...udpSizes(FULL), 60_000];
    const end = await podEnd(from);
    // The first that have DF are refused with an error, which the kernels heed from then on.
    for (const size of sizes) {
      await until(async () => (await end.udpEcho(podOf(to).address, [size]))[0]?.intact === true, {
        what: `an echo of ${size} bytes`,
      });
    }
    assert.equal((await end.udpEcho(podOf(to).address, sizes)).length, sizes.length);
  }
});

test('a data plane that is killed leaves the paths to its successor', async () => {
  const { agent } = nodeOf(0);
  await agent.restored('dataplane', agent.killRole('dataplane'));
  assert.equal(await pathsAre(nodes, behindLink(NARROW)), true);
  const { sentHash, receivedHash } = await (await podEnd(0)).transfer(podOf(1).address, TRANSFER_BYTES / 10);
  assert.equal(receivedHash, sentHash);
});

test('the link carries more again: the paths grow by themselves', async (t) => {
  await narrow.setMtu(1500);
  t.diagnostic(`grown after ${await settled('the paths to grow', () => FULL)} ms`);
  await condition(
    () => /"event":"path_mtu_raised","peer":"node-2","path_mtu":1450/.exec(log(0)) ?? undefined,
    {
      what: 'the log to tell of it',
    },
  );
  await podOf(0).exec(['ip', 'route', 'flush', 'cache']); // as the kernel does by itself after ten minutes
  assert.equal(await pingWholeMtu(podOf(0), podOf(1), FULL), true);
});

const deviceMtu = async ({ namespace }: LabNode, device: string): Promise<number> =>
  Number(await runScript(namespace.place, [`cat /sys/class/net/${device}/mtu`]));

async function setUnderlay(node: LabNode, mtu: number): Promise<void> {
  await runScript(ENCLOSURE, [`ip link set ${node.namespace.cable} mtu ${mtu}`]);
  await runScript(node.namespace.place, [`ip link set eth0 mtu ${mtu}`]);
}

async function followed(node: LabNode, mtu: number): Promise<number> {
  const start = performance.now();
  const isFollowed = async (): Promise<boolean> =>
    (await deviceMtu(node, 'weft0')) === mtu && (await deviceMtu(node, 'weave')) === mtu;
  await until(isFollowed, { what: `an MTU of ${mtu} on "${node.name}"` });
  return Math.round(performance.now() - start);
}

test("the underlay's MTU is lowered and raised under a running agent: the device follows, pods go on", async (t) => {
  const node = nodeOf(2);
  await setUnderlay(node, 1300);
  t.diagnostic(`lower: followed after ${await followed(node, 1250)} ms`);
  // A bridge, and a veth that receives, leave room for a VLAN tag of four bytes: towards the node the path takes so much more.
  const own = (from: LabNode, to: LabNode): number => (from === node ? 1250 : to === node ? 1254 : FULL);
  t.diagnostic(`paths after ${await settled('the paths to follow', own)} ms`);
  for (const [from, to] of [
    [2, 0],
    [0, 2],
  ] as const) {
    const { sentHash, receivedHash } = await (
      await podEnd(from)
    ).transfer(podOf(to).address, TRANSFER_BYTES / 10);
    assert.equal(receivedHash, sentHash);
  }
  assert.equal(await mtuOf(podOf(2)), FULL, 'a pod keeps the MTU of its ADD');
  assert.equal(await mtuOf(await node.addPod('born-narrow')), 1250);
  await setUnderlay(node, 1500);
  t.diagnostic(`higher: followed after ${await followed(node, FULL)} ms`);
  t.diagnostic(`paths after ${await settled('the paths to follow', () => FULL)} ms`);
  assert.match(log(2), /"event":"mtu_changed"/);
  assert.doesNotMatch(log(2), /"event":"network_repaired"/);
});

test('jumbo frames are used where they are there, towards the others not', async (t) => {
  for (const index of [0, 2]) await setUnderlay(nodeOf(index), 9000);
  for (const index of [0, 2]) t.diagnostic(`followed after ${await followed(nodeOf(index), JUMBO)} ms`);
  const paths = behindLink(FULL, JUMBO);
  t.diagnostic(`paths after ${await settled('the paths to follow', paths)} ms`);
  const [large, other] = [await nodeOf(0).addPod('large'), await nodeOf(2).addPod('other')];
  assert.deepEqual([await mtuOf(large), await mtuOf(other)], [JUMBO, JUMBO]);
  assert.equal(await pingWholeMtu(large, other, JUMBO), true);
  assert.equal(await pingWholeMtu(other, large, JUMBO), true);
  for (const to of [other, podOf(1)]) {
    await lab.endpoint(to);
    const { sentHash, receivedHash } = await (
      await lab.endpoint(large)
    ).transfer(to.address, TRANSFER_BYTES / 10);
    assert.equal(receivedHash, sentHash);
  }
});
