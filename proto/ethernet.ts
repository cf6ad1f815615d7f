// Ethernet II frame header (IEEE 802.3 clause 3), without tag and without frame check sequence. Big-endian.
//
//   0             6        12          14
//   | destination | source | EtherType | payload
import { type Mac, mac } from './address.ts';
import { viewOf } from './byte-view.ts';
import { type Decoded, decoded, refused } from './decoded.ts';

export const ETHERNET_DESTINATION_OFFSET = 0;
export const ETHERNET_SOURCE_OFFSET = 6;
export const ETHERNET_TYPE_OFFSET = 12;
export const ETHERNET_HEADER_BYTES = 14;
export const MAC_BYTES = 6;

export const ETHERTYPE_IPV4 = 0x0800;
export const ETHERTYPE_ARP = 0x0806;
/** IEEE 802 local experimental 1: our peer probe (probe.ts). */
export const ETHERTYPE_PROBE = 0x88b5;

export const BROADCAST_MAC: Mac = mac(0xffff_ffff_ffff);

export interface EthernetFrame {
  readonly destination: Mac;
  readonly source: Mac;
  /** Below 0x0600 it is an IEEE 802.3 length; not interpreted here. */
  readonly etherType: number;
  /** A view of the input, padding included. */
  readonly payload: Uint8Array;
}

export type EthernetRefusal = 'truncated';

export const loadMac = (view: DataView, offset: number): Mac =>
  mac(view.getUint16(offset) * 2 ** 32 + view.getUint32(offset + 2));

export function storeMac(view: DataView, offset: number, address: Mac): void {
  view.setUint16(offset, Math.floor(address / 2 ** 32));
  view.setUint32(offset + 2, address % 2 ** 32);
}

export function decodeEthernet(bytes: Uint8Array): Decoded<EthernetFrame, EthernetRefusal> {
  if (bytes.length < ETHERNET_HEADER_BYTES) return refused('truncated');
  const view = viewOf(bytes);
  return decoded({
    destination: loadMac(view, ETHERNET_DESTINATION_OFFSET),
    source: loadMac(view, ETHERNET_SOURCE_OFFSET),
    etherType: view.getUint16(ETHERNET_TYPE_OFFSET),
    payload: bytes.subarray(ETHERNET_HEADER_BYTES),
  });
}

/** Writes header and payload; returns the bytes written. */
export function encodeEthernetInto(target: Uint8Array, offset: number, frame: EthernetFrame): number {
  const view = viewOf(target);
  storeMac(view, offset + ETHERNET_DESTINATION_OFFSET, frame.destination);
  storeMac(view, offset + ETHERNET_SOURCE_OFFSET, frame.source);
  view.setUint16(offset + ETHERNET_TYPE_OFFSET, frame.etherType);
  target.set(frame.payload, offset + ETHERNET_HEADER_BYTES);
  return ETHERNET_HEADER_BYTES + frame.payload.length;
}
