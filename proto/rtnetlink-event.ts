// What rtnetlink tells by itself to those who joined a group (linux/rtnetlink.h, netconf.h). The messages are those of a dump, and one more:
//   netconfmsg | family | pad 3 | attributes: settings of one interface, i32 each
import { type Decoded, decoded, refused } from './decoded.ts';
import { decodeAttributes } from './netlink.ts';

export const RTNLGRP_LINK = 1;
export const RTNLGRP_IPV4_IFADDR = 5;
export const RTNLGRP_IPV4_ROUTE = 7;
/** forwarding and rp_filter; other settings change in silence. */
export const RTNLGRP_IPV4_NETCONF = 24;

export const RTM_NEWNETCONF = 80;

export const AF_UNSPEC = 0;
/** A bridge's own message about one of its ports. */
export const AF_BRIDGE = 7;

const IFINFO_BYTES = 16;
const IFF_UP = 1;
const NETCONF_BYTES = 4;
const NETCONFA_IFINDEX = 1;
const NETCONFA_FORWARDING = 2;
const NETCONFA_RP_FILTER = 3;

export type EventRefusal = 'truncated' | 'malformed';

export interface LinkHead {
  readonly family: number;
  readonly index: number;
  readonly up: boolean;
}

/** The fixed part of an RTM_NEWLINK or RTM_DELLINK: a storm of them is sorted by it. */
export function decodeLinkHead(payload: Uint8Array): Decoded<LinkHead, EventRefusal> {
  if (payload.length < IFINFO_BYTES) return refused('truncated');
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  return decoded({
    family: view.getUint8(0),
    index: view.getInt32(4, true),
    up: (view.getUint32(8, true) & IFF_UP) !== 0,
  });
}

export interface InterfaceSettings {
  /** Negative: the settings of all interfaces, or the defaults of new ones. */
  readonly index: number;
  /** Undefined: it did not change. */
  readonly forwarding: number | undefined;
  readonly rpFilter: number | undefined;
}

/** The payload of an RTM_NEWNETCONF. */
export function decodeInterfaceSettings(payload: Uint8Array): Decoded<InterfaceSettings, EventRefusal> {
  if (payload.length < NETCONF_BYTES) return refused('truncated');
  const attributes = decodeAttributes(payload.subarray(NETCONF_BYTES));
  const index = attributes.ok ? attributes.value.u32(NETCONFA_IFINDEX) : undefined;
  if (!attributes.ok || index === undefined) return refused('malformed');
  return decoded({
    index: index | 0,
    forwarding: attributes.value.u32(NETCONFA_FORWARDING),
    rpFilter: attributes.value.u32(NETCONFA_RP_FILTER),
  });
}
