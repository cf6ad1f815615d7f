// A node without an agent: the kernel's own vxlan device, programmed as flannel does it. The oracle of the differential tests and
// the baseline of the demo's throughput.
//
//   pod eth0 10.x/32 ═ veth ═ k-<pod> :node ── route of each remote block via its first address, onlink ── vx0 (nolearning)
//   permanent neighbour: block's first address → the peer's VTEP MAC; FDB: VTEP MAC → the peer's underlay address
import { createHash } from 'node:crypto';

import { runScript } from './command.ts';
import type { NodeNamespace } from './node-namespace.ts';
import { type Pod, createSandbox, podOf } from './pod.ts';

export interface KernelPeer {
  readonly address: string;
  readonly vtepMac: string;
  /** CIDRs of its blocks. */
  readonly blocks: readonly string[];
}

export interface KernelNode extends KernelPeer {
  readonly node: NodeNamespace;
  readonly block: string;
  /** Replaces what the device knows about a peer, known by its VTEP MAC. */
  readonly learn: (peer: KernelPeer) => Promise<void>;
  readonly addPod: (name: string) => Promise<Pod>;
}

export interface KernelNodeOptions {
  /** Of the form 10.47.255.192/26; its first address is the device's. */
  readonly block: string;
  readonly vni?: number;
  readonly port?: number;
}

export const VXLAN_PORT = 6784;
const VXLAN_OVERHEAD = 50;
const UNDERLAY_MTU = 1500;

const firstAddress = (cidr: string): string => cidr.split('/')[0] ?? cidr;

/** Locally administered, derived from the node's name. */
const macOf = (name: string): string =>
  `0e:${createHash('sha256')
    .update(name)
    .digest('hex')
    .slice(0, 10)
    .replace(/(..)(?!$)/g, '$1:')}`;

export async function createKernelNode(node: NodeNamespace, options: KernelNodeOptions): Promise<KernelNode> {
  const { block, vni = 1, port = VXLAN_PORT } = options;
  const vtepMac = macOf(node.name);
  const mtu = UNDERLAY_MTU - VXLAN_OVERHEAD;
  await runScript(node.place, [
    'echo 1 >/proc/sys/net/ipv4/ip_forward',
    `ip link add vx0 type vxlan id ${vni} local ${node.address} dev eth0 dstport ${port} nolearning`,
    `ip link set vx0 address ${vtepMac} mtu ${mtu}`,
    `ip address add ${firstAddress(block)}/32 dev vx0`,
    'ip link set vx0 up',
  ]);
  // The block's own addresses that no pod has must not leave through the default route.
  await runScript(node.place, [`ip route add unreachable ${block}`]);
  let podCount = 0;
  return {
    node,
    block,
    vtepMac,
    address: node.address,
    blocks: [block],
    learn: async (peer) => {
      await runScript(node.place, [
        `bridge fdb replace ${peer.vtepMac} dev vx0 dst ${peer.address} self permanent`,
        ...peer.blocks.flatMap((cidr) => [
          `ip neighbour replace ${firstAddress(cidr)} lladdr ${peer.vtepMac} dev vx0 nud permanent`,
          `ip route replace ${cidr} via ${firstAddress(cidr)} dev vx0 onlink`,
        ]),
      ]);
    },
    addPod: async (name) => {
      podCount += 1;
      const address = nthAddress(block, podCount + 1);
      return attach(node, {
        name,
        address,
        mtu,
        hostInterface: `k-${podCount}`,
      });
    },
  };
}

function nthAddress(block: string, index: number): string {
  const octets = firstAddress(block).split('.').map(Number);
  return [...octets.slice(0, 3), (octets[3] ?? 0) + index].join('.');
}

async function attach(
  node: NodeNamespace,
  link: { name: string; address: string; mtu: number; hostInterface: string },
): Promise<Pod> {
  const sandbox = await createSandbox(node, link.name);
  const netns = sandbox.netnsPath.split('/').pop() ?? '';
  await runScript(node.place, [
    `ip link add ${link.hostInterface} mtu ${link.mtu} type veth peer name eth0 mtu ${link.mtu} netns ${netns}`,
    // An address on the near end, so that the pod's gateway answers ARP.
    `ip address add 169.254.1.1/32 dev ${link.hostInterface}`,
    `ip link set ${link.hostInterface} up`,
    `ip route add ${link.address}/32 dev ${link.hostInterface}`,
  ]);
  await runScript(sandbox.place, [
    'ip link set lo up',
    `ip address add ${link.address}/32 dev eth0`,
    'ip link set eth0 up',
    'ip route add default via 169.254.1.1 dev eth0 onlink',
  ]);
  return podOf({ node, sandbox, address: link.address, remove: sandbox.remove });
}
