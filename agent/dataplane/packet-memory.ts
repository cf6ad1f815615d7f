// The memory that packets lie in, as the pure modules see it: bytes and offsets, never an address. The composition root makes it
// over an Arena; tests make it over a plain buffer. Offsets count from the first byte of `bytes`.
// On the packet path functions take positional numbers: an options object would be an allocation per packet.
import type { PacketKernels } from './packet-kernels.ts';

export interface PacketMemory {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** What the kernel calls byte 0, in two 32-bit halves; added to offsets where an iovec or msghdr is written. */
  readonly baseLow: number;
  readonly baseHigh: number;
  /** Work on the same bytes. */
  readonly kernels: PacketKernels;
  /** kernels.sum */
  readonly sum: PacketKernels['sum'];
  /** Zeroed bytes that are never given back; returns their offset. `alignment` is a power of two, a cache line unless told. */
  allocate(byteLength: number, alignment?: number): number;
}

const TWO_TO_32 = 0x1_0000_0000;

/** The two halves of an address. */
export const splitAddress = (address: number): { readonly baseLow: number; readonly baseHigh: number } => ({
  baseLow: address % TWO_TO_32,
  baseHigh: Math.floor(address / TWO_TO_32),
});

/** Writes `struct iovec` entry: the bytes at `offset` of the memory. */
export function setIovec(memory: PacketMemory, at: number, offset: number, length: number): void {
  setPointer(memory, at, offset);
  memory.view.setUint32(at + 8, length, true);
  memory.view.setUint32(at + 12, 0, true);
}

/** Writes the address of `offset` as a 64-bit pointer; in halves, because a BigInt would be allocated. */
export function setPointer(memory: PacketMemory, at: number, offset: number): void {
  const low = memory.baseLow + offset;
  memory.view.setUint32(at, low, true);
  memory.view.setUint32(at + 4, low < TWO_TO_32 ? memory.baseHigh : memory.baseHigh + 1, true);
}
