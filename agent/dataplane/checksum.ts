// The WASM SIMD checksum over an arena's memory (checksum.wat). Its plain twin is proto/checksum.ts; a test holds them together.
import { readFileSync } from 'node:fs';

import { OperationError, codeOf } from '../operation-error.ts';

/** Sum of the 16-bit little-endian words of `length` ≤ 65,535 bytes at `offset` of the memory; not folded, not complemented. */
export type Sum = (offset: number, length: number) => number;

/** Throws OperationError WASM_MISSING when the set-up step was not run. */
export function loadChecksum(memory: WebAssembly.Memory): Sum {
  const instance = new WebAssembly.Instance(new WebAssembly.Module(readModule()), { arena: { memory } });
  return instance.exports['sum'] as Sum; // as: checksum.wat exports it with this shape
}

function readModule(): Uint8Array {
  try {
    return readFileSync(new URL('checksum.wasm', import.meta.url));
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw error;
    throw new OperationError(
      'Cannot load checksum.wasm: it is missing (ENOENT); run: node agent/dataplane/assemble.ts',
      { code: 'WASM_MISSING', cause: error },
    );
  }
}
