// Network interfaces and their IPv4 addresses and routes as typed operations on a netlink socket. Thin: messages are proto's.
import { formatCidr, formatIpv4, type Ipv4 } from '../../proto/address.ts';
import {
  type BridgeToCreate,
  changeLink,
  createBridge,
  createVeth,
  decodeLink,
  deleteLink,
  dumpLinks,
  getLink,
  type InetSetting,
  type Link,
  type LinkChange,
  renameLink,
  RTM_NEWLINK,
  type VethToCreate,
} from '../../proto/rtnetlink-link.ts';
import type { BridgeSettings, PortSetting } from '../../proto/rtnetlink-bridge.ts';
import {
  addAddress,
  decodeAddress,
  decodeNeighbour,
  decodeRoute,
  deleteAddress,
  deleteNeighbour,
  deleteRoute,
  dumpAddresses,
  dumpNeighbours,
  dumpRoutes,
  type InterfaceAddress,
  type Neighbour,
  replaceRoute,
  type Route,
  RTM_NEWADDR,
  RTM_NEWNEIGH,
  RTM_NEWROUTE,
} from '../../proto/rtnetlink-route.ts';
import {
  addSourceRule,
  decodePolicyRule,
  decodeSourceRule,
  deleteSourceRule,
  dumpRules,
  type PolicyRule,
  RTM_NEWRULE,
  type SourceRule,
} from '../../proto/rtnetlink-rule.ts';
import type { Decoded } from '../../proto/decoded.ts';
import type { NetlinkMessage } from '../../proto/netlink.ts';
import { codeOf } from '../operation-error.ts';
import type { NetlinkSocket } from './netlink-socket.ts';

/** What the decoder takes of the messages of the type; the kernel sends others in between (IPv6, notifications). */
function values<T>(
  messages: readonly NetlinkMessage[],
  type: number,
  decode: (payload: Uint8Array) => Decoded<T>,
): T[] {
  const found: T[] = [];
  for (const message of messages) {
    const value = message.type === type ? decode(message.payload) : undefined;
    if (value?.ok === true) found.push(value.value);
  }
  return found;
}

export const listLinks = (netlink: NetlinkSocket): readonly Link[] =>
  values(netlink.dump(dumpLinks(), 'list the network interfaces'), RTM_NEWLINK, decodeLink);

export function findLink(netlink: NetlinkSocket, name: string): Link | undefined {
  try {
    const messages = netlink.request(getLink(name), `look up interface "${name}"`);
    return values(messages, RTM_NEWLINK, decodeLink)[0];
  } catch (error) {
    if (codeOf(error) === 'ENODEV') return undefined;
    throw error;
  }
}

export const makeBridge = (netlink: NetlinkSocket, bridge: BridgeToCreate): void => {
  netlink.request(createBridge(bridge), `create bridge "${bridge.name}"`);
};

/** Kernels before 6.2 rename no link that is up. */
export function nameLink(netlink: NetlinkSocket, { index, name, up }: Link, wanted: string): void {
  try {
    netlink.request(renameLink(index, wanted), `rename interface "${name}" to "${wanted}"`);
  } catch (error) {
    if (codeOf(error) !== 'EBUSY' || !up) throw error;
    setLink(netlink, name, { up: false });
    netlink.request(renameLink(index, wanted), `rename interface "${name}" to "${wanted}"`);
    setLink(netlink, wanted, { up: true });
  }
}

export const makeVeth = (netlink: NetlinkSocket, veth: VethToCreate): void => {
  netlink.request(createVeth(veth), `create veth "${veth.near.name}" with "${veth.far.name}" in the pod`);
};

/** What of the wanted differs from the link; undefined when nothing does. */
export function changeNeeded(link: Link, wanted: LinkChange): LinkChange | undefined {
  const inet = Object.entries(wanted.inet ?? {}).filter(
    ([name, value]) => link.inet[name as InetSetting] !== value, // as: entries forgets the keys
  );
  const port = Object.entries(wanted.port ?? {}).filter(([name, value]) => {
    const present = link.port?.[name as PortSetting]; // as: entries forgets the keys
    return present !== undefined && present !== value; // an older kernel lacks some
  });
  const bridge = Object.entries(wanted.bridge ?? {}).filter(
    ([name, value]) => link.bridge?.[name as keyof BridgeSettings] !== value, // as: entries forgets the keys
  );
  const change: LinkChange = {
    ...(wanted.up === undefined || wanted.up === link.up ? {} : { up: wanted.up }),
    ...(wanted.master === undefined || wanted.master === link.master ? {} : { master: wanted.master }),
    ...(wanted.mtu === undefined || wanted.mtu === link.mtu ? {} : { mtu: wanted.mtu }),
    ...(wanted.address === undefined || wanted.address === link.address ? {} : { address: wanted.address }),
    ...(wanted.txQueueLength === undefined || wanted.txQueueLength === link.txQueueLength
      ? {}
      : { txQueueLength: wanted.txQueueLength }),
    ...(port.length === 0 ? {} : { port: Object.fromEntries(port) }),
    ...(bridge.length === 0 ? {} : { bridge: Object.fromEntries(bridge) }),
    ...(inet.length === 0 ? {} : { inet: Object.fromEntries(inet) }),
    // Without IPv6 in the kernel there is nothing to switch off.
    ...(wanted.ipv6Addresses === false && link.ipv6Addresses === true ? { ipv6Addresses: false } : {}),
  };
  return Object.keys(change).length === 0 ? undefined : change;
}

/** Applies the change to the link; see changeLink for the order in which the kernel takes it. */
export const setLink = (netlink: NetlinkSocket, name: string, change: LinkChange): void => {
  netlink.request(changeLink(name, change), `change interface "${name}"`);
};

/** False when there was none. */
export function removeLink(netlink: NetlinkSocket, name: string): boolean {
  try {
    netlink.request(deleteLink(name), `delete interface "${name}"`);
    return true;
  } catch (error) {
    if (codeOf(error) === 'ENODEV') return false;
    throw error;
  }
}

const wordsOf = ({ address, prefixLength }: InterfaceAddress): string =>
  `${formatIpv4(address)}/${prefixLength}`;

export const listAddresses = (netlink: NetlinkSocket): readonly InterfaceAddress[] =>
  values(netlink.dump(dumpAddresses(), 'list the IPv4 addresses'), RTM_NEWADDR, decodeAddress);

export const giveAddress = (netlink: NetlinkSocket, address: InterfaceAddress): void => {
  netlink.request(addAddress(address), `add address "${wordsOf(address)}"`);
};

/** Nothing happens when it is gone already. */
export function takeAddress(netlink: NetlinkSocket, address: InterfaceAddress): void {
  try {
    netlink.request(deleteAddress(address), `delete address "${wordsOf(address)}"`);
  } catch (error) {
    if (codeOf(error) !== 'EADDRNOTAVAIL') throw error;
  }
}

/** Forgets the MAC address that the node had learned for `address`, if any. */
export function forgetNeighbour(
  netlink: NetlinkSocket,
  { index, address }: { index: number; address: Ipv4 },
): void {
  try {
    const neighbour = { index, address, mac: undefined, permanent: false };
    netlink.request(deleteNeighbour(neighbour), `forget the neighbour ${formatIpv4(address)}`);
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw error;
  }
}

export const listRoutes = (netlink: NetlinkSocket): readonly Route[] =>
  values(netlink.dump(dumpRoutes(), 'list the IPv4 routes'), RTM_NEWROUTE, decodeRoute);

export const setRoute = (netlink: NetlinkSocket, route: Route): void => {
  netlink.request(replaceRoute(route), `set route "${formatCidr(route.destination)}"`);
};

/** Packets from the address look in the table first. Nothing happens when the rule is there already. */
export function setSourceRule(netlink: NetlinkSocket, rule: SourceRule): void {
  try {
    netlink.request(addSourceRule(rule), `set the rule of source ${formatIpv4(rule.source)}`);
  } catch (error) {
    if (codeOf(error) !== 'EEXIST') throw error;
  }
}

/** Nothing happens when it is gone already. */
export function dropSourceRule(netlink: NetlinkSocket, rule: SourceRule): void {
  try {
    netlink.request(deleteSourceRule(rule), `delete the rule of source ${formatIpv4(rule.source)}`);
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw error;
  }
}

export const listSourceRules = (netlink: NetlinkSocket): readonly SourceRule[] =>
  values(netlink.dump(dumpRules(), 'list the IPv4 rules'), RTM_NEWRULE, decodeSourceRule);

/** In the order in which the kernel asks them. */
export const listPolicyRules = (netlink: NetlinkSocket): readonly PolicyRule[] =>
  values(netlink.dump(dumpRules(), 'list the IPv4 rules'), RTM_NEWRULE, decodePolicyRule);

export const listNeighbours = (netlink: NetlinkSocket): readonly Neighbour[] =>
  values(netlink.dump(dumpNeighbours(), 'list the IPv4 neighbours'), RTM_NEWNEIGH, decodeNeighbour);

/** Nothing happens when it is gone already. */
export function dropRoute(netlink: NetlinkSocket, route: Route): void {
  try {
    netlink.request(deleteRoute(route), `delete route "${formatCidr(route.destination)}"`);
  } catch (error) {
    if (codeOf(error) !== 'ESRCH') throw error;
  }
}
