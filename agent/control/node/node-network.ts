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
import { type Repair, repairsOf } from '../repair.ts';
import { createFirewall, type Firewall } from './firewall.ts';
import { openPodGuard, type PodGuard } from './pod-guard.ts';
import { listPodPorts } from './pod-ports.ts';
import {
  ensurePodPorts,
  type ExpectedPorts,
  type KnownPod,
  movePodPorts,
  restoreIpv6Setting,
  type SeenPort,
} from './port-upkeep.ts';
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

export interface NetworkHints {
  /** For what the kernel has forgotten of a pod's port. */
  readonly known?: readonly KnownPod[];
  /** Nobody else has changed the nftables tables since the last call. */
  readonly rulesUntouched?: boolean;
}

/** What notifications of the kernel are held against. */
export interface ExpectedNetwork {
  readonly range: Cidr;
  readonly ports: ExpectedPorts;
  /** By index: the bridge, the TUN and the underlay interface. */
  readonly interfaces: ReadonlyMap<number, LinkChange>;
}

export interface NodeNetwork {
  /**
   * Idempotent; resolves to what had to be made or repaired, also by calls that failed before. Throws OperationError: FOREIGN_INTERFACE, RANGE_OVERLAP, TUN_MISSING,
   * UNDERLAY_MISSING, NFT_MISSING, NFT_REFUSED, or an errno name.
   */
  ensure(desired: NodeNetworkDesired, hints?: NetworkHints): Promise<readonly Repair[]>;
  /** What the last success left; undefined before. */
  expected(): ExpectedNetwork | undefined;
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
export const UNDERLAY_WANTED: LinkChange = { inet: { forwarding: 1 } };

/** Depends on nothing but the node, so pods' neighbour entries outlive a bridge that was made again. */
export const bridgeMac = (nodeIp: Ipv4): Mac => mac(0x0257 * 2 ** 32 + nodeIp);

export const bridgeWanted = (nodeIp: Ipv4, mtu: number): LinkChange => ({
  up: true,
  mtu,
  address: bridgeMac(nodeIp),
  inet: POD_SIDE,
  ipv6Addresses: false,
  bridge: { spanningTree: 0 },
});

export const tunWanted = (mtu: number): LinkChange => ({
  up: true,
  mtu,
  txQueueLength: TUN_QUEUE_LENGTH,
  inet: TUN_SIDE,
  ipv6Addresses: false,
});

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

function findUnderlay(nodeIp: Ipv4, { addresses, links }: KernelNetwork): Link {
  const index = addresses.find(({ address }) => address === nodeIp)?.index;
  const underlay = links.find((link) => link.index === index);
  if (underlay !== undefined) return underlay;
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
    restoreIpv6Setting(route, name, change);
    const words = Object.keys(change).flatMap((key) =>
      key === 'inet' ? Object.keys(change.inet ?? {}) : key === 'bridge' ? 'spanning tree' : key,
    );
    const text = words.length > MOST_WORDS ? `${words.length} settings` : words.join(', ');
    return [`set ${text} of interface "${name}"`];
  }

  function ensureBridge({ nodeIp, mtu }: NodeNetworkDesired): readonly string[] {
    const made = findLink(route, BRIDGE) === undefined;
    const address = bridgeMac(nodeIp);
    // Its MTU is set afterwards, as a change: one that it was made with the kernel forgets when the last port goes.
    if (made) makeBridge(route, { name: BRIDGE, address, mtu: mtu - 1 });
    // Before the ports: it would take the smallest MTU of theirs, and below 1280 lose its IPv6 settings.
    if (made) setLink(route, BRIDGE, { mtu });
    const bridge = made ? findLink(route, BRIDGE) : undefined;
    if (bridge !== undefined) movePodPorts({ route, bridge });
    const changed = ensureLink(BRIDGE, bridgeWanted(nodeIp, mtu));
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

  /** What was done since it was told last; outlives a failure in the middle. */
  const done: Repair[] = [];
  const seen = new Map<number, SeenPort>();
  let expected: ExpectedNetwork | undefined;

  async function ensureNow(
    desired: NodeNetworkDesired,
    { known = [], rulesUntouched = false }: NetworkHints,
  ): Promise<readonly Repair[]> {
    const { range, gateway, nodeIp, mtu, tunnelPort, masquerade } = desired;
    const found = { links: listLinks(route), addresses: listAddresses(route), routes: listRoutes(route) };
    requireOwnInterfaces(found.links);
    requireFreeRange(range, found);
    const underlay = findUnderlay(nodeIp, found);
    const peerAddresses = [...new Set([nodeIp, ...desired.peerAddresses])].sort((a, b) => a - b);
    const rules = { range, tunnelPort, peerAddresses, masquerade };
    done.push(...repairsOf('nftables', await firewall.ensure(rules, rulesUntouched)));
    // From here on synchronous: an attach sees all of it or nothing.
    done.push(...repairsOf('bridge', ensureBridge(desired)));
    for (const [name, wanted] of [
      [TUN, tunWanted(mtu)],
      [underlay.name, UNDERLAY_WANTED],
    ] as const) {
      done.push(...repairsOf('interface', ensureLink(name, wanted)));
    }
    const bridge = findLink(route, BRIDGE);
    const tun = findLink(route, TUN);
    if (bridge === undefined || tun === undefined) {
      throw new OperationError(`Cannot keep "${BRIDGE}" and "${TUN}": one of them was deleted meanwhile`, {
        code: 'ENODEV',
      });
    }
    // The bridge first: the kernel's own route for the address is then the bridge's.
    for (const link of [bridge, tun]) {
      done.push(...repairsOf('address', addGateway(gateway, link)));
    }
    done.push(...repairsOf('route', ensureRoutes(desired, { bridge, tun })));
    for (const link of [bridge, tun]) {
      done.push(...repairsOf('address', removeOtherAddresses(desired, link)));
    }
    done.push(...ensurePodPorts({ route, guard, bridge, known, seen }));
    expected = {
      range,
      ports: { bridge: bridge.index, seen },
      interfaces: new Map([
        [bridge.index, bridgeWanted(nodeIp, mtu)],
        [tun.index, tunWanted(mtu)],
        [underlay.index, { ...UNDERLAY_WANTED, mtu: underlay.mtu }], // a change of it is followed
      ]),
    };
    return done.splice(0);
  }

  let last: Promise<unknown> = Promise.resolve();
  return {
    ensure(desired, hints = {}) {
      // One at a time, in order: two would mend the same thing twice.
      const next = last.then(() => ensureNow(desired, hints));
      last = next.catch(() => {});
      return next;
    },
    expected: () => expected,
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
