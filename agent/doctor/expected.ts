// What the node's network should be, from what the agent tells and, where it does not answer, from the settings and the kernel itself. Pure.
import { type Cidr, type Ipv4 } from '../../proto/address.ts';
import { parseCidr, parseIpv4 } from '../../proto/address-text.ts';
import type { Link } from '../../proto/rtnetlink-link.ts';
import { addressOfAlias, POD_PORT_PREFIX } from '../control/node/pod-ports.ts';
import { BRIDGE, ROUTE_PROTOCOL, TUN } from '../control/node/range-conflicts.ts';
import { largestPodMtu, SMALLEST_MTU } from '../preflight.ts';
import type { Scene } from './scene.ts';

export const linkNamed = ({ kernel }: Scene, name: string): Link | undefined =>
  kernel.links.find((link) => link.name === name);

export const linkAt = ({ kernel }: Scene, index: number | undefined): Link | undefined =>
  kernel.links.find((link) => link.index === index);

export const bridgeOf = (scene: Scene): Link | undefined => linkNamed(scene, BRIDGE);
export const tunOf = (scene: Scene): Link | undefined => linkNamed(scene, TUN);

/** The interface with the node's address. */
export function underlayOf(scene: Scene): Link | undefined {
  const { nodeIp, kernel } = scene;
  return linkAt(scene, kernel.addresses.find(({ address }) => address === nodeIp)?.index);
}

/** An agent, or its keeper at least, works here: what it keeps ought to be there. */
export const agentIsHere = ({ agent, processes }: Scene): boolean =>
  agent.report !== undefined || processes.length > 0;

/** Everything below is set by it when it is well: without it, its absence is no finding of its own. */
export const hasServed = (scene: Scene): boolean =>
  scene.agent.report?.network.gateway !== undefined || bridgeOf(scene) !== undefined;

export function podMtuOf(scene: Scene): number | undefined {
  const told = scene.agent.report?.network.mtu;
  if (told !== undefined) return told;
  const underlay = underlayOf(scene);
  if (underlay === undefined) return undefined;
  const largest = largestPodMtu({ name: underlay.name, mtu: underlay.mtu, family: 'ipv4' });
  return Math.max(SMALLEST_MTU, Math.min(scene.settings.mtu ?? Infinity, largest));
}

export function gatewayOf(scene: Scene): Ipv4 | undefined {
  const told = scene.agent.report?.network.gateway;
  return told === undefined ? undefined : parseIpv4(told);
}

/** The node's, as far as they are known: the agent's word, or its routes to them. */
export function ownBlocks(scene: Scene): readonly Cidr[] {
  const { report } = scene.agent;
  if (report !== undefined) {
    return report.ipam.ownBlocks.filter(({ state }) => state === 'held').map(({ cidr }) => parseCidr(cidr));
  }
  const bridge = bridgeOf(scene);
  return scene.kernel.routes
    .filter(({ protocol, index }) => protocol === ROUTE_PROTOCOL && index === bridge?.index)
    .map(({ destination }) => destination);
}

export interface PodPort {
  readonly link: Link;
  readonly alias: string;
  readonly address: Ipv4;
}

export const podPorts = ({ kernel }: Scene): readonly PodPort[] =>
  kernel.links.flatMap((link): readonly PodPort[] => {
    const address = link.alias === undefined ? undefined : addressOfAlias(link.alias);
    const isPort = link.kind === 'veth' && link.name.startsWith(POD_PORT_PREFIX) && address !== undefined;
    return isPort && link.alias !== undefined ? [{ link, alias: link.alias, address }] : [];
  });

/** An address of a pod of this node, or of its first block. */
export function somePodHere(scene: Scene): Ipv4 | undefined {
  const pod = podPorts(scene)[0]?.address;
  if (pod !== undefined) return pod;
  const block = ownBlocks(scene)[0];
  return block && ((block.base + 2) as Ipv4); // as: an address of the block
}

export interface RemotePod {
  readonly address: Ipv4;
  /** Of the node that holds its block. */
  readonly peer: Ipv4;
}

/** An address of each of the first peers that hold a block. */
export function somePodsThere({ traffic }: Scene, most: number): readonly RemotePod[] {
  if (traffic === undefined) return [];
  const { owners, range, blockPrefixLength } = traffic.table;
  const found = new Map<number, RemotePod>();
  const bySlot = new Map(traffic.peers.map((peer) => [peer.slot + 2, peer.address]));
  for (let block = 0; block < owners.length && found.size < most; block++) {
    const owner = owners[block] ?? 0;
    const peer = bySlot.get(owner);
    if (peer === undefined || found.has(owner)) continue;
    const address = (range.base + block * 2 ** (32 - blockPrefixLength) + 2) as Ipv4; // as: an address of the range
    found.set(owner, { address, peer });
  }
  return [...found.values()];
}

export const peerNameOf = (scene: Scene, address: string): string =>
  scene.agent.report?.peers.find((peer) => peer.address === address)?.name ?? address;

export const seconds = (value: number): string =>
  value < 10 ? `${value.toFixed(1)} s` : `${Math.round(value)} s`;
