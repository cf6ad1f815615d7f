// A kernel VXLAN peer and a Weft peer at once on one node, with hash-compared transfers both ways: at full speed, with the super-frames and
// partial checksums that a veth hands over; and through a cable that loses, doubles, reorders and corrupts, where a corrupted inner packet
// comes in a datagram whose outer checksum is right. WEFT_HOSTILE_BYTES sets the size of each transfer (npm run soak:hostile-path: 1 GB).
//
//   node-1 (agent) ══ hostile relay ══ underlay ──┬── node-2 (agent)
//                                                 └── kernel (vx0: VNI 1, UDP 6784)
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { runScript } from '../lab/command.ts';
import { until } from '../lab/condition.ts';
import { enterEnclosure } from '../lab/enclosure.ts';
import { WITHOUT_OFFLOADS, insertHostileCable } from '../lab/hostile-cable.ts';
import type { KernelNode } from '../lab/kernel-node.ts';
import { type Lab, type LabNode, createLab } from '../lab/lab.ts';
import type { Pod } from '../lab/pod.ts';
import { pingFrom } from '../lab/reachability.ts';
import { testSeed } from '../support/random.ts';

await enterEnclosure();

const BYTES = Number(process.env['WEFT_HOSTILE_BYTES'] ?? 64_000_000);
/** Far beyond what the machine needs: a bound for failures. */
const BOUND_MS = 60_000 + BYTES / 2000;

let lab: Lab;
let node: LabNode;
let other: LabNode;
let kernelNode: KernelNode;
let pod: Pod;
let otherPod: Pod;
let kernelPod: Pod;

before(async () => {
  lab = await createLab();
  [node, other] = (await lab.addNodes(['node-1', 'node-2'])) as [LabNode, LabNode]; // as: as many as named
  kernelNode = await lab.addKernelNode('kernel', { block: '10.47.255.192/26' });
  pod = await node.addPod('pod');
  otherPod = await other.addPod('other-pod');
  kernelPod = await kernelNode.addPod('kernel-pod');
  await lab.teach(kernelNode);
  const reached = async (): Promise<boolean> =>
    (await pingFrom(pod, [kernelPod, otherPod])).every(({ roundTripMs }) => roundTripMs !== undefined);
  await until(reached, { what: 'the agent to learn of both peers' });
  for (const one of [pod, otherPod, kernelPod]) await lab.endpoint(one); // each serves the others
});

after(() => lab.close());

/** All four at once. Throws when a hash differs. */
async function transferAll(say: (text: string) => void): Promise<void> {
  const pairs = [
    [pod, kernelPod],
    [kernelPod, pod],
    [pod, otherPod],
    [otherPod, pod],
  ] as const;
  await Promise.all(
    pairs.map(async ([from, to]) => {
      const end = await lab.endpoint(from);
      const result = await end.transfer(to.address, BYTES, { boundMs: BOUND_MS });
      assert.equal(result.receivedHash, result.sentHash, `${from.name} to ${to.name}`);
      const rate = (result.bytes * 8) / result.seconds / 1e6;
      say(`${from.name} to ${to.name}: ${result.bytes} bytes, same hash, ${rate.toFixed(0)} Mbit/s`);
    }),
  );
}

/** Segments that TCP itself refused for their checksum, so far. */
async function badSegments(at: Pod): Promise<number> {
  const table = await at.exec(['cat', '/proc/net/snmp']);
  const [names = [], values = []] = table
    .split('\n')
    .filter((line) => line.startsWith('Tcp:'))
    .map((line) => line.split(' '));
  return Number(values[names.indexOf('InCsumErrors')]);
}

test('a kernel peer and a Weft peer at once, both ways, at full speed', async (t) => {
  await transferAll((text) => t.diagnostic(text));
});

test('the same through loss, duplication, reordering and corruption', async (t) => {
  const seed = testSeed();
  t.diagnostic(`WEFT_TEST_SEED=${seed}`);
  for (const { place } of [node.namespace, other.namespace, kernelNode.node])
    await runScript(place, WITHOUT_OFFLOADS);
  const cable = await insertHostileCable('u-node-1', seed);
  let tally;
  try {
    await transferAll((text) => t.diagnostic(text));
  } finally {
    tally = await cable.remove();
  }
  for (const [way, counts] of Object.entries(tally)) {
    t.diagnostic(`${way}: ${JSON.stringify(counts)}`);
    for (const count of [counts.lost, counts.doubled, counts.held, counts.corrupted]) assert.ok(count > 0);
    assert.equal(counts.failed, 0);
  }
  const refused = await badSegments(pod);
  t.diagnostic(`${refused} corrupted segments refused by the TCP of pod`);
  assert.ok(refused > 0, 'corruption reached the pod, and no offload passed it as checked');
});
