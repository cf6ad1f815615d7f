// struct sockaddr_in (ip(7)), how the kernel is told an IPv4 address and a port. Port and address are big-endian, the family is in host order.
//
//   0        2      4         8       16
//   | family | port | address | zeros |
import type { Ipv4 } from './address.ts';

export const SOCKADDR_IN_BYTES = 16;

const AF_INET = 2;
const PORT_OFFSET = 2;
const ADDRESS_OFFSET = 4;

/** The zeros are there already. */
export function storeSocketAddress(
  view: DataView,
  at: number,
  { address, port }: { readonly address: Ipv4; readonly port: number },
): void {
  view.setUint16(at, AF_INET, true);
  view.setUint16(at + PORT_OFFSET, port);
  view.setUint32(at + ADDRESS_OFFSET, address);
}

export const portAt = (view: DataView, at: number): number => view.getUint16(at + PORT_OFFSET);

/** In host order. */
export const addressAt = (view: DataView, at: number): number => view.getUint32(at + ADDRESS_OFFSET);
