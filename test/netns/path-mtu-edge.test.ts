// Every packet size within 80 bytes of an MTU's edge, UDP, UDP super-packets and TCP, with DF and without, both ways: delivered, or refused
// with the right ICMP error. Two edges: that of a path narrower than the device (narrow-link.ts), and the device's own.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { until } from '../lab/condition.ts';
import { enterEnclosure } from '../lab/enclosure.ts';
import { type Lab, type LabNode, createLab } from '../lab/lab.ts';
import { type NarrowLink, createNarrowLink } from '../lab/narrow-link.ts';
import { pathsAre } from '../lab/path-mtu.ts';
import type { CniResult, Pod } from '../lab/pod.ts';
import type { EdgeAnswer, EdgeSweep } from '../lab/probe/protocol.ts';

await enterEnclosure();

const DEVICE_MTU = 1450;
const NARROW_MTU = 1400;
const PATH_MTU = NARROW_MTU - 50;
const AROUND = 80;

type AttachedPod = Pod & { readonly result: CniResult };

let lab: Lab;
let narrow: NarrowLink;
let near: AttachedPod;
let far: AttachedPod;
let beside: AttachedPod;

before(async () => {
  lab = await createLab();
  const nodes: LabNode[] = [];
  for (const name of ['near', 'far', 'beside']) nodes.push(await lab.addNode(name, { start: false }));
  const [nearNode, farNode, besideNode] = nodes;
  assert.ok(nearNode !== undefined && farNode !== undefined && besideNode !== undefined);
  narrow = await createNarrowLink(farNode.namespace);
  for (const { agent } of nodes) agent.start();
  await Promise.all(nodes.map(({ agent }) => agent.ready()));
  [near, far, beside] = await Promise.all([
    nearNode.addPod('near'),
    farNode.addPod('far'),
    besideNode.addPod('beside'),
  ]);
  await narrow.setMtu(NARROW_MTU); // not before: the agents' way to the API is as narrow
  const isFar = (...pair: LabNode[]): boolean => pair.includes(farNode);
  await until(() => pathsAre(nodes, (from, to) => (isFar(from, to) ? PATH_MTU : DEVICE_MTU)), {
    what: 'the paths to be found',
  });
});

after(async () => {
  await narrow.remove();
  await lab.close();
});

interface Way {
  readonly from: AttachedPod;
  readonly to: AttachedPod;
}

async function sweep(
  { from, to }: Way,
  what: Pick<EdgeSweep, 'transport' | 'dontFragment' | 'segments'>,
  edge: number,
): Promise<readonly EdgeAnswer[]> {
  await lab.endpoint(to);
  const sizes = Array.from({ length: 2 * AROUND + 1 }, (_, index) => edge - AROUND + index);
  return (await lab.endpoint(from)).sweepEdge({ target: to.address, sizes, ...what });
}

const gatewayOf = (pod: AttachedPod): string => pod.result.ips[0]?.gateway ?? '';

/** What must become of a packet with DF on a path of that MTU. */
function expected(bytes: number, from: AttachedPod, pathMtu: number): EdgeAnswer {
  if (bytes > DEVICE_MTU) return { bytes, outcome: 'local' };
  if (bytes > pathMtu) return { bytes, outcome: 'icmp', mtu: pathMtu, from: gatewayOf(from) };
  return { bytes, outcome: 'delivered' };
}

const WAYS: readonly {
  readonly name: string;
  readonly pathMtu: number;
  readonly ways: () => readonly Way[];
}[] = [
  {
    name: 'a narrow path',
    pathMtu: PATH_MTU,
    ways: () => [
      { from: near, to: far },
      { from: far, to: near },
    ],
  },
  {
    name: "the device's edge",
    pathMtu: DEVICE_MTU,
    ways: () => [
      { from: near, to: beside },
      { from: beside, to: near },
    ],
  },
];

for (const { name, pathMtu, ways } of WAYS) {
  for (const segments of [1, 3]) {
    const units = segments === 1 ? 'UDP' : 'UDP super-packets';

    test(`${name}: ${units} without DF: all delivered`, async () => {
      const what = { transport: 'udp', dontFragment: false, segments } as const;
      const swept = await Promise.all(ways().map((way) => sweep(way, what, pathMtu)));
      for (const answers of swept) {
        for (const answer of answers) {
          // A super-packet's segments must fit the device: the pod's kernel says so.
          const fits = segments === 1 || answer.bytes <= DEVICE_MTU;
          assert.deepEqual(answer, { bytes: answer.bytes, outcome: fits ? 'delivered' : 'local' });
        }
      }
    });

    test(`${name}: ${units} with DF: delivered or the right ICMP`, async () => {
      const what = { transport: 'udp', dontFragment: true, segments } as const;
      const all = ways();
      const swept = await Promise.all(all.map((way) => sweep(way, what, pathMtu)));
      for (const [index, answers] of swept.entries()) {
        const from = all[index]?.from;
        assert.ok(from !== undefined);
        assert.deepEqual(
          answers,
          answers.map(({ bytes }) => expected(bytes, from, pathMtu)),
        );
      }
    });
  }

  for (const dontFragment of [false, true]) {
    test(`${name}: TCP ${dontFragment ? 'with' : 'without'} DF: all delivered`, async () => {
      const what = { transport: 'tcp', dontFragment, segments: 1 } as const;
      for (const answers of await Promise.all(ways().map((way) => sweep(way, what, pathMtu)))) {
        assert.deepEqual(
          answers,
          answers.map(({ bytes }) => ({ bytes, outcome: 'delivered' })),
        );
      }
    });
  }
}

test('what was refused for its path was counted, on both sides of the narrow one and for that peer alone', async () => {
  for (const [node, peer] of [
    [lab.nodes[0], 'far'],
    [lab.nodes[1], 'near'],
  ] as const) {
    const metrics = (await node?.agent.metrics()) ?? '';
    const counted = [
      ...metrics.matchAll(/^weft_dropped_packets_total\{reason="egress_path_mtu",peer="([^"]+)"\} (\d+)$/gm),
    ];
    assert.deepEqual(
      counted.map(([, name]) => name),
      [peer],
    );
    assert.ok(Number(counted[0]?.[2]) >= 3 * AROUND, `${counted[0]?.[2]} for UDP, super-packets and TCP`);
  }
});
