// The TCP or UDP checksum of a packet in packet memory. Partial: the field holds the pseudo header's sum and nothing was added to it; a
// kernel VXLAN peer over veth sends that, and its own stack would take it. A complete checksum that happens to equal the pseudo header's
// sum needs no telling apart: completing it gives the same value again.
import { fold, loadWord, protocolLengthSum, storeWord } from '../../proto/checksum.ts';
import { IPV4_SOURCE_OFFSET } from '../../proto/ipv4-packet.ts';
import {
  VIRTIO_NET_CHECKSUM_OFFSET_OFFSET,
  VIRTIO_NET_CHECKSUM_START_OFFSET,
  VIRTIO_NET_FLAGS_OFFSET,
  VIRTIO_NET_HDR_F_NEEDS_CSUM,
} from '../../proto/virtio-net.ts';
import type { PacketMemory } from './packet-memory.ts';

const ADDRESSES_BYTES = 8;

/** Unfolded; `transportBytes` is header and payload. */
export const pseudoSumAt = (
  memory: PacketMemory,
  ip: number,
  protocol: number,
  transportBytes: number,
): number =>
  memory.sum(ip + IPV4_SOURCE_OFFSET, ADDRESSES_BYTES) + protocolLengthSum(protocol, transportBytes);

/** Whether the field at offset `field` holds just the pseudo header's sum. */
export const isPartial = (memory: PacketMemory, field: number, pseudoSum: number): boolean =>
  loadWord(memory.bytes, field) === fold(pseudoSum);

/** Asks whoever takes the packet to complete the checksum: `start` and `offset` as in struct virtio_net_hdr. */
export function needsChecksum(memory: PacketMemory, header: number, start: number, offset: number): void {
  memory.view.setUint8(header + VIRTIO_NET_FLAGS_OFFSET, VIRTIO_NET_HDR_F_NEEDS_CSUM);
  memory.view.setUint16(header + VIRTIO_NET_CHECKSUM_START_OFFSET, start, true);
  memory.view.setUint16(header + VIRTIO_NET_CHECKSUM_OFFSET_OFFSET, offset, true);
}

/** Makes a checksum partial. */
export const storePartial = (memory: PacketMemory, field: number, pseudoSum: number): void =>
  storeWord(memory.bytes, field, fold(pseudoSum));
