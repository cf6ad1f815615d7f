// The WASM kernels over an arena's memory (assembly/, AssemblyScript): checksums over payload, cutting and comparing of headers. Offsets
// count from byte 0 of the memory; nothing is checked, so callers pass what they checked. Their plain twins are in
// test/support/packet-kernels-twin.ts; a test holds them together.
import { readFileSync } from 'node:fs';

import { OperationError, codeOf } from '../operation-error.ts';

export interface PacketKernels {
  /** Sum of the 16-bit little-endian words of `length` ≤ 65,535 bytes; not folded, not complemented. */
  readonly sum: (offset: number, length: number) => number;
  /**
   * Writes headers and iovecs of segments `first` to `first + count - 1` of a TCP super-packet: a copy of the headers at each
   * SEGMENT_HEADERS_STRIDE from `copies` on, two iovecs (headers, payload) at each 32 bytes from `iovecs` on. `overlay`: 32 readable bytes.
   */
  readonly cutTcp: (
    ip: number,
    ipHeaderBytes: number,
    tcpHeaderBytes: number,
    length: number,
    gsoSize: number,
    first: number,
    count: number,
    overlay: number,
    copies: number,
    iovecs: number,
  ) => void;
  /** As cutTcp, for UDP; `checksummed` = 0 leaves the checksum 0. */
  readonly cutUdp: (
    ip: number,
    ipHeaderBytes: number,
    checksummed: number,
    length: number,
    gsoSize: number,
    first: number,
    count: number,
    overlay: number,
    copies: number,
    iovecs: number,
  ) => void;
  /** Takes frames of `frameBytes` as long as each continues an open flow of the sender `row`; returns the bytes taken. */
  readonly take: (offset: number, length: number, frameBytes: number, row: number) => number;
  /** The flow of the packet at `ip` grows no more. The packet is TCP or UDP without IPv4 options. */
  readonly close: (ip: number) => void;
  /** Address of byte 0, which iovecs are written with, in two halves. */
  readonly setBase: (low: number, high: number) => void;
  /** Offsets of the flow records, the write batch's ledger and its iovec arrays (kernel-layout.ts). */
  readonly setWrites: (flows: number, ledger: number, iovecs: number) => void;
}

/** Throws OperationError WASM_MISSING when the set-up step was not run. */
export function loadPacketKernels(memory: WebAssembly.Memory): PacketKernels {
  const instance = new WebAssembly.Instance(new WebAssembly.Module(readModule()), { env: { memory } });
  return instance.exports as unknown as PacketKernels; // as: assembly/packet-kernels.ts exports them with these shapes
}

function readModule(): Uint8Array {
  try {
    return readFileSync(new URL('packet-kernels.wasm', import.meta.url));
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw error;
    throw new OperationError(
      'Cannot load packet-kernels.wasm: it is missing (ENOENT); run: node agent/dataplane/assemble.ts',
      { code: 'WASM_MISSING', cause: error },
    );
  }
}
