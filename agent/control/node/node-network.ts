// The node's side of the pod network: bridge "weave", TUN "weft0" (which the keeper opened), the underlay interface, addresses, routes,
// nftables. `ensure` reads what is there, compares, and changes only what differs; the firewall comes first, so nothing forwards unguarded.
// Works with NET_ADMIN alone: per-interface settings go by rtnetlink, nothing is written under /proc/sys.
import {
  type Cidr,
  cidrContains,
  formatCidr,
  formatIpv4,
  type Ipv4,
  mac,
  type Mac,
} from '../../../proto/address.ts';
import type { InetSetting, Link, LinkChange } from '../../../proto/rtnetlink-link.ts';
import {
  type InterfaceAddress,
  type Route,
  RT_SCOPE_LINK,
  RT_SCOPE_UNIVERSE,
  RT_TABLE_MAIN,
  RTN_UNICAST,
} from '../../../proto/rtnetlink-route.ts';
import {
  changeNeeded,
  dropRoute,
  findLink,
  giveAddress,
  listAddresses,
  listLinks,
  listRoutes,
  makeBridge,
  setLink,
  setRoute,
  takeAddress,
} from '../../linux/interface.ts';
import { NETLINK_ROUTE, type NetlinkSocket, openNetlink } from '../../linux/netlink-socket.ts';
import { openNft } from '../../linux/nft.ts';
import { OperationError } from '../../operation-error.ts';
import { createFirewall, type Firewall } from './firewall.ts';
import { openPodGuard, type PodGuard } from './pod-guard.ts';
import { ensurePodPorts, listPodPorts } from './pod-ports.ts';
import { BRIDGE, type KernelNetwork, requireFreeRange, ROUTE_PROTOCOL, TUN } from './range-conflicts.ts';

export { findRangeConflicts } from './range-conflicts.ts';

export interface NodeNetworkDesired {
  readonly range: Cidr;
  /** The bridge's address; undefined until the node holds a block. */
  readonly gateway: Ipv4 | undefined;
  readonly blocks: readonly Cidr[];
  readonly mtu: number;
  readonly tunnelPort: number;
  readonly nodeIp: Ipv4;
  readonly peerAddresses: readonly Ipv4[];
  readonly masquerade: boolean;
}

export interface NodeNetwork {
  /**
   * Idempotent; resolves to what had to be made or repaired, in words. Throws OperationError: FOREIGN_INTERFACE, RANGE_OVERLAP, TUN_MISSING,
   * UNDERLAY_MISSING, NFT_MISSING, NFT_REFUSED, or an errno name.
   */
  ensure(desired: NodeNetworkDesired): Promise<readonly string[]>;
  close(): void;
}

/** Peak rate × the time a dataplane takes to restart must fit. */
const TUN_QUEUE_LENGTH = 10_000;
const TUN_TYPE_TUN = 1;
/** Settings of one interface that are told by name: a fresh one lacks all of them. */
const MOST_WORDS = 4;

type InetSettings = Partial<Record<InetSetting, number>>;

const POD_SIDE: InetSettings = { forwarding: 1, send_redirects: 0, accept_redirects: 0 };
// The data plane answers pods with ICMP errors from the gateway's address, which is this node's own. Tried: the kernel takes them from the
// TUN only with accept_local, and where conf/all/rp_filter is on, only with the loose mode and an address on the TUN.
const TUN_SIDE: InetSettings = { ...POD_SIDE, accept_local: 1, rp_filter: 2 };
const UNDERLAY_SIDE: InetSettings = { forwarding: 1 };

/** Depends on nothing but the node, so pods' neighbour entries outlive a bridge that was made again. */
export const bridgeMac = (nodeIp: Ipv4): Mac => mac(0x0257 * 2 ** 32 + nodeIp);

function requireOwnInterfaces(links: readonly Link[]): void {
  const bridge = links.find(({ name }) => name === BRIDGE);
  if (bridge !== undefined && bridge.kind !== 'bridge') {
    throw new OperationError(
      `Cannot use interface "${BRIDGE}": it is of kind "${bridge.kind ?? 'device'}", not a bridge; rename or delete it (ip link delete ${BRIDGE})`,
      { code: 'FOREIGN_INTERFACE', context: { interface: BRIDGE, kind: bridge.kind } },
    );
  }
  const tun = links.find(({ name }) => name === TUN);
  if (tun === undefined) {
    throw new OperationError(
      `Cannot use TUN "${TUN}": it does not exist; the keeper opens it, restart the agent's pod`,
      { code: 'TUN_MISSING', context: { interface: TUN } },
    );
  }
  if (tun.kind !== 'tun' || tun.tunType !== TUN_TYPE_TUN) {
    const kind = tun.kind === 'tun' ? 'tap' : (tun.kind ?? 'device');
    throw new OperationError(
      `Cannot use interface "${TUN}": it is of kind "${kind}", not a TUN; rename or delete it (ip link delete ${TUN})`,
      { code: 'FOREIGN_INTERFACE', context: { interface: TUN, kind } },
    );
  }
}

const isHost = (item: InterfaceAddress, address: Ipv4): boolean =>
  item.address === address && item.prefixLength === 32;

/** Whether the route is the wanted one; any source will do where none is wanted. */
const isRoute = (route: Route, wanted: Route): boolean =>
  route.destination.base === wanted.destination.base &&
  route.destination.prefixLength === wanted.destination.prefixLength &&
  route.table === wanted.table &&
  route.index === wanted.index &&
  route.type === wanted.type &&
  route.scope === wanted.scope &&
  route.priority === wanted.priority &&
  route.gateway === wanted.gateway &&
  (wanted.preferredSource === undefined || route.preferredSource === wanted.preferredSource);

function underlayName(nodeIp: Ipv4, { addresses, links }: KernelNetwork): string {
  const index = addresses.find(({ address }) => address === nodeIp)?.index;
  const name = links.find((link) => link.index === index)?.name;
  if (name !== undefined) return name;
  throw new OperationError(
    `Cannot find the node's address "${formatIpv4(nodeIp)}" on any interface: set it to the address by which the other nodes reach this one`,
    { code: 'UNDERLAY_MISSING', context: { nodeIp: formatIpv4(nodeIp) } },
  );
}

export interface NodeNetworkPorts {
  readonly route: NetlinkSocket;
  readonly firewall: Firewall;
  readonly guard: PodGuard;
}

export function createNodeNetwork({ route, firewall, guard }: NodeNetworkPorts): NodeNetwork {
  function ensureLink(name: string, wanted: LinkChange): readonly string[] {
    const link = findLink(route, name);
    if (link === undefined) throw new OperationError(`Cannot find interface "${name}"`, { code: 'ENODEV' });
    const change = changeNeeded(link, wanted);
    if (change === undefined) return [];
    const { up, ...rest } = change;
    // Settings first: they must hold when the link comes up.
    if (Object.keys(rest).length > 0) setLink(route, name, rest);
    if (up !== undefined) setLink(route, name, { up });
    const words = Object.keys(change).flatMap((key) =>
      key === 'inet' ? Object.keys(change.inet ?? {}) : key,
    );
    const text = words.length > MOST_WORDS ? `${words.length} settings` : words.join(', ');
    return [`set ${text} of interface "${name}"`];
  }

  function ensureBridge({ nodeIp, mtu }: NodeNetworkDesired): readonly string[] {
    const made = findLink(route, BRIDGE) === undefined;
    const address = bridgeMac(nodeIp);
    // Its MTU is set afterwards, as a change: one that it was made with the kernel forgets when the last port goes.
    if (made) makeBridge(route, { name: BRIDGE, address, mtu: mtu - 1 });
    const changed = ensureLink(BRIDGE, { up: true, mtu, address, inet: POD_SIDE, ipv6Addresses: false });
    return made ? [`made bridge "${BRIDGE}"`] : changed;
  }

  const addressesOf = (link: Link): readonly InterfaceAddress[] =>
    listAddresses(route).filter(({ index }) => index === link.index);

  function addGateway(gateway: Ipv4 | undefined, link: Link): readonly string[] {
    if (gateway === undefined || addressesOf(link).some((item) => isHost(item, gateway))) return [];
    giveAddress(route, { index: link.index, address: gateway, prefixLength: 32, scope: RT_SCOPE_UNIVERSE });
    return [`added address ${formatIpv4(gateway)}/32 to "${link.name}"`];
  }

  /** After the routes have their new source: the kernel deletes a route when the address that is its source goes. */
  function removeOtherAddresses({ gateway, range }: NodeNetworkDesired, link: Link): readonly string[] {
    // Not knowing the gateway is no reason to take it from the pods.
    if (gateway === undefined) return [];
    // Nor is another first block: pods keep the gateway of their ADD for life, so earlier ones stay while there are pods.
    const hasPods = listPodPorts(route).length > 0;
    const stale = addressesOf(link).filter(
      (item) =>
        !isHost(item, gateway) && !(hasPods && item.prefixLength === 32 && cidrContains(range, item.address)),
    );
    for (const item of stale) takeAddress(route, item);
    return stale.map(
      ({ address, prefixLength }) =>
        `removed address ${formatIpv4(address)}/${prefixLength} from "${link.name}"`,
    );
  }

  function ensureRoutes(
    { range, blocks, gateway }: NodeNetworkDesired,
    ends: { bridge: Link; tun: Link },
  ): readonly string[] {
    const via = (destination: Cidr, { index }: Link): Route => ({
      destination,
      table: RT_TABLE_MAIN,
      protocol: ROUTE_PROTOCOL,
      scope: RT_SCOPE_LINK,
      type: RTN_UNICAST,
      index,
      gateway: undefined,
      preferredSource: gateway,
      priority: 0,
      onLink: false,
    });
    const wanted = [via(range, ends.tun), ...blocks.map((block) => via(block, ends.bridge))];
    const own = (): readonly Route[] =>
      listRoutes(route).filter(({ protocol }) => protocol === ROUTE_PROTOCOL);
    const present = own();
    const missing = wanted.filter((item) => !present.some((other) => isRoute(other, item)));
    for (const item of missing) setRoute(route, item);
    // Not knowing the blocks is no reason to cut their pods off.
    const stale =
      gateway === undefined ? [] : own().filter((item) => !wanted.some((other) => isRoute(item, other)));
    for (const item of stale) dropRoute(route, item);
    return [
      ...missing.map(
        ({ destination, index }) =>
          `set route ${formatCidr(destination)} via "${index === ends.tun.index ? TUN : BRIDGE}"`,
      ),
      ...stale.map(({ destination }) => `removed route ${formatCidr(destination)}`),
    ];
  }

  async function ensureNow(desired: NodeNetworkDesired): Promise<readonly string[]> {
    const { range, gateway, nodeIp, mtu, tunnelPort, masquerade } = desired;
    const found = { links: listLinks(route), addresses: listAddresses(route), routes: listRoutes(route) };
    requireOwnInterfaces(found.links);
    requireFreeRange(range, found);
    const underlay = underlayName(nodeIp, found);
    const peerAddresses = [...new Set([nodeIp, ...desired.peerAddresses])].sort((a, b) => a - b);
    const rules = await firewall.ensure({ range, tunnelPort, peerAddresses, masquerade });
    // From here on synchronous: an attach sees all of it or nothing.
    const made = ensureBridge(desired);
    const tunnel = ensureLink(TUN, {
      up: true,
      mtu,
      txQueueLength: TUN_QUEUE_LENGTH,
      inet: TUN_SIDE,
      ipv6Addresses: false,
    });
    const forwarded = ensureLink(underlay, { inet: UNDERLAY_SIDE });
    const bridge = findLink(route, BRIDGE);
    const tun = findLink(route, TUN);
    if (bridge === undefined || tun === undefined) {
      throw new OperationError(`Cannot keep "${BRIDGE}" and "${TUN}": one of them was deleted meanwhile`, {
        code: 'ENODEV',
      });
    }
    // The bridge first: the kernel's own route for the address is then the bridge's.
    const added = [bridge, tun].flatMap((link) => addGateway(gateway, link));
    const routes = ensureRoutes(desired, { bridge, tun });
    const removed = [bridge, tun].flatMap((link) => removeOtherAddresses(desired, link));
    const ports = ensurePodPorts({ route, guard, bridge });
    return [...rules, ...made, ...tunnel, ...forwarded, ...added, ...routes, ...removed, ...ports];
  }

  let last: Promise<unknown> = Promise.resolve();
  return {
    ensure(desired) {
      // One at a time, in order: two would mend the same thing twice.
      const next = last.then(() => ensureNow(desired));
      last = next.catch(() => {});
      return next;
    },
    close() {
      route.close();
      guard.close();
    },
  };
}

/** `searchPath` is where nft is looked for: the environment's PATH. Throws OperationError: NFT_MISSING. */
export function openNodeNetwork(searchPath: string): NodeNetwork {
  const nft = openNft(searchPath);
  const guard = openPodGuard();
  const firewall = createFirewall({ nft, generation: () => guard.generation() });
  return createNodeNetwork({ route: openNetlink(NETLINK_ROUTE), firewall, guard });
}
