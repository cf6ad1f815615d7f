// A pod without a CNI plugin: a veth pair between its namespace and the node, which routes to it. How the node's packets leave is another's.
import { runScript } from './command.ts';
import type { NodeNamespace } from './node-namespace.ts';
import { type Pod, createSandbox, podOf } from './pod.ts';

export interface PodLink {
  readonly name: string;
  readonly address: string;
  readonly mtu: number;
  readonly hostInterface: string;
}

export const firstAddress = (cidr: string): string => cidr.split('/')[0] ?? cidr;

/** Of a block whose last octet does not overflow. */
export function nthAddress(block: string, index: number): string {
  const octets = firstAddress(block).split('.').map(Number);
  return [...octets.slice(0, 3), (octets[3] ?? 0) + index].join('.');
}

export async function attachRoutedPod(node: NodeNamespace, link: PodLink): Promise<Pod> {
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
