// Network interfaces over rtnetlink (linux/if_link.h): RTM_NEWLINK and friends. struct ifinfomsg:
//   0        1     2       4         8       12       16
//   | family | pad | type  | index   | flags | change | attributes
// A link is named by its name or its index; the name goes in IFLA_IFNAME with index 0.
import { type Mac, mac } from './address.ts';
import { type Decoded, decoded, refused } from './decoded.ts';
import {
  type Attribute,
  decodeAttributes,
  encodeAttributes,
  encodeMessage,
  NLM_F_ACK,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_EXCL,
  nest,
  raw,
  text,
  u32,
  u8,
} from './netlink.ts';
import {
  type BridgeChange,
  bridgeData,
  type BridgeSettings,
  changedSettings,
  IFLA_INFO_DATA,
  IFLA_INFO_KIND,
  IFLA_LINKINFO,
  portOf,
  type PortSetting,
  readBridgeSettings,
  readPortSettings,
} from './rtnetlink-bridge.ts';

export const RTM_NEWLINK = 16;
export const RTM_DELLINK = 17;
const RTM_GETLINK = 18;

const IFINFO_BYTES = 16;
const IFF_UP = 1;
const IFF_RUNNING = 0x40;

const IFLA_ADDRESS = 1;
const IFLA_IFNAME = 3;
const IFLA_MTU = 4;
const IFLA_GSO_MAX_SIZE = 41;
const IFLA_LINK = 5;
const IFLA_MASTER = 10;
const IFLA_PROTINFO = 12;
const IFLA_TXQLEN = 13;
const IFLA_IFALIAS = 20;
const IFLA_AF_SPEC = 26;
const IFLA_NET_NS_FD = 28;
const IFLA_EXT_MASK = 29;
const RTEXT_FILTER_SKIP_STATS = 8;

const IFLA_TUN_TYPE = 3;
const VETH_INFO_PEER = 1;

const AF_INET = 2;
const AF_INET6 = 10;
const IFLA_INET_CONF = 1;
const IFLA_INET6_ADDR_GEN_MODE = 8;
const IN6_ADDR_GEN_MODE_NONE = 1;

/** Per-interface IPv4 settings by their number in linux/ip.h; the same as the files under /proc/sys/net/ipv4/conf/NAME. */
export const INET_SETTINGS = {
  forwarding: 1,
  accept_redirects: 4,
  send_redirects: 6,
  rp_filter: 8,
  accept_local: 23,
} as const;
export type InetSetting = keyof typeof INET_SETTINGS;

export interface Link {
  readonly index: number;
  readonly name: string;
  readonly up: boolean;
  /** Up, and its other end too. */
  readonly running: boolean;
  readonly mtu: number;
  readonly txQueueLength: number;
  /** Undefined for a device without an Ethernet address, such as a TUN. */
  readonly address: Mac | undefined;
  /** Index of the bridge that it is a port of. */
  readonly master: number | undefined;
  /** Index of a veth's other end, in that end's namespace. */
  readonly peerIndex: number | undefined;
  readonly alias: string | undefined;
  /** `bridge`, `veth`, `tun`, …; undefined for hardware and loopback. */
  readonly kind: string | undefined;
  /** Of kind `tun`: 1 is a TUN, 2 is a TAP. */
  readonly tunType: number | undefined;
  /** Of a bridge port; an older kernel lacks some. */
  readonly port: Readonly<Partial<Record<PortSetting, number>>> | undefined;
  /** Of a bridge. */
  readonly bridge: BridgeSettings | undefined;
  readonly inet: Readonly<Partial<Record<InetSetting, number>>>;
  /** Whether the kernel makes an IPv6 link-local address when the link goes up; undefined without IPv6. */
  readonly ipv6Addresses: boolean | undefined;
}

export interface LinkChange extends BridgeChange {
  readonly up?: boolean;
  readonly mtu?: number;
  readonly txQueueLength?: number;
  readonly address?: Mac;
  /** Index of a bridge. */
  readonly master?: number;
  readonly alias?: string;
  readonly inet?: Partial<Record<InetSetting, number>>;
  /** Only false: no link-local address, so no router solicitation either. */
  readonly ipv6Addresses?: false;
}

function ifinfo(index: number, flags = 0, change = 0): Uint8Array {
  const bytes = new Uint8Array(IFINFO_BYTES);
  const view = new DataView(bytes.buffer);
  view.setInt32(4, index, true);
  view.setUint32(8, flags, true);
  view.setUint32(12, change, true);
  return bytes;
}

function macBytes(address: Mac): Uint8Array {
  const bytes = new Uint8Array(6);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, Math.floor(address / 2 ** 32));
  view.setUint32(2, address % 2 ** 32);
  return bytes;
}

const readMac = (bytes: Uint8Array): Mac =>
  mac(bytes.subarray(0, 6).reduce((value, octet) => value * 256 + octet, 0));

export interface BridgeToCreate {
  readonly name: string;
  /** Fixed: otherwise it would follow the lowest of the ports' addresses. */
  readonly address: Mac;
  readonly mtu: number;
}

export const createBridge = ({ name, address, mtu }: BridgeToCreate): Uint8Array =>
  encodeMessage({
    type: RTM_NEWLINK,
    flags: NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL,
    header: ifinfo(0),
    attributes: [
      text(IFLA_IFNAME, name),
      u32(IFLA_MTU, mtu),
      raw(IFLA_ADDRESS, macBytes(address)),
      nest(IFLA_LINKINFO, [text(IFLA_INFO_KIND, 'bridge'), bridgeData({ spanningTree: 0 })]),
    ],
  });

export interface VethEnd {
  readonly name: string;
  readonly address: Mac;
}

export interface VethToCreate {
  /** The end in the socket's namespace. */
  readonly near: VethEnd & { readonly master?: number };
  /** The end in the namespace of the descriptor. */
  readonly far: VethEnd & { readonly netnsFd: number; readonly gsoMaxSize?: number };
  readonly mtu: number;
}

export function createVeth({ near, far, mtu }: VethToCreate): Uint8Array {
  const peer = encodeAttributes(ifinfo(0), [
    text(IFLA_IFNAME, far.name),
    u32(IFLA_MTU, mtu),
    ...(far.gsoMaxSize === undefined ? [] : [u32(IFLA_GSO_MAX_SIZE, far.gsoMaxSize)]),
    raw(IFLA_ADDRESS, macBytes(far.address)),
    u32(IFLA_NET_NS_FD, far.netnsFd),
  ]);
  return encodeMessage({
    type: RTM_NEWLINK,
    flags: NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL,
    header: ifinfo(0),
    attributes: [
      text(IFLA_IFNAME, near.name),
      u32(IFLA_MTU, mtu),
      raw(IFLA_ADDRESS, macBytes(near.address)),
      ...(near.master === undefined ? [] : [u32(IFLA_MASTER, near.master)]),
      nest(IFLA_LINKINFO, [text(IFLA_INFO_KIND, 'veth'), nest(IFLA_INFO_DATA, [raw(VETH_INFO_PEER, peer)])]),
    ],
  });
}

function familySettings({ inet, ipv6Addresses }: LinkChange): Attribute[] {
  const settings = Object.entries(inet ?? {}).map(
    ([name, value]) => u32(INET_SETTINGS[name as InetSetting], value), // as: entries forgets the keys
  );
  const families = [
    ...(settings.length > 0 ? [nest(AF_INET, [nest(IFLA_INET_CONF, settings)])] : []),
    ...(ipv6Addresses === false
      ? [nest(AF_INET6, [u8(IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE)])]
      : []),
  ];
  return families.length > 0 ? [nest(IFLA_AF_SPEC, families)] : [];
}

/**
 * Changes an existing link. The kernel applies port settings first, then address, mtu, alias, master, up or down, queue length, and the
 * families' settings last: what must hold before the link is up goes in a message of its own.
 */
export function changeLink(name: string, change: LinkChange): Uint8Array {
  const { up, mtu, txQueueLength, address, master, alias } = change;
  return encodeMessage({
    type: RTM_NEWLINK,
    flags: NLM_F_ACK,
    header: up === undefined ? ifinfo(0) : ifinfo(0, up ? IFF_UP : 0, IFF_UP),
    attributes: [
      text(IFLA_IFNAME, name),
      ...(mtu === undefined ? [] : [u32(IFLA_MTU, mtu)]),
      ...(address === undefined ? [] : [raw(IFLA_ADDRESS, macBytes(address))]),
      ...(master === undefined ? [] : [u32(IFLA_MASTER, master)]),
      ...(alias === undefined ? [] : [text(IFLA_IFALIAS, alias)]),
      ...(txQueueLength === undefined ? [] : [u32(IFLA_TXQLEN, txQueueLength)]),
      ...changedSettings(change),
      ...familySettings(change),
    ],
  });
}

export const renameLink = (index: number, name: string): Uint8Array =>
  encodeMessage({
    type: RTM_NEWLINK,
    flags: NLM_F_ACK,
    header: ifinfo(index),
    attributes: [text(IFLA_IFNAME, name)],
  });

export const deleteLink = (name: string): Uint8Array =>
  encodeMessage({
    type: RTM_DELLINK,
    flags: NLM_F_ACK,
    header: ifinfo(0),
    attributes: [text(IFLA_IFNAME, name)],
  });

export const getLink = (name: string): Uint8Array =>
  encodeMessage({
    type: RTM_GETLINK,
    flags: NLM_F_ACK,
    header: ifinfo(0),
    attributes: [text(IFLA_IFNAME, name), u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS)],
  });

export const dumpLinks = (): Uint8Array =>
  encodeMessage({
    type: RTM_GETLINK,
    flags: NLM_F_DUMP,
    header: ifinfo(0),
    attributes: [u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS)],
  });

/** IFLA_INET_CONF as the kernel dumps it: one u32 per setting, the first being number 1. */
function readInetSettings(bytes: Uint8Array): Partial<Record<InetSetting, number>> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Object.fromEntries(
    Object.entries(INET_SETTINGS)
      .filter(([, number]) => number * 4 <= bytes.length)
      .map(([name, number]) => [name, view.getUint32((number - 1) * 4, true)]),
  );
}

/** The payload of an RTM_NEWLINK. A bridge's notification of a port (family AF_BRIDGE) tells only some of it. */
export function decodeLink(payload: Uint8Array): Decoded<Link, 'truncated' | 'malformed' | 'no_name'> {
  if (payload.length < IFINFO_BYTES) return refused('truncated');
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  const attributes = decodeAttributes(payload.subarray(IFINFO_BYTES));
  if (!attributes.ok) return refused('malformed');
  const own = attributes.value;
  const name = own.text(IFLA_IFNAME);
  if (name === undefined || name === '') return refused('no_name');
  const address = own.bytes(IFLA_ADDRESS);
  const info = own.nested(IFLA_LINKINFO);
  const kind = info?.text(IFLA_INFO_KIND);
  const port = portOf(info) ?? own.nested(IFLA_PROTINFO);
  const families = own.nested(IFLA_AF_SPEC);
  const inet = families?.nested(AF_INET)?.bytes(IFLA_INET_CONF);
  const generation = families?.nested(AF_INET6)?.u8(IFLA_INET6_ADDR_GEN_MODE);
  return decoded({
    index: view.getInt32(4, true),
    name,
    up: (view.getUint32(8, true) & IFF_UP) !== 0,
    running: (view.getUint32(8, true) & IFF_RUNNING) !== 0,
    mtu: own.u32(IFLA_MTU) ?? 0,
    txQueueLength: own.u32(IFLA_TXQLEN) ?? 0,
    address: address?.length === 6 ? readMac(address) : undefined,
    master: own.u32(IFLA_MASTER),
    peerIndex: own.u32(IFLA_LINK),
    alias: own.text(IFLA_IFALIAS),
    kind,
    tunType: kind === 'tun' ? info?.nested(IFLA_INFO_DATA)?.u8(IFLA_TUN_TYPE) : undefined,
    port: port === undefined ? undefined : readPortSettings(port),
    bridge: kind === 'bridge' ? readBridgeSettings(info?.nested(IFLA_INFO_DATA)) : undefined,
    inet: inet === undefined ? {} : readInetSettings(inet),
    ipv6Addresses: generation === undefined ? undefined : generation !== IN6_ADDR_GEN_MODE_NONE,
  });
}
