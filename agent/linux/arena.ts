// Memory that the kernel sees. One WebAssembly.Memory of fixed size: its backing store never moves and is never freed while the
// arena is referenced, WASM kernels run over it, and an address is base + offset. Regions are handed out once and never returned.
import { invariant } from '../../proto/invariant.ts';

import { addressOf } from './libc.ts';

export interface Region {
  /** Offset of the first byte inside the arena. */
  readonly offset: number;
  /** Address that is passed to a syscall. */
  readonly address: number;
  readonly byteLength: number;
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

const WASM_PAGE_BYTES = 65536;

export class Arena {
  readonly memory: WebAssembly.Memory;
  readonly bytes: Uint8Array;
  readonly base: number;
  #next = 128; // offset 0 stays unused, so that no region's offset reads as "none"

  constructor(byteLength: number) {
    const pages = Math.ceil(byteLength / WASM_PAGE_BYTES);
    this.memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
    this.bytes = new Uint8Array(this.memory.buffer);
    this.base = addressOf(this.bytes);
  }

  /** Zeroed memory. `alignment` is a power of two, a cache line unless told. */
  allocate(byteLength: number, alignment = 64): Region {
    const offset = Math.ceil(this.#next / alignment) * alignment;
    invariant(
      offset + byteLength <= this.bytes.length,
      () => `arena of ${this.bytes.length} B has no room for ${byteLength} B at ${offset}`,
    );
    this.#next = offset + byteLength;
    return {
      offset,
      address: this.base + offset,
      byteLength,
      bytes: new Uint8Array(this.memory.buffer, offset, byteLength),
      view: new DataView(this.memory.buffer, offset, byteLength),
    };
  }
}
