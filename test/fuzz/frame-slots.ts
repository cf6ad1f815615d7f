// Where the frame fuzzers keep their bytes: slots in packet memory, each with a template that is damaged in place, everything between and
// around them POISON. A case costs a few bytes of change and the call that is tried, so that a run has tens of millions of them.
import type { PacketMemory } from '../../agent/dataplane/packet-memory.ts';
import { DROP, type DataplaneStats } from '../../agent/dataplane/stats.ts';
import { statsIndex } from '../../proto/dataplane-stats.ts';
import { OTHER_PEER_SLOT, PEER_SLOT } from '../support/dataplane-rig.ts';
import { POISON } from '../support/random.ts';

export const SLOTS = 16;
/** No template is longer. */
export const SLOT_BYTES = 400;
const GAP_BYTES = 112;
const STRIDE = GAP_BYTES + SLOT_BYTES;

/** xorshift32: one number a step, cheap enough to be drawn several times a case. */
export class FastChance {
  #state: number;

  constructor(seed: number) {
    this.#state = seed | 0 || 1;
  }

  /** 32 bits. */
  next(): number {
    let state = this.#state;
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    this.#state = state;
    return state >>> 0;
  }

  /** 0 ≤ x < bound. */
  below(bound: number): number {
    return Math.floor((this.next() / 2 ** 32) * bound);
  }

  oneIn(count: number): boolean {
    return this.below(count) === 0;
  }
}

export class FrameSlots {
  readonly #memory: PacketMemory;
  readonly #area: number;
  readonly #given: Uint16Array = new Uint16Array(SLOTS);
  /** What the slots must hold: changed with them, compared with them. */
  readonly #shadow: Uint8Array = new Uint8Array(SLOTS * STRIDE + GAP_BYTES).fill(POISON);

  constructor(memory: PacketMemory) {
    this.#memory = memory;
    this.#area = memory.allocate(this.#shadow.length);
    memory.bytes.set(this.#shadow, this.#area);
  }

  offsetOf(slot: number): number {
    return this.#area + GAP_BYTES + slot * STRIDE;
  }

  /** The product is given the first `length` bytes of a slot. */
  give(slot: number, length: number): void {
    this.#given[slot] = length;
  }

  /** Whether a piece of `length` bytes lies inside what was given of one slot. */
  holds(offset: number, length: number): boolean {
    const at = offset - this.#area - GAP_BYTES;
    if (at < 0 || at >= SLOTS * STRIDE) return false;
    return (at % STRIDE) + length <= this.#given[Math.floor(at / STRIDE)]!; // !: bound checked
  }

  /** Whether it lies where nothing is given: in memory that the product allocated. */
  isElsewhere(offset: number, length: number): boolean {
    const end = this.#area + this.#shadow.length;
    return offset + length <= this.#area || offset >= end;
  }

  load(slot: number, template: Uint8Array): void {
    const at = GAP_BYTES + slot * STRIDE;
    this.#shadow.set(template, at);
    this.#shadow.fill(POISON, at + template.length, at + SLOT_BYTES);
    this.#memory.bytes.set(this.#shadow.subarray(at, at + SLOT_BYTES), this.#area + at);
  }

  store(slot: number, at: number, byte: number): void {
    this.#memory.bytes[this.offsetOf(slot) + at] = byte;
    this.#shadow[GAP_BYTES + slot * STRIDE + at] = byte;
  }

  byteAt(slot: number, at: number): number {
    return this.#shadow[GAP_BYTES + slot * STRIDE + at]!; // !: inside the slot
  }

  /** What was given of a slot was the product's to change. */
  adopt(slot: number): void {
    const length = this.#given[slot]!; // !: a slot
    const at = GAP_BYTES + slot * STRIDE;
    this.#shadow.set(this.#memory.bytes.subarray(this.#area + at, this.#area + at + length), at);
  }

  /** Whether every byte, between the slots too, is as it was stored. */
  intact(): boolean {
    const area = this.#memory.bytes.subarray(this.#area, this.#area + this.#shadow.length);
    return Buffer.compare(area, this.#shadow) === 0;
  }

  /** RFC 1071 over the IPv4 header at `at` of a slot, as far as it lies in it: makes its checksum right. */
  mendIpv4(slot: number, at: number): void {
    const headerBytes = Math.min((this.byteAt(slot, at) & 0x0f) * 4, SLOT_BYTES - at);
    let sum = 0;
    for (let word = 0; word + 1 < headerBytes; word += 2) {
      if (word !== 10) sum += this.byteAt(slot, at + word) * 256 + this.byteAt(slot, at + word + 1);
    }
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
    this.store(slot, at + 10, (0xffff - sum) >>> 8);
    this.store(slot, at + 11, (0xffff - sum) & 0xff);
  }
}

const DROP_COLUMNS: readonly number[] = Object.values(DROP);
const ROWS = [0, 2 + PEER_SLOT, 2 + OTHER_PEER_SLOT];

/** How much was counted under any reason since the last call. */
export function takeRefusals(stats: DataplaneStats): number {
  const { cells } = stats;
  let sum = 0;
  for (const row of ROWS) {
    for (const column of DROP_COLUMNS) {
      const cell = statsIndex(row, column);
      const count = cells[cell]!; // !: within the layout
      if (count === 0) continue;
      sum += count;
      cells[cell] = 0;
    }
  }
  return sum;
}

/** Poisoned memory around what the product allocated: `intact` tells that nothing was written there. */
export function createGuards(memory: PacketMemory): { guard(): void; intact(): boolean } {
  const bytes = 4096;
  const poison = new Uint8Array(bytes).fill(POISON);
  const offsets: number[] = [];
  return {
    /** Puts one between what was allocated before and what comes next. */
    guard: () => {
      const offset = memory.allocate(bytes);
      memory.bytes.set(poison, offset);
      offsets.push(offset);
    },
    intact: () =>
      offsets.every((at) => Buffer.compare(memory.bytes.subarray(at, at + bytes), poison) === 0) &&
      memory.bytes.subarray(-65_536).every((byte) => byte === POISON),
  };
}
