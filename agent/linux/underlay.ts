// Facts about the interface that holds the node's underlay address.
import { type Ipv4, formatIpv4 } from '../../proto/address.ts';
import { OperationError } from '../operation-error.ts';
import { listAddresses, listLinks } from './interface.ts';
import { NETLINK_ROUTE, openNetlink } from './netlink-socket.ts';

export interface Underlay {
  readonly name: string;
  readonly mtu: number;
  /** Of the outer packets. */
  readonly family: 'ipv4' | 'ipv6';
}

/** Throws OperationError UNDERLAY_MISSING. */
export function underlayOf(nodeIp: Ipv4): Underlay {
  const route = openNetlink(NETLINK_ROUTE);
  try {
    const index = listAddresses(route).find(({ address }) => address === nodeIp)?.index;
    const link = listLinks(route).find((candidate) => candidate.index === index);
    if (link !== undefined) return { name: link.name, mtu: link.mtu, family: 'ipv4' };
  } finally {
    route.close();
  }
  throw new OperationError(
    `Cannot find the node's address ${formatIpv4(nodeIp)} on any interface: set WEFT_NODE_IP to the address by which the other nodes reach this one`,
    { code: 'UNDERLAY_MISSING', context: { node_ip: formatIpv4(nodeIp) } },
  );
}
