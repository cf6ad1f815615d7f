// Set-up step: compiles assembly/ (AssemblyScript) to packet-kernels.wasm beside this file. `node agent/dataplane/assemble.ts`, idempotent.
// The .wasm file is never committed: what runs is made from the source that is read. The compiler runs as a program: its types would
// change those of the whole checkout.
import { execFileSync } from 'node:child_process';
import { renameSync } from 'node:fs';
import { join } from 'node:path';

const COMPILER = join(import.meta.dirname, '../../node_modules/assemblyscript/bin/asc.js');
const TARGET = join(import.meta.dirname, 'packet-kernels.wasm');
const made = `${TARGET}.${process.pid}`;
const options = [
  ...'--optimizeLevel 3 --shrinkLevel 0 --converge --noAssert'.split(' '),
  ...'--runtime stub --enable simd --importMemory --use abort='.split(' '),
];
execFileSync(
  process.execPath,
  [COMPILER, join(import.meta.dirname, 'assembly/packet-kernels.ts'), '--outFile', made, ...options],
  { stdio: 'inherit' },
);
renameSync(made, TARGET);
