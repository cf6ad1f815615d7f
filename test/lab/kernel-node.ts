// A node without an agent: the kernel's own vxlan device, programmed as flannel does it. The oracle of the differential tests and
// the baseline of the demo's throughput.
//
//   pod eth0 10.x/32 ═ veth ═ k-<pod> :node ── route of each remote block via its first address, onlink ── vx0 (nolearning)
//   permanent neighbour: block's first address → the peer's VTEP MAC; FDB: VTEP MAC → the peer's underlay address
import { createHash } from 'node:crypto';

import { runScript } from './command.ts';
import type { NodeNamespace } from './node-namespace.ts';
import type { Pod } from './pod.ts';
import { attachRoutedPod, firstAddress, nthAddress } from './routed-pod.ts';

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
      return attachRoutedPod(node, {
        name,
        address,
        mtu,
        hostInterface: `k-${podCount}`,
      });
    },
  };
}
