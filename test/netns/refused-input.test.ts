// Forged and damaged datagrams are dropped, each under its own reason. (Settings that are refused: refusal.test.ts.)
//
//   stranger (the underlay itself) ─┐
//   node-2 (a true peer) ───────────┴─ UDP 6784 → node-1 ═ pod (an inbox that must stay empty)
// The stranger, and what node-1's own pod and processes forge, are refused by nftables, the rest by the data plane.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import type { RefusalReason } from '../../proto/drop-reason.ts';
import { until } from '../lab/condition.ts';
import { enterEnclosure } from '../lab/enclosure.ts';
import { type FrameParts, forgeFrame } from '../lab/forged-frame.ts';
import { VXLAN_PORT } from '../lab/kernel-node.ts';
import { type Lab, type LabNode, createLab } from '../lab/lab.ts';
import type { Pod } from '../lab/pod.ts';
import { type Endpoint, openEndpoint } from '../lab/probe/endpoint.ts';
import { ENCLOSURE, runCommand, tryCommand } from '../lab/command.ts';
import { pingFrom } from '../lab/reachability.ts';

await enterEnclosure();

const INBOX_PORT = 9000;
const COPIES = 3;

let lab: Lab;
let target: LabNode;
let peerAddress: string;
let pod: Pod;
let podEnd: Endpoint;
let peerEnd: Endpoint;
let strangerEnd: Endpoint;
let valid: FrameParts;

before(async () => {
  lab = await createLab();
  const [first, second] = await lab.addNodes(['node-1', 'node-2']);
  assert.ok(first !== undefined && second !== undefined);
  target = first;
  peerAddress = second.address;
  pod = await first.addPod('target');
  const sender = await second.addPod('sender');
  await until(async () => (await pingFrom(pod, [sender]))[0]?.roundTripMs !== undefined, {
    what: 'the nodes to know each other',
  });
  podEnd = await lab.endpoint(pod);
  await podEnd.openInbox(INBOX_PORT);
  peerEnd = await lab.endpoint(second.namespace);
  strangerEnd = await openEndpoint(ENCLOSURE);
  const peers = await lab.api.peers();
  const macOf = (name: string): string =>
    peers.find((peer) => peer.metadata.name === name)?.spec.vtepMac ?? assert.fail(`no Peer ${name}`);
  valid = {
    destinationMac: macOf('node-1'),
    sourceMac: macOf('node-2'),
    source: sender.address,
    destination: pod.address,
    destinationPort: INBOX_PORT,
    payload: 'forged',
  };
});

after(async () => {
  await strangerEnd.close();
  await lab.close();
});

/** Sum over all peers of the refused packets of a reason. */
async function dropped(reason: RefusalReason): Promise<number> {
  const metrics = await target.agent.metrics();
  return metrics
    .split('\n')
    .filter((line) => line.startsWith('weft_dropped_packets_total{') && line.includes(`reason="${reason}"`))
    .reduce((sum, line) => sum + Number(line.split(' ').pop()), 0);
}

const copies = (datagram: Uint8Array): readonly Uint8Array[] =>
  Array.from({ length: COPIES }, () => datagram);

const send = (from: Endpoint, datagram: Uint8Array): Promise<void> =>
  from.sendRaw({ address: target.address, port: VXLAN_PORT }, copies(datagram));

test('control: a datagram of the same builder with nothing wrong is delivered', async () => {
  await send(peerEnd, forgeFrame({ ...valid, payload: 'welcome' }));
  await until(async () => (await podEnd.readInbox(INBOX_PORT)).length === COPIES, {
    what: 'the datagrams to arrive',
  });
  assert.deepEqual(
    await podEnd.readInbox(INBOX_PORT),
    Array.from({ length: COPIES }, () => 'welcome'),
  );
});

const NEVER_LOCAL = '10.47.255.250';

interface Forgery {
  readonly name: string;
  readonly reason: RefusalReason;
  readonly datagram: () => Uint8Array;
  readonly from?: () => Endpoint;
}

const FORGERIES: readonly Forgery[] = [
  {
    name: 'an unknown sender',
    reason: 'unknown_sender',
    datagram: () => forgeFrame(valid),
    from: () => strangerEnd,
  },
  {
    name: 'cut inside the inner header',
    reason: 'truncated',
    datagram: () => forgeFrame(valid).subarray(0, 30),
  },
  {
    name: 'an inner total length beyond the datagram',
    reason: 'truncated',
    datagram: () => forgeFrame({ ...valid, totalLength: 1000 }),
  },
  { name: 'the I flag missing', reason: 'vxlan_flags', datagram: () => forgeFrame({ ...valid, flags: 0 }) },
  { name: 'a reserved flag', reason: 'vxlan_flags', datagram: () => forgeFrame({ ...valid, flags: 0x0c }) },
  {
    name: 'a reserved bit after the VNI',
    reason: 'vxlan_flags',
    datagram: () => forgeFrame({ ...valid, reserved: 1 }),
  },
  { name: 'a wrong VNI', reason: 'vxlan_vni', datagram: () => forgeFrame({ ...valid, vni: 2 }) },
  {
    name: 'an inner destination MAC that is not ours',
    reason: 'inner_mac',
    datagram: () => forgeFrame({ ...valid, destinationMac: '0e:00:5e:00:53:01' }),
  },
  {
    name: "an inner source MAC that is not the sender's",
    reason: 'inner_mac',
    datagram: () => forgeFrame({ ...valid, sourceMac: '0e:00:5e:00:53:01' }),
  },
  {
    name: 'an inner ARP',
    reason: 'inner_ethertype',
    datagram: () => forgeFrame({ ...valid, etherType: 0x0806 }),
  },
  {
    name: 'an inner version that is not 4',
    reason: 'inner_header',
    datagram: () => forgeFrame({ ...valid, versionAndHeaderLength: 0x65 }),
  },
  {
    name: 'an inner source that the sender does not own',
    reason: 'inner_source_not_owned',
    datagram: () => forgeFrame({ ...valid, source: NEVER_LOCAL }),
  },
  {
    name: 'an inner source that is our own',
    reason: 'inner_source_not_owned',
    datagram: () => forgeFrame({ ...valid, source: valid.destination }),
  },
  {
    name: 'an inner destination that is not local',
    reason: 'inner_destination_not_local',
    datagram: () => forgeFrame({ ...valid, destination: NEVER_LOCAL }),
  },
  {
    name: 'an inner TCP header longer than the packet',
    reason: 'inner_transport',
    datagram: () => forgeFrame({ ...valid, protocol: 6 }),
  },
];

for (const { name, reason, datagram, from } of FORGERIES) {
  test(`${name}: dropped as ${reason}`, async () => {
    const before = await dropped(reason);
    await send(from?.() ?? peerEnd, datagram());
    await until(async () => (await dropped(reason)) === before + COPIES, {
      what: `${COPIES} more packets dropped as ${reason}`,
      boundMs: 5000,
    });
  });
}

/** Copies that a program sends, not the lab's endpoint. */
const LOCAL_FORGERIES: readonly {
  readonly name: string;
  readonly reason: RefusalReason;
  readonly send: () => Promise<unknown>;
}[] = [
  {
    name: "a pod to its own node's tunnel port",
    reason: 'pod_to_tunnel',
    send: () => send(podEnd, forgeFrame(valid)),
  },
  {
    name: "a pod to another node's tunnel port",
    reason: 'pod_to_tunnel',
    send: () => podEnd.sendRaw({ address: peerAddress, port: VXLAN_PORT }, copies(forgeFrame(valid))),
  },
  {
    name: "an unprivileged process to another node's tunnel port",
    reason: 'process_to_tunnel',
    send: () =>
      tryCommand(target.namespace.place, [
        'setpriv',
        '--reuid=65534',
        '--clear-groups',
        'bash',
        '-c',
        `for i in {1..${COPIES}}; do printf x > /dev/udp/${peerAddress}/${VXLAN_PORT}; done`,
      ]),
  },
  {
    name: "a pod with another pod's source address",
    reason: 'pod_spoofed',
    send: async () => {
      const gateway = (await pod.exec(['ip', 'route', 'show', 'default'])).split(' ')[2] ?? '';
      const mac = await runCommand(target.namespace.place, ['cat', '/sys/class/net/weave/address']);
      const script = [
        // Known for good: an ARP request in the false name would be counted too.
        `ip neigh replace ${gateway} lladdr ${mac.trim()} dev eth0 nud permanent`,
        `ip addr add ${valid.source}/32 dev eth0`,
        `ping -c${COPIES} -i0.2 -W1 -I ${valid.source} ${gateway} || true`,
        `ip addr del ${valid.source}/32 dev eth0`,
      ];
      return pod.exec(['sh', '-ec', script.join('\n')]);
    },
  },
];

for (const { name, reason, send: sendCopies } of LOCAL_FORGERIES) {
  test(`${name}: dropped as ${reason}`, async () => {
    const before = await dropped(reason);
    await sendCopies();
    await until(async () => (await dropped(reason)) === before + COPIES, {
      what: `${COPIES} more packets dropped as ${reason}`,
      boundMs: 5000,
    });
  });
}

test('/status and /report tell what nftables and the data plane refused', async () => {
  const { drops } = JSON.parse(await target.agent.status('/report')) as { drops: Record<string, number> }; // as: NodeReport
  for (const reason of ['unknown_sender', 'pod_to_tunnel', 'pod_spoofed', 'vxlan_vni'] as const) {
    assert.equal(drops[reason], await dropped(reason), reason);
  }
  assert.match(await target.agent.status('/status'), /Drops: \d+ \(/);
});

const rules = (): Promise<string> =>
  runCommand(target.namespace.place, ['nft', 'list', 'chain', 'inet', 'weft', 'raw_prerouting']);

test('the counts go on when the tables are flushed by hand and a peer joins', async () => {
  const before = [await dropped('pod_to_tunnel'), await dropped('pod_spoofed')];
  const strangers = await dropped('unknown_sender');
  await runCommand(target.namespace.place, ['nft', 'flush table inet weft; flush table bridge weft']);
  await lab.addNode('node-3');
  await until(async () => (await rules()).includes('unknown_sender'), {
    what: 'the rules to be restored',
    boundMs: 20_000,
  });
  assert.deepEqual([await dropped('pod_to_tunnel'), await dropped('pod_spoofed')], before);
  // The new peer may have said something before it was known.
  assert.ok((await dropped('unknown_sender')) >= strangers);
});

test('a table that somebody deleted costs its own counts only', async () => {
  const reasons = ['vxlan_vni', 'pod_spoofed'] as const;
  const before = await Promise.all(reasons.map(dropped));
  await runCommand(target.namespace.place, ['nft', 'delete table inet weft']);
  assert.equal(await dropped('pod_to_tunnel'), 0);
  assert.deepEqual(await Promise.all(reasons.map(dropped)), before);
});

test('nothing of what was forged reached the pod', async () => {
  assert.equal((await podEnd.readInbox(INBOX_PORT)).filter((payload) => payload === 'forged').length, 0);
});
