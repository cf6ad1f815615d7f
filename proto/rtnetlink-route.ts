// IPv4 addresses, routes and neighbours over rtnetlink (linux/if_addr.h, rtnetlink.h, neighbour.h). Addresses are in network order.
//   ifaddrmsg | family | prefix length | flags | scope | index u32 |
//   rtmsg     | family | dst length | src length | tos | table | protocol | scope | type | flags u32 |
//   ndmsg     | family | pad 3 | index i32 | state u16 | flags | type |
import { type Cidr, type Ipv4, type Mac, ipv4, mac } from './address.ts';
import { type Decoded, decoded, refused } from './decoded.ts';
import {
  type Attribute,
  decodeAttributes,
  encodeMessage,
  NLM_F_ACK,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_EXCL,
  NLM_F_REPLACE,
  raw,
  u32,
  u32be,
} from './netlink.ts';

export const RTM_NEWADDR = 20;
export const RTM_DELADDR = 21;
const RTM_GETADDR = 22;
export const RTM_NEWROUTE = 24;
export const RTM_DELROUTE = 25;
const RTM_GETROUTE = 26;
export const RTM_NEWNEIGH = 28;
const RTM_DELNEIGH = 29;
const RTM_GETNEIGH = 30;

const AF_INET = 2;
const IFADDR_BYTES = 8;
const RTMSG_BYTES = 12;
const NDMSG_BYTES = 12;

const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;
const RTA_DST = 1;
const RTA_SRC = 2;
const RTA_IIF = 3;
const RTA_OIF = 4;
const RTA_GATEWAY = 5;
const RTA_PRIORITY = 6;
const RTA_PREFSRC = 7;
const RTA_MULTIPATH = 9;
const RTA_TABLE = 15;
const NDA_DST = 1;
const NDA_LLADDR = 2;

export const RT_TABLE_MAIN = 254;
/** Routes with a gateway, or through a device for addresses beyond it. */
export const RT_SCOPE_UNIVERSE = 0;
/** Destinations directly on the device. */
export const RT_SCOPE_LINK = 253;
export const RTN_UNICAST = 1;
/** The destination is an address of this node. */
export const RTN_LOCAL = 2;
export const RTPROT_BOOT = 3;
/** The answer names the table that the route is in. */
const RTM_F_LOOKUP_TABLE = 0x1000;
const RTNH_F_ONLINK = 4;
const NUD_REACHABLE = 2;
const NUD_PERMANENT = 0x80;

export interface InterfaceAddress {
  readonly index: number;
  readonly address: Ipv4;
  readonly prefixLength: number;
  readonly scope: number;
}

const addressMessage = (type: number, flags: number, item: InterfaceAddress): Uint8Array => {
  const header = new Uint8Array(IFADDR_BYTES);
  header.set([AF_INET, item.prefixLength, 0, item.scope]);
  new DataView(header.buffer).setUint32(4, item.index, true);
  return encodeMessage({
    type,
    flags: flags | NLM_F_ACK,
    header,
    attributes: [u32be(IFA_LOCAL, item.address), u32be(IFA_ADDRESS, item.address)],
  });
};

export const addAddress = (item: InterfaceAddress): Uint8Array =>
  addressMessage(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, item);
export const deleteAddress = (item: InterfaceAddress): Uint8Array => addressMessage(RTM_DELADDR, 0, item);

const dump = (type: number, headerBytes: number): Uint8Array => {
  const header = new Uint8Array(headerBytes);
  header[0] = AF_INET;
  return encodeMessage({ type, flags: NLM_F_DUMP, header, attributes: [] });
};

export const dumpAddresses = (): Uint8Array => dump(RTM_GETADDR, IFADDR_BYTES);
export const dumpRoutes = (): Uint8Array => dump(RTM_GETROUTE, RTMSG_BYTES);
export const dumpNeighbours = (): Uint8Array => dump(RTM_GETNEIGH, NDMSG_BYTES);

export type RouteRefusal = 'truncated' | 'malformed' | 'not_ipv4';

/** The payload of an RTM_NEWADDR. */
export function decodeAddress(payload: Uint8Array): Decoded<InterfaceAddress, RouteRefusal> {
  if (payload.length < IFADDR_BYTES) return refused('truncated');
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  const attributes = decodeAttributes(payload.subarray(IFADDR_BYTES));
  if (!attributes.ok) return refused('malformed');
  const address = attributes.value.u32be(IFA_LOCAL) ?? attributes.value.u32be(IFA_ADDRESS);
  if (view.getUint8(0) !== AF_INET || address === undefined) return refused('not_ipv4');
  return decoded({
    index: view.getUint32(4, true),
    address: ipv4(address),
    prefixLength: view.getUint8(1),
    scope: view.getUint8(3),
  });
}

export interface Route {
  readonly destination: Cidr;
  readonly table: number;
  /** Who made it: RTPROT_BOOT, RTPROT_KERNEL (2), or a program's own number. */
  readonly protocol: number;
  readonly scope: number;
  /** RTN_UNICAST, or blackhole (6), unreachable (7), … */
  readonly type: number;
  /** Output interface; undefined for several next hops or a route without one. */
  readonly index: number | undefined;
  readonly gateway: Ipv4 | undefined;
  readonly preferredSource: Ipv4 | undefined;
  readonly priority: number;
  /** The gateway is reachable on the interface although no route says so. */
  readonly onLink: boolean;
}

function routeMessage(type: number, flags: number, route: Route): Uint8Array {
  const header = new Uint8Array(RTMSG_BYTES);
  const { destination, protocol, scope, gateway, preferredSource, index, priority } = route;
  header.set([AF_INET, destination.prefixLength, 0, 0, 0, protocol, scope, route.type]);
  new DataView(header.buffer).setUint32(8, route.onLink ? RTNH_F_ONLINK : 0, true);
  const attributes: Attribute[] = [u32(RTA_TABLE, route.table)];
  if (destination.prefixLength > 0) attributes.push(u32be(RTA_DST, destination.base));
  if (index !== undefined) attributes.push(u32(RTA_OIF, index));
  if (gateway !== undefined) attributes.push(u32be(RTA_GATEWAY, gateway));
  if (preferredSource !== undefined) attributes.push(u32be(RTA_PREFSRC, preferredSource));
  if (priority !== 0) attributes.push(u32(RTA_PRIORITY, priority));
  return encodeMessage({ type, flags: flags | NLM_F_ACK, header, attributes });
}

export const addRoute = (route: Route): Uint8Array =>
  routeMessage(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, route);
/** Replaces a route with the same destination and priority, whoever made it. */
export const replaceRoute = (route: Route): Uint8Array =>
  routeMessage(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, route);
export const deleteRoute = (route: Route): Uint8Array => routeMessage(RTM_DELROUTE, 0, route);

/** The payload of an RTM_NEWROUTE. */
export function decodeRoute(payload: Uint8Array): Decoded<Route, RouteRefusal> {
  if (payload.length < RTMSG_BYTES) return refused('truncated');
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  const attributes = decodeAttributes(payload.subarray(RTMSG_BYTES));
  if (!attributes.ok) return refused('malformed');
  const prefixLength = view.getUint8(1);
  if (view.getUint8(0) !== AF_INET || prefixLength > 32) return refused('not_ipv4');
  const own = attributes.value;
  const gateway = own.u32be(RTA_GATEWAY);
  const preferredSource = own.u32be(RTA_PREFSRC);
  return decoded({
    destination: { base: ipv4(own.u32be(RTA_DST) ?? 0), prefixLength },
    table: own.u32(RTA_TABLE) ?? view.getUint8(4),
    protocol: view.getUint8(5),
    scope: view.getUint8(6),
    type: view.getUint8(7),
    index: own.bytes(RTA_MULTIPATH) === undefined ? own.u32(RTA_OIF) : undefined,
    gateway: gateway === undefined ? undefined : ipv4(gateway),
    preferredSource: preferredSource === undefined ? undefined : ipv4(preferredSource),
    priority: own.u32(RTA_PRIORITY) ?? 0,
    onLink: (view.getUint32(8, true) & RTNH_F_ONLINK) !== 0,
  });
}

export interface RouteQuestion {
  readonly destination: Ipv4;
  readonly source?: Ipv4;
  /** Interface that the packet comes in by; undefined: this node sends it. */
  readonly inputIndex?: number;
}

/** Asks which route the kernel would take, by its rules and tables; the answer is one RTM_NEWROUTE, or an errno: EHOSTUNREACH, ENETUNREACH, EXDEV (rp_filter). */
export function lookUpRoute({ destination, source, inputIndex }: RouteQuestion): Uint8Array {
  const header = new Uint8Array(RTMSG_BYTES);
  header.set([AF_INET, 32, source === undefined ? 0 : 32]);
  new DataView(header.buffer).setUint32(8, RTM_F_LOOKUP_TABLE, true);
  const attributes: Attribute[] = [u32be(RTA_DST, destination)];
  if (source !== undefined) attributes.push(u32be(RTA_SRC, source));
  if (inputIndex !== undefined) attributes.push(u32(RTA_IIF, inputIndex));
  return encodeMessage({ type: RTM_GETROUTE, flags: NLM_F_ACK, header, attributes });
}

export interface Neighbour {
  readonly index: number;
  readonly address: Ipv4;
  readonly mac: Mac | undefined;
  readonly permanent: boolean;
}

function neighbourMessage(type: number, flags: number, item: Neighbour): Uint8Array {
  const header = new Uint8Array(NDMSG_BYTES);
  header[0] = AF_INET;
  const view = new DataView(header.buffer);
  view.setInt32(4, item.index, true);
  view.setUint16(8, item.permanent ? NUD_PERMANENT : NUD_REACHABLE, true);
  const attributes: Attribute[] = [u32be(NDA_DST, item.address)];
  if (item.mac !== undefined) {
    const bytes = new Uint8Array(6);
    const octets = new DataView(bytes.buffer);
    octets.setUint16(0, Math.floor(item.mac / 2 ** 32));
    octets.setUint32(2, item.mac % 2 ** 32);
    attributes.push(raw(NDA_LLADDR, bytes));
  }
  return encodeMessage({ type, flags: flags | NLM_F_ACK, header, attributes });
}

export const replaceNeighbour = (item: Neighbour): Uint8Array =>
  neighbourMessage(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, item);
export const deleteNeighbour = (item: Neighbour): Uint8Array => neighbourMessage(RTM_DELNEIGH, 0, item);

/** The payload of an RTM_NEWNEIGH. */
export function decodeNeighbour(payload: Uint8Array): Decoded<Neighbour, RouteRefusal> {
  if (payload.length < NDMSG_BYTES) return refused('truncated');
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  const attributes = decodeAttributes(payload.subarray(NDMSG_BYTES));
  if (!attributes.ok) return refused('malformed');
  const address = attributes.value.u32be(NDA_DST);
  if (view.getUint8(0) !== AF_INET || address === undefined) return refused('not_ipv4');
  const octets = attributes.value.bytes(NDA_LLADDR, 6);
  return decoded({
    index: view.getInt32(4, true),
    address: ipv4(address),
    mac: octets && mac(octets.subarray(0, 6).reduce((value, octet) => value * 256 + octet, 0)),
    permanent: (view.getUint16(8, true) & NUD_PERMANENT) !== 0,
  });
}
