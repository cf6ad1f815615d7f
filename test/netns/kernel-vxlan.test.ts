// Differential: a node that is the kernel's own vxlan device, programmed as flannel does it, against nodes with the agent.
//
//   pod ═ node-1 (agent: TUN, UDP 6784) ── underlay ── kernel (vx0: VNI 1, UDP 6784) ═ pod
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { until } from '../lab/condition.ts';
import { enterEnclosure } from '../lab/enclosure.ts';
import { type Lab, createLab } from '../lab/lab.ts';
import type { Pod } from '../lab/pod.ts';
import type { Endpoint } from '../lab/probe/endpoint.ts';
import { mtuOf, pingFrom, pingWholeMtu, udpSizes } from '../lab/reachability.ts';

await enterEnclosure();

const TRANSFER_BYTES = 100_000_000;

let lab: Lab;
let pod: Pod;
let kernelPod: Pod;
let podEnd: Endpoint;
let kernelEnd: Endpoint;

before(async () => {
  lab = await createLab();
  const node = await lab.addNode('node-1');
  const kernelNode = await lab.addKernelNode('kernel', { block: '10.47.255.192/26' });
  pod = await node.addPod('pod');
  kernelPod = await kernelNode.addPod('kernel-pod');
  await lab.teach(kernelNode);
  await until(async () => (await pingFrom(pod, [kernelPod]))[0]?.roundTripMs !== undefined, {
    what: 'the agent to learn of the kernel node',
  });
  podEnd = await lab.endpoint(pod);
  kernelEnd = await lab.endpoint(kernelPod);
});

after(() => lab.close());

test('ICMP both ways, up to the whole MTU', async () => {
  const mtu = await mtuOf(pod);
  assert.equal(await mtuOf(kernelPod), mtu, 'both sides leave the same room for the encapsulation');
  assert.equal(await pingWholeMtu(pod, kernelPod, mtu), true);
  assert.equal(await pingWholeMtu(kernelPod, pod, mtu), true);
});

test('UDP both ways, every size intact', async () => {
  const sizes = [...udpSizes(await mtuOf(pod)), 60_000];
  for (const [from, to] of [[podEnd, kernelPod] as const, [kernelEnd, pod] as const]) {
    const answers = await from.udpEcho(to.address, sizes);
    assert.deepEqual(
      answers.map(({ bytes, intact }) => [bytes, intact]),
      sizes.map((bytes) => [bytes, true]),
    );
  }
});

test('TCP from the agent to the kernel: 100 MB, same hash', async () => {
  const { sentHash, receivedHash } = await podEnd.transfer(kernelPod.address, TRANSFER_BYTES);
  assert.equal(receivedHash, sentHash);
});

// Over veth the kernel hands over super-frames of up to 64 kB whose inner checksum is only the pseudo-header's sum (traps 1 and 2).
test('TCP from the kernel to the agent: 100 MB, same hash, with offloads on the kernel side', async () => {
  const { sentHash, receivedHash } = await kernelEnd.transfer(pod.address, TRANSFER_BYTES);
  assert.equal(receivedHash, sentHash);
});

test('TCP from the kernel to the agent with the offloads of its devices off: every frame is whole on the wire', async () => {
  const off = ['ethtool', '-K', 'eth0', 'tx', 'off', 'tso', 'off', 'gso', 'off'];
  await kernelPod.exec(off);
  const { sentHash, receivedHash } = await kernelEnd.transfer(pod.address, TRANSFER_BYTES / 10);
  assert.equal(receivedHash, sentHash);
});

test('the agent counts no refused packet of a well-behaved kernel peer', async () => {
  const metrics = (await lab.nodes[0]?.agent.metrics()) ?? '';
  const ingress = metrics
    .split('\n')
    .filter(
      (line) => /^weft_dropped_packets_total\{.*reason="(?!egress_)/.test(line) && !line.endsWith(' 0'),
    );
  assert.deepEqual(ingress, []);
});
