// What control tells the data plane: one immutable table, swapped whole. Control writes it to a file on tmpfs (rename, so a reader
// sees the old or the new one) and sends one datagram "table"; a data plane that starts reads the file and needs nobody.
// Invariant: owners[block] is 0 (nobody), 1 (this node) or 2 + slot of a peer that is in `peers`.
import type { Cidr, Ipv4, Mac, Vni } from './address.ts';

export const OWNER_NOBODY = 0;
export const OWNER_SELF = 1;
export const OWNER_FIRST_PEER = 2;

export interface ForwardingPeer {
  /** Stable while the peer exists; below PEER_SLOTS. Row 2 + slot of the statistics. */
  readonly slot: number;
  readonly address: Ipv4;
  readonly port: number;
  readonly vtepMac: Mac;
  /** Whether the peer answers probes (a kernel VXLAN peer does not). */
  readonly probes: boolean;
}

export interface ForwardingTable {
  readonly generation: number;
  readonly range: Cidr;
  readonly blockPrefixLength: number;
  readonly vni: Vni;
  readonly vtepMac: Mac;
  /** The bridge's address, source of the ICMP errors that the data plane sends; 0 while there is none. */
  readonly gateway: Ipv4;
  readonly peers: readonly ForwardingPeer[];
  /** One entry per block of the range. */
  readonly owners: Uint16Array;
}
