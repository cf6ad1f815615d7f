// Packets that were taken from the kernel and not handed on yet, in a file on tmpfs that is mapped over the buffers which the kernel reads
// into. A data plane that is killed between a read and its send leaves them there, and the next one hands them on first: a packet may
// then arrive twice, but none is lost. Mapped only when the turn comes: the spare must not touch what the active one works in.
import type { PacketMemory } from './packet-memory.ts';

/** TUN area, receive buffers and their journals; a multiple of the page size. */
export const IN_FLIGHT_BYTES: number = 2 * 1024 * 1024;
const HEADER_BYTES = 64;

/** The part of a PacketMemory that is mapped, handed out in the same order by every process: so offsets mean the same to all. */
export interface InFlightMemory {
  readonly memory: PacketMemory;
  /** Whether what is mapped was written by a process of the same layout; marks it as ours. To be asked once, after mapping. */
  takeOver(): boolean;
}

/** `offset` of IN_FLIGHT_BYTES that `memory` has allocated. */
export function createInFlightMemory(memory: PacketMemory, offset: number): InFlightMemory {
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
      const known =
        memory.view.getUint32(offset, true) === LAYOUT && memory.view.getUint32(offset + 4, true) === next;
      memory.view.setUint32(offset, LAYOUT, true);
      memory.view.setUint32(offset + 4, next, true);
      return known;
    },
  };
}

/** Raised when what lies at which offset changes, so that a process of another version ignores what it finds. */
const LAYOUT = 0x57464c01;
