// VXLAN header (RFC 7348 section 5). Big-endian. As strict as the kernel's device: where the RFC says that a receiver ignores the reserved
// bits, the kernel drops the frame (they belong to extensions that it was not asked for), and so do we.
//
//   0              1              4                 7
//   | flags: 0x08  | reserved: 0  | network id (24) | reserved: 0 | Ethernet frame
import { type Vni, vni } from './address.ts';
import { viewOf } from './byte-view.ts';
import { type Decoded, decoded, refused } from './decoded.ts';

export const VXLAN_FLAGS_OFFSET = 0;
export const VXLAN_VNI_OFFSET = 4;
export const VXLAN_HEADER_BYTES = 8;
/** The whole first word of a valid header, big-endian: the I flag, the network identifier is valid. */
export const VXLAN_FLAGS_WORD = 0x0800_0000;
/** Shift of the network identifier in the second word; the bits below are reserved. */
export const VXLAN_VNI_SHIFT = 8;

export interface VxlanFrame {
  readonly vni: Vni;
  /** The inner Ethernet frame, a view of the input. */
  readonly frame: Uint8Array;
}

/** `flags`: the I flag is missing or a reserved bit is set. */
export type VxlanRefusal = 'truncated' | 'flags';

export function decodeVxlan(bytes: Uint8Array): Decoded<VxlanFrame, VxlanRefusal> {
  if (bytes.length < VXLAN_HEADER_BYTES) return refused('truncated');
  const view = viewOf(bytes);
  const vniWord = view.getUint32(VXLAN_VNI_OFFSET);
  if (view.getUint32(VXLAN_FLAGS_OFFSET) !== VXLAN_FLAGS_WORD || (vniWord & 0xff) !== 0) {
    return refused('flags');
  }
  return decoded({ vni: vni(vniWord >>> VXLAN_VNI_SHIFT), frame: bytes.subarray(VXLAN_HEADER_BYTES) });
}

/** Writes header and inner frame; returns the bytes written. */
export function encodeVxlanInto(target: Uint8Array, offset: number, value: VxlanFrame): number {
  const view = viewOf(target);
  view.setUint32(offset + VXLAN_FLAGS_OFFSET, VXLAN_FLAGS_WORD);
  view.setUint32(offset + VXLAN_VNI_OFFSET, value.vni << VXLAN_VNI_SHIFT);
  target.set(value.frame, offset + VXLAN_HEADER_BYTES);
  return VXLAN_HEADER_BYTES + value.frame.length;
}
