// struct virtio_net_hdr, what precedes every packet of a TUN opened with IFF_VNET_HDR (linux/virtio_net.h; VIRTIO 1.3 section 5.1.6).
// Ten bytes, without num_buffers. Host order; every machine that we run on is little-endian.
//
//   0       1          2               4          6                8
//   | flags | gso_type | header length | gso size | checksum start | checksum offset | packet
import { viewOf } from './byte-view.ts';
import { type Decoded, decoded, refused } from './decoded.ts';

export const VIRTIO_NET_FLAGS_OFFSET = 0;
export const VIRTIO_NET_GSO_TYPE_OFFSET = 1;
export const VIRTIO_NET_HEADER_LENGTH_OFFSET = 2;
export const VIRTIO_NET_GSO_SIZE_OFFSET = 4;
export const VIRTIO_NET_CHECKSUM_START_OFFSET = 6;
export const VIRTIO_NET_CHECKSUM_OFFSET_OFFSET = 8;
export const VIRTIO_NET_HDR_BYTES = 10;

// Bits of the byte at VIRTIO_NET_FLAGS_OFFSET.
/** The transport checksum holds the pseudo header's sum only: complete it from checksum start on. */
export const VIRTIO_NET_HDR_F_NEEDS_CSUM = 1;
export const VIRTIO_NET_HDR_F_DATA_VALID = 2;

// Values of the byte at VIRTIO_NET_GSO_TYPE_OFFSET.
export const VIRTIO_NET_HDR_GSO_NONE = 0;
export const VIRTIO_NET_HDR_GSO_TCPV4 = 1;
/** UDP fragmentation (UFO): gone from Linux, never offered. */
export const VIRTIO_NET_HDR_GSO_UDP = 3;
export const VIRTIO_NET_HDR_GSO_TCPV6 = 4;
/** UDP segmentation (USO), both address families. */
export const VIRTIO_NET_HDR_GSO_UDP_L4 = 5;
/** Added to the TCP types: the first segment alone carries CWR. */
export const VIRTIO_NET_HDR_GSO_ECN = 0x80;

export type VirtioNetSegmentation =
  | typeof VIRTIO_NET_HDR_GSO_NONE
  | typeof VIRTIO_NET_HDR_GSO_TCPV4
  | typeof VIRTIO_NET_HDR_GSO_UDP
  | typeof VIRTIO_NET_HDR_GSO_TCPV6
  | typeof VIRTIO_NET_HDR_GSO_UDP_L4;

export interface VirtioNetHeader {
  readonly needsChecksum: boolean;
  readonly dataValid: boolean;
  readonly segmentation: VirtioNetSegmentation;
  readonly ecn: boolean;
  /** Link, network and transport headers together; a hint, 0 when it is not given. */
  readonly headerLength: number;
  /** Payload bytes of every segment but the last. */
  readonly gsoSize: number;
  /** From the packet's first byte: where the sum starts. */
  readonly checksumStart: number;
  /** From checksumStart: where the checksum goes. */
  readonly checksumOffset: number;
}

export type VirtioNetRefusal = 'truncated' | 'flags' | 'gso_type';

const isSegmentation = (type: number): type is VirtioNetSegmentation =>
  type === VIRTIO_NET_HDR_GSO_NONE ||
  type === VIRTIO_NET_HDR_GSO_TCPV4 ||
  type === VIRTIO_NET_HDR_GSO_UDP ||
  type === VIRTIO_NET_HDR_GSO_TCPV6 ||
  type === VIRTIO_NET_HDR_GSO_UDP_L4;

/** The header at the start of `bytes`; whether its positions lie inside the packet is the caller's check. */
export function decodeVirtioNetHeader(bytes: Uint8Array): Decoded<VirtioNetHeader, VirtioNetRefusal> {
  if (bytes.length < VIRTIO_NET_HDR_BYTES) return refused('truncated');
  const view = viewOf(bytes);
  const flags = view.getUint8(VIRTIO_NET_FLAGS_OFFSET);
  if ((flags & ~(VIRTIO_NET_HDR_F_NEEDS_CSUM | VIRTIO_NET_HDR_F_DATA_VALID)) !== 0) return refused('flags');
  const gsoType = view.getUint8(VIRTIO_NET_GSO_TYPE_OFFSET);
  const segmentation = gsoType & ~VIRTIO_NET_HDR_GSO_ECN;
  if (!isSegmentation(segmentation)) return refused('gso_type');
  return decoded({
    needsChecksum: (flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) !== 0,
    dataValid: (flags & VIRTIO_NET_HDR_F_DATA_VALID) !== 0,
    segmentation,
    ecn: (gsoType & VIRTIO_NET_HDR_GSO_ECN) !== 0,
    headerLength: view.getUint16(VIRTIO_NET_HEADER_LENGTH_OFFSET, true),
    gsoSize: view.getUint16(VIRTIO_NET_GSO_SIZE_OFFSET, true),
    checksumStart: view.getUint16(VIRTIO_NET_CHECKSUM_START_OFFSET, true),
    checksumOffset: view.getUint16(VIRTIO_NET_CHECKSUM_OFFSET_OFFSET, true),
  });
}

/** Writes the header; returns the bytes written. */
export function encodeVirtioNetHeaderInto(
  target: Uint8Array,
  offset: number,
  header: VirtioNetHeader,
): number {
  const view = viewOf(target);
  view.setUint8(
    offset + VIRTIO_NET_FLAGS_OFFSET,
    (header.needsChecksum ? VIRTIO_NET_HDR_F_NEEDS_CSUM : 0) |
      (header.dataValid ? VIRTIO_NET_HDR_F_DATA_VALID : 0),
  );
  view.setUint8(
    offset + VIRTIO_NET_GSO_TYPE_OFFSET,
    header.segmentation | (header.ecn ? VIRTIO_NET_HDR_GSO_ECN : 0),
  );
  view.setUint16(offset + VIRTIO_NET_HEADER_LENGTH_OFFSET, header.headerLength, true);
  view.setUint16(offset + VIRTIO_NET_GSO_SIZE_OFFSET, header.gsoSize, true);
  view.setUint16(offset + VIRTIO_NET_CHECKSUM_START_OFFSET, header.checksumStart, true);
  view.setUint16(offset + VIRTIO_NET_CHECKSUM_OFFSET_OFFSET, header.checksumOffset, true);
  return VIRTIO_NET_HDR_BYTES;
}
