// The host's ends of the pods: which veths are ours, and what their alias says. An alias "weft:<containerId>:<ifname>:<address>" is the record that the kernel keeps; MACs are derived from it, so guard and
// ports can be rebuilt from the kernel alone; one that the runtime asked for stands in it, as 12 digits before the address. A container
// id is random, so another pod cannot guess its neighbour's MAC.
import { createHash } from 'node:crypto';

import { parseIpv4 } from '../../../proto/address-text.ts';
import { formatIpv4, type Ipv4, mac, type Mac } from '../../../proto/address.ts';
import type { Link } from '../../../proto/rtnetlink-link.ts';
import { listLinks } from '../../linux/interface.ts';
import type { NetlinkSocket } from '../../linux/netlink-socket.ts';

export const POD_PORT_PREFIX = 'vethwe';
const ALIAS_PREFIX = 'weft:';

/** Locally administered (second digit e), 40 bits of a hash. */
function derivedMac(alias: string, end: string): Mac {
  const digest = createHash('sha256').update(`${end} ${alias}`).digest();
  return mac(0x0e * 2 ** 40 + digest.readUIntBE(0, 5));
}

export interface PortIdentity {
  readonly containerId: string;
  readonly interfaceName: string;
  readonly address: Ipv4;
  /** Only one that was asked for. */
  readonly mac: Mac | undefined;
}

export function formatAlias({ containerId, interfaceName, address, mac: requested }: PortIdentity): string {
  const digits = requested === undefined ? '' : `${requested.toString(16).padStart(12, '0')}:`;
  return `${ALIAS_PREFIX}${containerId}:${interfaceName}:${digits}${formatIpv4(address)}`;
}

/** The MAC that an alias of ours records; undefined for a derived one. */
export function requestedMacOf(alias: string): Mac | undefined {
  const [, digits] = /^weft:[^:]*:[^:]*:([0-9a-f]{12}):[^:]*$/.exec(alias) ?? [];
  return digits === undefined ? undefined : mac(Number.parseInt(digits, 16));
}

export const podMacOf = (alias: string): Mac => requestedMacOf(alias) ?? derivedMac(alias, 'pod');
export const hostMacOf = (alias: string): Mac => derivedMac(alias, 'host');

/** The address that an alias of ours records; undefined for anything else. */
export function addressOfAlias(alias: string): Ipv4 | undefined {
  if (!alias.startsWith(ALIAS_PREFIX)) return undefined;
  try {
    return parseIpv4(alias.slice(alias.lastIndexOf(':') + 1));
  } catch {
    return undefined;
  }
}

export interface PodPort {
  readonly link: Link;
  readonly alias: string;
}

export const listPodPorts = (route: NetlinkSocket): readonly PodPort[] =>
  listLinks(route).flatMap((link) =>
    link.kind === 'veth' &&
    link.name.startsWith(POD_PORT_PREFIX) &&
    link.alias?.startsWith(ALIAS_PREFIX) === true
      ? [{ link, alias: link.alias }]
      : [],
  );
