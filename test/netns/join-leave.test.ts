// Nodes come and go under traffic: a join costs few API writes, idling none; a deleted node is forgotten and its blocks can be claimed
// again after the quarantine.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { condition, until } from '../lab/condition.ts';
import { enterEnclosure } from '../lab/enclosure.ts';
import { type Lab, withLab } from '../lab/lab.ts';
import type { Pod } from '../lab/pod.ts';
import { pingFrom } from '../lab/reachability.ts';

await enterEnclosure();

const WRITES_PER_JOIN = 3;
const IDLE_ANSWERS = 3000;

/** Writes of agents since the server's start, refused ones too: everything but the Node objects, which the lab makes. */
async function agentWrites(lab: Lab): Promise<number> {
  const writes = await lab.api.writes();
  return writes.filter(({ resource }) => resource !== 'nodes').reduce((sum, { count }) => sum + count, 0);
}

const reachedFromAll = async (senders: readonly Pod[], to: Pod): Promise<boolean> => {
  const pings = await Promise.all(senders.map((from) => pingFrom(from, [to])));
  return pings.flat().every(({ roundTripMs }) => roundTripMs !== undefined);
};

test('join and leave under traffic: few writes, none while idle, nothing else disturbed', async (t) => {
  await withLab({ faults: true }, async (lab) => {
    await lab.addNodes(['node-1', 'node-2', 'node-3']);
    for (const node of lab.nodes) await node.addPod(`pod-of-${node.name}`);
    const residents = lab.pods();
    const [from, to] = residents;
    assert.ok(from !== undefined && to !== undefined);
    await lab.endpoint(to);
    const probe = await (await lab.endpoint(from)).startProbe(to.address, { perSecond: 1000 });

    const beforeJoin = await agentWrites(lab);
    const start = performance.now();
    const joined = await lab.addNode('node-4');
    const ready = performance.now();
    const pod = await joined.addPod('pod-of-node-4');
    await until(() => reachedFromAll(residents, pod), { what: 'everyone to reach the new node' });
    const reached = performance.now();
    t.diagnostic(
      `ready ${(ready - start).toFixed(0)} ms after its start, its first pod reachable from everyone ${(reached - ready).toFixed(0)} ms later`,
    );

    const answeredByNow = await probe.answered();
    await until(async () => (await probe.answered()) >= answeredByNow + IDLE_ANSWERS, {
      what: 'traffic to go on',
    });
    const afterJoin = await agentWrites(lab);
    t.diagnostic(`${afterJoin - beforeJoin} API writes for the join`);
    assert.ok(afterJoin - beforeJoin <= WRITES_PER_JOIN, `${afterJoin - beforeJoin} writes`);

    const idleFrom = await probe.answered();
    await until(async () => (await probe.answered()) >= idleFrom + IDLE_ANSWERS, {
      what: 'traffic to go on',
    });
    assert.equal(await agentWrites(lab), afterJoin, 'no write while idle');

    await joined.agent.stop();
    await lab.api.deleteNode('node-4');
    await until(async () => /Destination Host Unreachable/.test(await pingText(from, pod)), {
      what: 'the peers to forget the deleted node',
    });
    const peers = await lab.api.peers();
    const blocks = await lab.api.blocks();
    assert.deepEqual(peers.map(({ metadata }) => metadata.name).toSorted(), ['node-1', 'node-2', 'node-3']); // oxlint-disable-line typescript/require-array-sort-compare -- names
    // Its pods may live on for a while: nobody else gets their addresses before the quarantine is over.
    assert.notEqual(blocks.filter(({ spec }) => spec.node === 'node-4').length, 0);
    for (const resident of residents) {
      const others = residents.filter((other) => other !== resident);
      assert.equal(await reachedFromAll(others, resident), true);
    }
    await probe.finish();
    const { sent, lost, duplicates } = await probe.report();
    assert.ok(sent > 0);
    assert.deepEqual({ lost, duplicates }, { lost: 0, duplicates: 0 });
  });
});

const pingText = async (from: Pod, to: Pod): Promise<string> =>
  (await from.tryExec(['ping', '-n', '-c', '1', '-W', '1', to.address])).stdout;

// Two blocks in all: two nodes hold one each, so a third gets one only from a node that has gone.
test("a deleted node's blocks become claimable after the quarantine, not before", async () => {
  const QUARANTINE_SECONDS = 3;
  const environment = {
    IPALLOC_RANGE: '10.32.0.0/25',
    WEFT_BLOCK_QUARANTINE_SECONDS: String(QUARANTINE_SECONDS),
  };
  await withLab({}, async (lab) => {
    const [, leaving] = await lab.addNodes(['node-1', 'node-2'], { environment });
    assert.ok(leaving !== undefined);
    await until(async () => (await lab.api.blocks()).length === 2, { what: 'both nodes to hold a block' });
    const joining = await lab.addNode('node-3', { start: false });
    joining.agent.start(environment);
    await until(async () => (await lab.api.peers()).length === 3, {
      what: 'the third node to publish itself',
    });
    assert.equal((await lab.api.blocks()).filter(({ spec }) => spec.node === 'node-3').length, 0);

    await leaving.agent.stop();
    await lab.api.deleteNode('node-2');
    const freed = performance.now();
    await condition(async () => (await lab.api.blocks()).find(({ spec }) => spec.node === 'node-3'), {
      what: 'the third node to claim a freed block',
    });
    const waited = (performance.now() - freed) / 1000;
    assert.ok(waited >= QUARANTINE_SECONDS - 0.1, `claimed after ${waited.toFixed(2)} s`);
    await joining.agent.ready();
    const pod = await joining.addPod('pod');
    assert.match(pod.address, /^10\.32\.0\./);
  });
});
