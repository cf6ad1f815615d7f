// From the view of the cluster to what the data plane forwards by. Pure; the publisher adds the generation.
import { type Cidr, type Ipv4, type Mac, type Vni, blockCount, ipv4 } from '../../../proto/address.ts';
import {
  type ForwardingPeer,
  type ForwardingTable,
  OWNER_FIRST_PEER,
  OWNER_NOBODY,
  OWNER_SELF,
} from '../../../proto/forwarding-table.ts';
import type { ClusterView } from './cluster-view.ts';

export interface SelfFacts {
  readonly nodeName: string;
  readonly range: Cidr;
  readonly blockPrefixLength: number;
  readonly vni: Vni;
  readonly vtepMac: Mac;
  /** The bridge's address; undefined while there is none. */
  readonly gateway: Ipv4 | undefined;
}

/** A peer that claims this node's own VTEP MAC is left out: the kernel and we drop what comes from there. */
export function forwardingInputs(view: ClusterView, self: SelfFacts): Omit<ForwardingTable, 'generation'> {
  const peers: ForwardingPeer[] = [];
  const ownerOf = new Map<string, number>([[self.nodeName, OWNER_SELF]]);
  for (const [name, { slot, address, port, vtepMac, probes }] of view.reachable) {
    if (name === self.nodeName || vtepMac === self.vtepMac) continue;
    peers.push({ slot, address, port, vtepMac, probes });
    ownerOf.set(name, OWNER_FIRST_PEER + slot);
  }
  peers.sort((a, b) => a.slot - b.slot);
  const owners = new Uint16Array(blockCount(self.range, self.blockPrefixLength));
  for (const { index, node } of view.held.values()) owners[index] = ownerOf.get(node) ?? OWNER_NOBODY;
  return {
    range: self.range,
    blockPrefixLength: self.blockPrefixLength,
    vni: self.vni,
    vtepMac: self.vtepMac,
    gateway: self.gateway ?? ipv4(0),
    peers,
    owners,
  };
}
