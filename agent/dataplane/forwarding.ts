// The forwarding table as the packet path asks it: who owns an inner address, which peer has an outer one. Built whole from control's
// ForwardingTable and swapped whole between two batches; nothing in it changes afterwards. The same table serves both directions:
// egress asks for the owner of the destination, ingress demands that the owner of the source is the sender.
import type { Ipv4, Vni } from '../../proto/address.ts';
import type { ForwardingPeer, ForwardingTable } from '../../proto/forwarding-table.ts';
import { invariant } from '../../proto/invariant.ts';

/** ownerOf() outside the range. The others are OWNER_NOBODY, OWNER_SELF and OWNER_FIRST_PEER + slot. */
export const OWNER_OUT_OF_RANGE = -1;
/** slotOf() for an address that no peer has. */
export const NO_SLOT = -1;

const HASH_FACTOR = 0x9e37_79b1; // 2^32 / golden ratio: spreads neighbouring addresses

export class Forwarding {
  readonly generation: number;
  readonly vni: Vni;
  readonly gateway: Ipv4;
  readonly peers: readonly ForwardingPeer[];
  readonly vtepMacHigh: number;
  readonly vtepMacLow: number;
  readonly #owners: Uint16Array;
  readonly #rangeBase: number;
  readonly #blockShift: number;
  /** Open addressing with linear steps, at most half full; address 0 marks a free place. */
  readonly #addresses: Uint32Array;
  readonly #slots: Uint16Array;
  readonly #hashShift: number;
  /** By slot; 0 where there is no peer. */
  readonly #macHigh: Uint16Array;
  readonly #macLow: Uint32Array;
  readonly #answersProbes: Uint8Array;

  constructor(table: ForwardingTable) {
    const { range, blockPrefixLength, peers } = table;
    invariant(
      blockPrefixLength > 0 && table.owners.length === 2 ** (blockPrefixLength - range.prefixLength),
      () =>
        `${table.owners.length} owners for blocks of /${blockPrefixLength} in a range of /${range.prefixLength}`,
    );
    this.generation = table.generation;
    this.vni = table.vni;
    this.gateway = table.gateway;
    this.peers = peers;
    this.vtepMacHigh = macHigh(table.vtepMac);
    this.vtepMacLow = macLow(table.vtepMac);
    this.#owners = table.owners;
    this.#rangeBase = range.base;
    this.#blockShift = 32 - blockPrefixLength;

    const bits = Math.max(4, Math.ceil(Math.log2(peers.length * 2 + 1)));
    this.#hashShift = 32 - bits;
    this.#addresses = new Uint32Array(2 ** bits);
    this.#slots = new Uint16Array(2 ** bits);
    const slotCount = peers.reduce((most, peer) => Math.max(most, peer.slot + 1), 0);
    this.#macHigh = new Uint16Array(slotCount);
    this.#macLow = new Uint32Array(slotCount);
    this.#answersProbes = new Uint8Array(slotCount);
    for (const peer of peers) {
      const place = this.#placeOf(peer.address);
      this.#addresses[place] = peer.address;
      this.#slots[place] = peer.slot;
      this.#macHigh[peer.slot] = macHigh(peer.vtepMac);
      this.#macLow[peer.slot] = macLow(peer.vtepMac);
      this.#answersProbes[peer.slot] = peer.probes ? 1 : 0;
    }
  }

  /** Owner of the block that holds an inner address (host order). */
  ownerOf(address: number): number {
    const block = ((address - this.#rangeBase) >>> 0) >>> this.#blockShift;
    return block < this.#owners.length ? this.#owners[block]! : OWNER_OUT_OF_RANGE; // !: bound checked
  }

  /** Slot of the peer with an outer address (host order). Where two claim one address, the later in the table has it. */
  slotOf(address: number): number {
    const place = this.#placeOf(address);
    return address !== 0 && this.#addresses[place] === address ? this.#slots[place]! : NO_SLOT; // !: same length
  }

  /** Whether the peer runs Weft; a kernel VXLAN device answers no probes. */
  answersProbes(slot: number): boolean {
    return this.#answersProbes[slot] === 1;
  }

  isVtepMacOf(slot: number, high: number, low: number): boolean {
    return this.#macHigh[slot] === high && this.#macLow[slot] === low;
  }

  /** Where the address is, or the free place where it would be. Ends because half of the places are free. */
  #placeOf(address: number): number {
    const mask = this.#addresses.length - 1;
    let place = Math.imul(address, HASH_FACTOR) >>> this.#hashShift;
    while (this.#addresses[place] !== 0 && this.#addresses[place] !== address) place = (place + 1) & mask;
    return place;
  }
}

const macHigh = (mac: number): number => Math.floor(mac / 0x1_0000_0000);
const macLow = (mac: number): number => mac % 0x1_0000_0000;
