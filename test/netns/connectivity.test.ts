// Every pod reaches every other, both ways. Topology: three nodes with the real agent on one underlay, four pods each.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { cidrContains, formatIpv4 } from '../../proto/address.ts';
import { parseCidr, parseIpv4 } from '../../proto/address-text.ts';
import { enterEnclosure } from '../lab/enclosure.ts';
import { type Lab, createLab } from '../lab/lab.ts';
import { countPairs, mtuOf, pingFrom, pingWholeMtu, tryTransports } from '../lab/reachability.ts';

await enterEnclosure();

const NODES = ['node-1', 'node-2', 'node-3'];
const PODS_PER_NODE = 4;
const RANGE = parseCidr('10.32.0.0/12');
const UNDERLAY_MTU = 1500;
const VXLAN_OVERHEAD = 50;

let lab: Lab;

before(async () => {
  lab = await createLab();
  await lab.addNodes(NODES);
  for (const [index, node] of lab.nodes.entries()) {
    for (let count = 1; count <= PODS_PER_NODE; count += 1) await node.addPod(`${index + 1}-${count}`);
  }
});

after(() => lab.close());

test('pod addresses are unique, from the range, and from a block of their node', async () => {
  const blocks = await lab.api.blocks();
  const addresses = lab.pods().map((pod) => parseIpv4(pod.address));
  assert.equal(new Set(addresses).size, NODES.length * PODS_PER_NODE);
  for (const pod of lab.pods()) {
    const address = parseIpv4(pod.address);
    assert.ok(cidrContains(RANGE, address), formatIpv4(address));
    const block = blocks.find(({ spec }) => cidrContains(parseCidr(spec.cidr), address));
    assert.equal(block?.spec.node, pod.nodeName);
  }
});

test('the pod interface has the address as /32, the underlay MTU less the encapsulation, and a default route', async () => {
  for (const pod of lab.pods().slice(0, 2)) {
    assert.match(
      await pod.exec(['ip', '-4', '-o', 'address', 'show', 'eth0']),
      new RegExp(`${pod.address}/32`),
    );
    assert.equal(await mtuOf(pod), UNDERLAY_MTU - VXLAN_OVERHEAD);
    assert.match(await pod.exec(['ip', 'route', 'show', 'default']), /^default via /);
  }
});

test('ICMP: every pod reaches every other, both ways', async () => {
  const pods = lab.pods();
  const results = await Promise.all(
    pods.map((from) =>
      pingFrom(
        from,
        pods.filter((to) => to !== from),
      ),
    ),
  );
  const pairs = countPairs(
    results.flat().map(({ from, to, roundTripMs }) => ({ from, to, reached: roundTripMs !== undefined })),
  );
  assert.deepEqual(pairs, { tried: 132, reached: 132, missing: [] });
});

test('ICMP: a packet of the whole MTU crosses without fragmentation, one byte more is refused', async () => {
  const [from] = lab.nodes[0]?.pods ?? [];
  const [to] = lab.nodes[1]?.pods ?? [];
  assert.ok(from !== undefined && to !== undefined);
  const mtu = await mtuOf(from);
  assert.equal(await pingWholeMtu(from, to, mtu), true);
  assert.equal(await pingWholeMtu(from, to, mtu + 1), false);
});

test('TCP and UDP: every pod reaches every other, UDP up to the MTU and fragmented above it', async () => {
  const { tcp, udp } = await tryTransports(lab, lab.pods());
  assert.deepEqual(tcp, { tried: 132, reached: 132, missing: [] });
  assert.deepEqual(udp, { tried: 132, reached: 132, missing: [] });
});

test('a node reaches a pod of another node, and the pod the node', async () => {
  const [first, second] = lab.nodes;
  const [pod] = second?.pods ?? [];
  assert.ok(first !== undefined && pod !== undefined);
  const endpoint = await lab.endpoint(first.namespace);
  await lab.endpoint(pod);
  assert.ok((await endpoint.tcpEcho(pod.address)) > 0);
  await pod.exec(['ping', '-n', '-c', '1', '-W', '2', first.address]);
});

test('a packet to an address that nobody owns is answered: host unreachable', async () => {
  const [pod] = lab.pods();
  assert.ok(pod !== undefined);
  const result = await pod.tryExec(['ping', '-n', '-c', '1', '-W', '2', '10.47.255.250']);
  assert.match(result.stdout, /Destination Host Unreachable/);
});

test('DEL frees the address, and a pod that is deleted can be attached again under the same name', async () => {
  const [node] = lab.nodes;
  assert.ok(node !== undefined);
  const pod = await node.addPod('again');
  await pod.delete();
  const second = await node.addPod('again');
  assert.notEqual(second.address, pod.address, 'a freed address goes to the back of the queue');
  await second.delete();
});
