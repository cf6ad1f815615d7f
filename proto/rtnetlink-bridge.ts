// A bridge's own settings, and those of its ports, inside an rtnetlink link message (linux/if_link.h):
//   IFLA_LINKINFO | kind "bridge", data: IFLA_BR_*          of the bridge
//                 | slave kind "bridge", slave data: IFLA_BRPORT_*   of a port
import { type Attribute, type Attributes, nest, text, u32, u8 } from './netlink.ts';

export const IFLA_LINKINFO = 18;
export const IFLA_INFO_KIND = 1;
export const IFLA_INFO_DATA = 2;
const IFLA_INFO_SLAVE_KIND = 4;
const IFLA_INFO_SLAVE_DATA = 5;
const IFLA_BR_STP_STATE = 5;

/** Settings of a bridge's port by their number (IFLA_BRPORT_*), named as iproute2 does; one octet each. */
export const PORT_SETTINGS = {
  state: 1,
  hairpin: 4,
  guard: 5,
  root_block: 6,
  learning: 8,
  flood: 9,
  mcast_flood: 27,
  vlan_tunnel: 29,
  bcast_flood: 30,
  neigh_suppress: 32,
  isolated: 33,
  locked: 39,
} as const;
export type PortSetting = keyof typeof PORT_SETTINGS;
/** Of `state`. */
export const PORT_FORWARDING = 3;

export interface BridgeSettings {
  readonly spanningTree: number;
}

export interface BridgeChange {
  /** Of a link that is a port of a bridge already. */
  readonly port?: Partial<Record<PortSetting, number>>;
  /** Of a bridge. */
  readonly bridge?: Partial<BridgeSettings>;
}

export const bridgeData = ({ spanningTree }: Partial<BridgeSettings>): Attribute =>
  nest(IFLA_INFO_DATA, spanningTree === undefined ? [] : [u32(IFLA_BR_STP_STATE, spanningTree)]);

/** IFLA_LINKINFO for the settings; nothing where there are none. */
export function changedSettings({ port, bridge }: BridgeChange): Attribute[] {
  const ofPort = Object.entries(port ?? {}).map(
    ([name, value]) => u8(PORT_SETTINGS[name as PortSetting], value), // as: entries forgets the keys
  );
  const inside = [
    ...(bridge === undefined ? [] : [text(IFLA_INFO_KIND, 'bridge'), bridgeData(bridge)]),
    ...(ofPort.length === 0
      ? []
      : [text(IFLA_INFO_SLAVE_KIND, 'bridge'), nest(IFLA_INFO_SLAVE_DATA, ofPort)]),
  ];
  return inside.length === 0 ? [] : [nest(IFLA_LINKINFO, inside)];
}

/** Where IFLA_LINKINFO holds a port's settings. */
export const portOf = (info: Attributes | undefined): Attributes | undefined =>
  info?.text(IFLA_INFO_SLAVE_KIND) === 'bridge' ? info.nested(IFLA_INFO_SLAVE_DATA) : undefined;

export function readPortSettings(port: Attributes): Partial<Record<PortSetting, number>> {
  const settings = Object.entries(PORT_SETTINGS).map(([name, number]) => [name, port.u8(number)] as const);
  return Object.fromEntries(settings.filter(([, value]) => value !== undefined));
}

export function readBridgeSettings(data: Attributes | undefined): BridgeSettings | undefined {
  const spanningTree = data?.u32(IFLA_BR_STP_STATE);
  return spanningTree === undefined ? undefined : { spanningTree };
}
