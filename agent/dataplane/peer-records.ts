// What the kernel is shown of each peer, by slot: its socket address, and the VXLAN and Ethernet headers that every inner packet to it
// starts with; and the largest inner packet that its path takes. Rewritten when the table is swapped, while no batch refers to them.
//
//   0           16                 38     64
//   | sockaddr_in | VXLAN | Ethernet |  pad |
import { ETHERTYPE_IPV4, ETHERNET_HEADER_BYTES } from '../../proto/ethernet.ts';
import {
  ETHERNET_DESTINATION_OFFSET,
  ETHERNET_SOURCE_OFFSET,
  ETHERNET_TYPE_OFFSET,
} from '../../proto/ethernet.ts';
import { storeMac } from '../../proto/ethernet.ts';
import { PEER_SLOTS } from '../../proto/dataplane-stats.ts';
import type { ForwardingTable } from '../../proto/forwarding-table.ts';
import { SOCKADDR_IN_BYTES, storeSocketAddress } from '../../proto/socket-address.ts';
import {
  VXLAN_FLAGS_OFFSET,
  VXLAN_FLAGS_WORD,
  VXLAN_HEADER_BYTES,
  VXLAN_VNI_OFFSET,
  VXLAN_VNI_SHIFT,
} from '../../proto/vxlan.ts';
import type { PacketMemory } from './packet-memory.ts';

/** VXLAN and inner Ethernet: what precedes the inner IPv4 packet in a datagram. */
export const OVERLAY_HEADER_BYTES: number = VXLAN_HEADER_BYTES + ETHERNET_HEADER_BYTES;

const RECORD_BYTES = 64;
const NO_LIMIT = 0xffff;

export class PeerRecords {
  readonly #memory: PacketMemory;
  readonly #offset: number;
  readonly #pathMtu: Uint16Array = new Uint16Array(PEER_SLOTS).fill(NO_LIMIT);

  constructor(memory: PacketMemory) {
    this.#memory = memory;
    this.#offset = memory.allocate(PEER_SLOTS * RECORD_BYTES);
  }

  write(table: ForwardingTable): void {
    const { view } = this.#memory;
    for (const peer of table.peers) {
      storeSocketAddress(view, this.addressOf(peer.slot), peer);
      const header = this.headerOf(peer.slot);
      view.setUint32(header + VXLAN_FLAGS_OFFSET, VXLAN_FLAGS_WORD);
      view.setUint32(header + VXLAN_VNI_OFFSET, (table.vni << VXLAN_VNI_SHIFT) >>> 0);
      const ethernet = header + VXLAN_HEADER_BYTES;
      storeMac(view, ethernet + ETHERNET_DESTINATION_OFFSET, peer.vtepMac);
      storeMac(view, ethernet + ETHERNET_SOURCE_OFFSET, table.vtepMac);
      view.setUint16(ethernet + ETHERNET_TYPE_OFFSET, ETHERTYPE_IPV4);
    }
  }

  /** Largest inner packet to the peer; 0xffff where nothing is known. */
  pathMtuOf(slot: number): number {
    return this.#pathMtu[slot]!; // !: below PEER_SLOTS
  }

  /** 0 = nothing is known. */
  setPathMtu(slot: number, mtu: number): void {
    this.#pathMtu[slot] = mtu === 0 ? NO_LIMIT : mtu;
  }

  /** Offset of the peer's struct sockaddr_in. */
  addressOf(slot: number): number {
    return this.#offset + slot * RECORD_BYTES;
  }

  /** Offset of the OVERLAY_HEADER_BYTES that precede an inner IPv4 packet to the peer. */
  headerOf(slot: number): number {
    return this.#offset + slot * RECORD_BYTES + SOCKADDR_IN_BYTES;
  }
}
