// The captured vectors: what capture-vxlan.ts writes and the tests read.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

export const TUNNEL_PORT = 6784;
/** Inner destination port of the datagram that ends a capture. */
export const SENTINEL_PORT = 7;

export interface VxlanVectors {
  readonly provenance: {
    readonly source: string;
    readonly kernel: string;
    readonly command: string;
    readonly recorded: string;
    /** Whether the senders left checksums and segmentation to devices: then inner checksums are partial, and frames exceed the MTU. */
    readonly offloads: boolean;
  };
  /** Outer Ethernet frames, in the order of capture, hexadecimal. */
  readonly frames: readonly string[];
}

export const VECTOR_FILES = [
  'vxlan-arp.json',
  'vxlan-icmp.json',
  'vxlan-udp.json',
  'vxlan-tcp.json',
  'vxlan-udp-partial.json',
  'vxlan-tcp-partial.json',
] as const;

export type VectorFile = (typeof VECTOR_FILES)[number];

/** The outer Ethernet frames of a vector file. */
export function readVectors(file: VectorFile): readonly Uint8Array[] {
  const text = readFileSync(join(import.meta.dirname, file), 'utf8');
  const vectors = JSON.parse(text) as VxlanVectors; // as: our own file, written by capture-vxlan.ts
  return vectors.frames.map((frame) => new Uint8Array(Buffer.from(frame, 'hex')));
}
