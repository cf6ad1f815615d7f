// What in this network namespace stands in the way of the pods' range: an address of it on a foreign interface, or a route into it.
import { type Cidr, cidrContains, cidrsOverlap, formatCidr, formatIpv4 } from '../../../proto/address.ts';
import type { Link } from '../../../proto/rtnetlink-link.ts';
import { type InterfaceAddress, type Route, RT_TABLE_MAIN } from '../../../proto/rtnetlink-route.ts';
import { listAddresses, listLinks, listRoutes } from '../../linux/interface.ts';
import { NETLINK_ROUTE, openNetlink } from '../../linux/netlink-socket.ts';
import { OperationError } from '../../operation-error.ts';

export const BRIDGE = 'weave';
export const TUN = 'weft0';
/** Our own routes, as `ip route` shows them: proto 87. */
export const ROUTE_PROTOCOL = 0x57;

/** 0.0.0.0/0, or the two halves that a VPN client sets instead: less specific than any range on purpose. */
const DEFAULT_PREFIX_LENGTH = 1;

export interface KernelNetwork {
  readonly links: readonly Link[];
  readonly addresses: readonly InterfaceAddress[];
  readonly routes: readonly Route[];
}

/** Each conflict in words, naming the object. */
export function rangeConflicts(range: Cidr, { links, addresses, routes }: KernelNetwork): readonly string[] {
  const names = new Map(links.map(({ index, name }) => [index, name]));
  const isOwn = (index: number | undefined): boolean => {
    const name = index === undefined ? undefined : names.get(index);
    return name === BRIDGE || name === TUN;
  };
  const nameOf = (index: number | undefined): string =>
    index === undefined ? 'no single interface' : `"${names.get(index) ?? index}"`;
  return [
    ...addresses
      .filter(({ index, address }) => cidrContains(range, address) && !isOwn(index))
      .map(
        ({ index, address, prefixLength }) =>
          `address ${formatIpv4(address)}/${prefixLength} on ${nameOf(index)}`,
      ),
    ...routes
      .filter(
        ({ table, protocol, index, destination }) =>
          table === RT_TABLE_MAIN &&
          protocol !== ROUTE_PROTOCOL &&
          destination.prefixLength > DEFAULT_PREFIX_LENGTH &&
          cidrsOverlap(destination, range) &&
          !isOwn(index),
      )
      .map(({ index, destination }) => `route ${formatCidr(destination)} on ${nameOf(index)}`),
  ];
}

/** Throws OperationError RANGE_OVERLAP with the first conflict and the remedy. */
export function requireFreeRange(range: Cidr, network: KernelNetwork): void {
  const [first, ...others] = rangeConflicts(range, network);
  if (first === undefined) return;
  const more = others.length === 0 ? '' : ` (and ${others.length} more)`;
  throw new OperationError(
    `Cannot use the range ${formatCidr(range)}: ${first} overlaps it${more}; remove that, or set IPALLOC_RANGE to a range that the node does not use`,
    { code: 'RANGE_OVERLAP', context: { range: formatCidr(range), conflict: first } },
  );
}

/** For start-up: the conflicts of a range in this network namespace, in words; empty when the range is free. */
export function findRangeConflicts(range: Cidr): readonly string[] {
  const netlink = openNetlink(NETLINK_ROUTE);
  try {
    return rangeConflicts(range, {
      links: listLinks(netlink),
      addresses: listAddresses(netlink),
      routes: listRoutes(netlink),
    });
  } finally {
    netlink.close();
  }
}
