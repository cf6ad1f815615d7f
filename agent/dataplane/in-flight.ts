// Packets that were taken from the kernel and not handed on yet, in a file on tmpfs that is mapped over the buffers which the kernel reads
// into. A data plane that is killed between a read and its send leaves them there, and the next one hands them on first: a packet may
// then arrive twice, but none is lost. Mapped only when the turn comes: the spare must not touch what the active one works in.
// Invariant: a packet that ends every process that hands it on (our own bug) is tried TRIES times; then all that is in flight is given up.
import type { PacketMemory } from './packet-memory.ts';

/** TUN area, receive buffers and their journals; a multiple of the page size. */
export const IN_FLIGHT_BYTES: number = 5 * 1024 * 1024;
const HEADER_BYTES = 64;
const TRIES = 2;

// File: | layout | bytes in use | tries | … (HEADER_BYTES) | journals and buffers, in the order of allocation
const LAYOUT_OFFSET = 0;
const USED_OFFSET = 4;
const TRIES_OFFSET = 8;

/** `none`: nothing that a process of the same layout wrote; `given_up`: it ended the processes that tried to hand it on. */
export type Found = 'none' | 'in_flight' | 'given_up';

/** The part of a PacketMemory that is mapped, handed out in the same order by every process: so offsets mean the same to all. */
export interface InFlightMemory {
  readonly memory: PacketMemory;
  /** What the process before left; counts a try and marks the file as ours. To be asked once, after mapping. */
  takeOver(): Found;
  /** Everything that was found is handed on. */
  handedOn(): void;
}

/** `offset` of IN_FLIGHT_BYTES that `memory` has allocated. */
export function createInFlightMemory(memory: PacketMemory, offset: number): InFlightMemory {
  const { view } = memory;
  let next = HEADER_BYTES;
  return {
    memory: {
      ...memory,
      allocate(byteLength, alignment = 64) {
        const at = Math.ceil(next / alignment) * alignment;
        if (at + byteLength > IN_FLIGHT_BYTES)
          throw new RangeError(`no room for ${byteLength} bytes in flight`);
        next = at + byteLength;
        return offset + at;
      },
    },
    takeOver() {
      const isKnown =
        view.getUint32(offset + LAYOUT_OFFSET, true) === LAYOUT &&
        view.getUint32(offset + USED_OFFSET, true) === next;
      const tries = isKnown ? view.getUint32(offset + TRIES_OFFSET, true) : 0;
      view.setUint32(offset + TRIES_OFFSET, tries + 1, true);
      view.setUint32(offset + USED_OFFSET, next, true);
      view.setUint32(offset + LAYOUT_OFFSET, LAYOUT, true);
      if (!isKnown) return 'none';
      return tries < TRIES ? 'in_flight' : 'given_up';
    },
    handedOn() {
      view.setUint32(offset + TRIES_OFFSET, 0, true);
    },
  };
}

/** Raised when what lies at which offset changes, or what it means, so that a process of another version ignores what it finds. */
const LAYOUT = 0x57464c04;
