// The node's underlay address where nobody told it: the address of the interface that holds the default route, as the kernel chooses it.
import { readFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';

import type { Ipv4 } from '../../proto/address.ts';
import { parseIpv4 } from '../../proto/address-text.ts';
import { OperationError } from '../operation-error.ts';

/** Throws OperationError NO_NODE_ADDRESS when there is no IPv4 default route. */
export function findNodeAddress(routeTable: string = readFileSync('/proc/net/route', 'utf8')): Ipv4 {
  const route = routeTable
    .split('\n')
    .slice(1)
    .map((line) => line.split('\t'))
    .filter(([, destination, , , , , , mask]) => destination === '00000000' && mask === '00000000')
    .sort((a, b) => Number(a[6]) - Number(b[6]))[0];
  const name = route?.[0] ?? '';
  const address = networkInterfaces()[name]?.find(({ family }) => family === 'IPv4')?.address;
  if (address === undefined) {
    throw new OperationError(
      "Cannot find the node's address: there is no IPv4 default route; set WEFT_NODE_IP (in a manifest: fieldRef status.hostIP)",
      { code: 'NO_NODE_ADDRESS' },
    );
  }
  return parseIpv4(address);
}
