// A pod's link: a veth whose host end is a port of the bridge, whose other end is the pod's interface with its address as /32, an on-link
// route to the gateway and a default route. The pod's side goes through a netlink socket that the shim opened in the pod's namespace.
// Synchronous, raw rtnetlink. Attach is a recipe: every acquisition registers its undo on the next line.
import { type Ipv4, formatIpv4, formatMac, ipv4, type Mac } from '../../../proto/address.ts';
import { invariant } from '../../../proto/invariant.ts';
import type { Link } from '../../../proto/rtnetlink-link.ts';
import { deleteGroup, moveToGroup } from '../../../proto/rtnetlink-link-group.ts';
import {
  type Route,
  RT_SCOPE_LINK,
  RT_SCOPE_UNIVERSE,
  RT_TABLE_MAIN,
  RTN_UNICAST,
  RTPROT_BOOT,
} from '../../../proto/rtnetlink-route.ts';
import {
  dropSourceRule,
  findLink,
  forgetNeighbour,
  giveAddress,
  listAddresses,
  listLinks,
  listRoutes,
  listSourceRules,
  makeVeth,
  removeLink,
  setLink,
  setRoute,
  setSourceRule,
} from '../../linux/interface.ts';
import {
  adoptRouteNetlink,
  NETLINK_ROUTE,
  type NetlinkSocket,
  openNetlink,
} from '../../linux/netlink-socket.ts';
import { codeOf, OperationError } from '../../operation-error.ts';
import { openPodGuard, type PodGuard } from './pod-guard.ts';
import {
  addressOfAlias,
  hostMacOf,
  listPodPorts,
  POD_PORT_PREFIX,
  podMacOf,
  requestedMacOf,
} from './pod-ports.ts';
import { BRIDGE } from './range-conflicts.ts';
import { superPacketBytes } from './super-packet.ts';

/** Group of interfaces that are to be deleted in the same turn; no other program's by its look ("WEFT"). */
const DOOMED = 0x57454654;

/** IFNAMSIZ without its NUL. */
const MAX_NAME_BYTES = 15;

export interface PodLinkRequest {
  /** A NETLINK_ROUTE socket that was opened inside the pod's namespace; the caller closes it. */
  readonly netlinkFd: number;
  /** The pod's namespace; the caller closes it. */
  readonly netnsFd: number;
  /** "vethwe" and 9 characters. */
  readonly hostInterface: string;
  readonly podInterface: string;
  readonly address: Ipv4;
  readonly gateway: Ipv4;
  readonly mtu: number;
  /** "weft:<containerId>:<ifname>:<address>" (pod-ports.ts), on the host's end: the record that the kernel keeps. */
  readonly alias: string;
  /** Told what is done from here on; first comes the pair of interfaces. */
  readonly entered?: (step: 'guard' | 'configure') => void;
}

export interface PodLinkInspection extends Omit<PodLinkRequest, 'alias' | 'entered'> {
  /** As ADD told them; undefined: not compared. */
  readonly hostMac?: Mac | undefined;
  readonly podMac?: Mac | undefined;
  /** Where it is another than `mtu`, the pod's: a later plugin of the chain may have changed that. */
  readonly hostMtu?: number | undefined;
  /** Table with the pod's routes: the main one unless told; undefined: they are not compared. */
  readonly routeTable?: number | undefined;
}

export interface PodLink {
  readonly hostMac: Mac;
  readonly podMac: Mac;
  readonly mtu: number;
  /** Table with the routes; undefined = the main one. */
  readonly routeTable?: number | undefined;
}

export interface PodLinks {
  /**
   * Everything or nothing: on failure what was made is undone. Throws OperationError: an errno name; EEXIST when the pod already has the interface,
   * or the host's end exists; NO_BRIDGE; NO_POD_SET when the anti-spoof set is missing; BAD_DESCRIPTOR; MAC_IN_USE. A default route that the
   * pod has by another interface stays: this one's routes go to a table of their own then, for packets from its address.
   */
  attach(request: PodLinkRequest): PodLink;
  /** Idempotent, works with the namespace gone; removes the veth and the anti-spoof element. False when there was nothing. */
  detach(hostInterface: string): boolean;
  /** As detach, for several in about the time of one. Throws when one of them cannot be removed; others may be gone then. */
  detachAll(hostInterfaces: readonly string[]): void;
  /** CHECK: what differs from the record, in words; empty = as it should be. */
  inspect(request: PodLinkInspection): readonly string[];
  /** Whether the interface is there, with or without its alias. */
  has(hostInterface: string): boolean;
  /** Host veths of ours by alias, for rebuilding. */
  list(): readonly { readonly hostInterface: string; readonly alias: string }[];
}

/** False when the kernel says that there is no such interface. */
function unlessGone(request: () => unknown): boolean {
  try {
    request();
    return true;
  } catch (error) {
    if (codeOf(error) === 'ENODEV') return false;
    throw error;
  }
}

interface RouteFacts {
  readonly index: number;
  readonly gateway: Ipv4;
  readonly table: number;
}

/** What only one pod's link has: routes through it. */
function podRoutes({ index, gateway, table }: RouteFacts): readonly Route[] {
  const common = {
    table,
    protocol: RTPROT_BOOT,
    type: RTN_UNICAST,
    index,
    preferredSource: undefined,
    priority: 0,
    onLink: false,
  };
  return [
    {
      ...common,
      destination: { base: gateway, prefixLength: 32 },
      scope: RT_SCOPE_LINK,
      gateway: undefined,
    },
    { ...common, destination: { base: ipv4(0), prefixLength: 0 }, scope: RT_SCOPE_UNIVERSE, gateway },
  ];
}

export interface PodLinksPorts {
  readonly route: NetlinkSocket;
  readonly guard: PodGuard;
  /** A socket over a pod's passed descriptor. */
  readonly adopt: (netlinkFd: number) => NetlinkSocket;
}

function requireBridge(route: NetlinkSocket): Link {
  const bridge = findLink(route, BRIDGE);
  if (bridge !== undefined) return bridge;
  throw new OperationError(
    `Cannot attach a pod: bridge "${BRIDGE}" is missing; the agent restores it, try again`,
    { code: 'NO_BRIDGE' },
  );
}

/** The bridge would not know which port to send to. */
function refuseMacInUse(route: NetlinkSocket, { guard, alias }: { guard: PodGuard; alias: string }): void {
  const mac = requestedMacOf(alias);
  if (mac === undefined) return;
  const isTaken =
    guard.list().some((element) => element.mac === mac) ||
    listLinks(route).some(({ address }) => address === mac);
  if (!isTaken) return;
  throw new OperationError(
    `Cannot give the pod MAC address ${formatMac(mac)}: another interface of this node has it; ask for another`,
    { code: 'MAC_IN_USE', context: { mac: formatMac(mac) } },
  );
}

/** DEL takes the interface with its routes, and leaves the rule in the pod's namespace, where it finds nothing. */
function dropForgottenRules(pod: NetlinkSocket): void {
  const addresses = new Set(listAddresses(pod).map(({ address }) => address));
  for (const rule of listSourceRules(pod)) {
    if (rule.table === rule.source && !addresses.has(rule.source)) dropSourceRule(pod, rule);
  }
}

/** By this name the anti-spoof rules know a pod's port. */
const requirePodPort = (name: string): void => {
  invariant(
    name.startsWith(POD_PORT_PREFIX) && name.length <= MAX_NAME_BYTES,
    () => `"${name}" is no name of a pod's port: "${POD_PORT_PREFIX}" and 9 characters`,
  );
};

export function createPodLinks({ route, guard, adopt }: PodLinksPorts): PodLinks {
  function makePair(request: PodLinkRequest, bridge: Link): PodLink {
    const { hostInterface, podInterface, netnsFd, mtu, alias } = request;
    const link = { hostMac: hostMacOf(alias), podMac: podMacOf(alias), mtu };
    try {
      makeVeth(route, {
        near: { name: hostInterface, address: link.hostMac, master: bridge.index },
        far: { name: podInterface, address: link.podMac, netnsFd, gsoMaxSize: superPacketBytes(mtu) },
        mtu,
      });
    } catch (error) {
      if (codeOf(error) !== 'EEXIST') throw error;
      const where = findLink(route, hostInterface) === undefined ? 'pod' : 'host';
      const name = where === 'pod' ? podInterface : hostInterface;
      throw new OperationError(
        `Cannot attach the pod: the ${where} already has an interface "${name}" (EEXIST)`,
        {
          code: 'EEXIST',
          context: { where, interface: name },
          cause: error,
        },
      );
    }
    return link;
  }

  /** Answers the table of the routes; undefined = the main one. */
  function configurePod(
    pod: NetlinkSocket,
    { podInterface, address, gateway }: PodLinkRequest,
  ): number | undefined {
    setLink(pod, 'lo', { up: true });
    const link = findLink(pod, podInterface);
    if (link === undefined) {
      throw new OperationError(
        `Cannot find "${podInterface}" through the passed netlink socket: it is not of the namespace that was passed with it`,
        { code: 'BAD_DESCRIPTOR', context: { podInterface } },
      );
    }
    if (link.ipv6Addresses === true) setLink(pod, podInterface, { ipv6Addresses: false });
    giveAddress(pod, { index: link.index, address, prefixLength: 32, scope: RT_SCOPE_UNIVERSE });
    setLink(pod, podInterface, { up: true });
    const hasDefault = listRoutes(pod).some(
      ({ destination, table, index }) =>
        destination.prefixLength === 0 && table === RT_TABLE_MAIN && index !== link.index,
    );
    // The address is a table's number that nothing else in the pod has.
    const table = hasDefault ? address : RT_TABLE_MAIN;
    for (const item of podRoutes({ index: link.index, gateway, table })) setRoute(pod, item);
    if (!hasDefault) return undefined;
    dropForgottenRules(pod);
    setSourceRule(pod, { source: address, table });
    return table;
  }

  return {
    attach(request) {
      const { hostInterface, netlinkFd, address, alias } = request;
      requirePodPort(hostInterface);
      invariant(
        addressOfAlias(alias) === address,
        () => `alias "${alias}" does not record address ${formatIpv4(address)}`,
      );
      const { entered = () => undefined } = request;
      const undo: (() => void)[] = [];
      try {
        const pod = adopt(netlinkFd);
        const bridge = requireBridge(route);
        refuseMacInUse(route, { guard, alias });
        const link = makePair(request, bridge);
        undo.push(() => removeLink(route, hostInterface));
        setLink(route, hostInterface, {
          alias,
          port: { hairpin: 1 },
          ...(bridge.ipv6Addresses === undefined ? {} : { ipv6Addresses: false }),
        });
        entered('guard');
        guard.add({ hostInterface, mac: link.podMac, address });
        undo.push(() => guard.remove(hostInterface));
        // The address's last pod had another MAC: what the node has learned of it would swallow this pod's packets for seconds.
        forgetNeighbour(route, { index: bridge.index, address });
        entered('configure');
        setLink(route, hostInterface, { up: true });
        return { ...link, routeTable: configurePod(pod, request) };
      } catch (error) {
        for (const step of undo.toReversed()) {
          try {
            step();
          } catch {
            // The sweep removes what stays; the first failure is what the caller must hear.
          }
        }
        throw error;
      }
    },

    detach(hostInterface) {
      requirePodPort(hostInterface);
      const hadLink = removeLink(route, hostInterface);
      // After the link: a frame of the pod never meets a bridge without its element, or the other way round.
      const hadElement = guard.remove(hostInterface);
      return hadLink || hadElement;
    },

    detachAll(hostInterfaces) {
      hostInterfaces.forEach(requirePodPort);
      const doomed = hostInterfaces.filter((name) =>
        unlessGone(() => route.request(moveToGroup(name, DOOMED), `doom "${name}"`)),
      );
      if (doomed.length > 0) {
        unlessGone(() => route.request(deleteGroup(DOOMED), `delete interfaces "${doomed.join('", "')}"`));
      }
      guard.removeAll(new Set(hostInterfaces));
    },

    inspect(request) {
      const { netlinkFd, hostInterface, podInterface, address, gateway, mtu } = request;
      const words: string[] = [];
      const expect = (condition: boolean, otherwise: string): void => {
        if (!condition) words.push(otherwise);
      };
      const expectMac = ({ name, address: actual }: Link, wanted: Mac | undefined): void => {
        if (wanted === undefined || actual === wanted) return;
        const has = actual === undefined ? 'none' : formatMac(actual);
        words.push(`interface "${name}" has MAC ${has}, not ${formatMac(wanted)}`);
      };
      const bridge = findLink(route, BRIDGE);
      const host = findLink(route, hostInterface);
      if (host === undefined) return [`host interface "${hostInterface}" is missing`];
      expect(host.up, `host interface "${hostInterface}" is down`);
      const hostMtu = request.hostMtu ?? mtu;
      expect(host.mtu === hostMtu, `host interface "${hostInterface}" has MTU ${host.mtu}, not ${hostMtu}`);
      expectMac(host, request.hostMac);
      expect(
        bridge !== undefined && host.master === bridge.index,
        `host interface "${hostInterface}" is no port of bridge "${BRIDGE}"`,
      );
      expect(host.port?.hairpin === 1, `host interface "${hostInterface}" is not in hairpin mode`);

      const pod = adopt(netlinkFd);
      const link = findLink(pod, podInterface);
      if (link === undefined) return [...words, `pod interface "${podInterface}" is missing`];
      expect(
        link.kind === 'veth' && link.peerIndex === host.index,
        `pod interface "${podInterface}" is not the other end of "${hostInterface}"`,
      );
      expect(link.up, `pod interface "${podInterface}" is down`);
      expect(link.mtu === mtu, `pod interface "${podInterface}" has MTU ${link.mtu}, not ${mtu}`);
      expectMac(link, request.podMac);
      expect(
        listAddresses(pod).some((item) => item.index === link.index && item.address === address),
        `pod interface "${podInterface}" lacks address ${formatIpv4(address)}`,
      );
      const table = 'routeTable' in request ? request.routeTable : RT_TABLE_MAIN;
      const routes = listRoutes(pod).filter((item) => item.index === link.index && item.table === table);
      const wantedRoutes = table === undefined ? [] : podRoutes({ index: link.index, gateway, table });
      for (const wanted of wantedRoutes) {
        const name = wanted.gateway === undefined ? 'to the gateway' : 'by default';
        expect(
          routes.some(
            (item) =>
              item.destination.base === wanted.destination.base &&
              item.destination.prefixLength === wanted.destination.prefixLength &&
              item.gateway === wanted.gateway,
          ),
          `the pod's route ${name} (${formatIpv4(gateway)}) is missing`,
        );
      }
      expect(
        table === undefined ||
          table === RT_TABLE_MAIN ||
          listSourceRules(pod).some((rule) => rule.source === address && rule.table === table),
        `the pod's rule for packets from ${formatIpv4(address)} is missing`,
      );
      expect(
        guard
          .list()
          .some(
            (element) =>
              element.hostInterface === hostInterface &&
              element.address === address &&
              element.mac === link.address,
          ),
        `the anti-spoof element of "${hostInterface}" is missing or of another address`,
      );
      return words;
    },

    has: (hostInterface) => findLink(route, hostInterface) !== undefined,
    list: () => listPodPorts(route).map(({ link, alias }) => ({ hostInterface: link.name, alias })),
  };
}

export const openPodLinks = (): PodLinks =>
  createPodLinks({ route: openNetlink(NETLINK_ROUTE), guard: openPodGuard(), adopt: adoptRouteNetlink });
