// Where a ping ends, by which hops answered.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { PacketEnd } from '../../agent/cli/packet-ends.ts';
import { pingVerdict } from '../../agent/cli/ping-verdict.ts';
import { parseIpv4 } from '../../proto/address-text.ts';
import { mac } from '../../proto/address.ts';

const PEER = { slot: 3, address: parseIpv4('172.31.0.13'), port: 6784, vtepMac: mac(1), probes: true };
const NODE: PacketEnd = {
  address: PEER.address,
  owner: { kind: 'peer_underlay', peer: PEER },
  name: 'node-3',
  isNode: true,
};
const POD: PacketEnd = {
  address: parseIpv4('10.44.0.7'),
  owner: { kind: 'peer', peer: PEER },
  name: undefined,
  isNode: false,
};

type Answers = Readonly<Record<string, boolean | undefined>>;
const CASES: readonly (readonly [
  what: string,
  target: PacketEnd,
  dataplane: boolean | undefined,
  hops: Answers,
  verdict: RegExp,
])[] = [
  ['a node that answers', NODE, true, { underlay: true, node: true }, /^node-3 answers\.$/],
  ['a pod that answers', POD, true, { underlay: true, node: true, pod: true }, /^10\.44\.0\.7 answers\.$/],
  ['a pod behind a node that hides', POD, true, { underlay: false, node: false, pod: true }, /answers\.$/],
  [
    'a pod that is gone',
    POD,
    true,
    { underlay: true, node: true, pod: false },
    /^node-3 answers, and 10\.44/,
  ],
  ['a node that is off', NODE, false, { underlay: false, node: false }, /^Nothing of node-3 answers/],
  [
    'a tunnel that is blocked',
    NODE,
    false,
    { underlay: true, node: false },
    /its data plane does not: is UDP 6784/,
  ],
  [
    'a bridge that is gone',
    NODE,
    true,
    { underlay: true, node: false },
    /The data plane of node-3 answers, and the/,
  ],
  ['a node without a block', NODE, true, { underlay: false }, /The data plane of node-3 answers, and the/],
  [
    'a kernel VXLAN node that is off',
    NODE,
    undefined,
    { underlay: false, node: false },
    /^Nothing of node-3 answers/,
  ],
  [
    'a kernel VXLAN node that is off, by a pod of it',
    POD,
    undefined,
    { underlay: false, node: false, pod: false },
    /^Nothing of node-3 answers/,
  ],
  [
    'a kernel VXLAN node behind a blocked tunnel',
    NODE,
    undefined,
    { underlay: true, node: false },
    /^node-3 answers past the tunnel, and nothing behind it does: is UDP 6784/,
  ],
  [
    'a pod that is gone from a kernel VXLAN node whose underlay is silent',
    POD,
    undefined,
    { underlay: false, node: true, pod: false },
    /^node-3 answers, and 10\.44\.0\.7 does not/,
  ],
  [
    'an end before the pod was asked',
    POD,
    true,
    { underlay: true, node: undefined, pod: undefined },
    /was not asked/,
  ],
];

for (const [what, target, dataplane, hops, verdict] of CASES) {
  test(what, () => {
    const asked = Object.entries(hops).map(([name, isAnswered]) => ({
      name,
      tally: { sent: isAnswered === undefined ? 0 : 2, answered: isAnswered === true ? 2 : 0 },
    }));
    const peer = { name: 'node-3', port: 6784 };
    assert.match(pingVerdict(asked, { target, peer, dataplane, gateway: parseIpv4('10.32.0.1') }), verdict);
  });
}
