// Set-up step: assembles every .wat of this directory to .wasm beside it. `node agent/dataplane/assemble.ts`, idempotent.
// The .wasm files are never committed: what runs is made from the source that is read.
import { readFileSync, readdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import loadWabt from 'wabt';

const wabt = await loadWabt();
for (const name of readdirSync(import.meta.dirname)) {
  if (!name.endsWith('.wat')) continue;
  const source = join(import.meta.dirname, name);
  const target = source.replace(/\.wat$/, '.wasm');
  const module = wabt.parseWat(name, readFileSync(source, 'utf8'), { simd: true });
  try {
    module.validate();
    writeFileSync(`${target}.${process.pid}`, module.toBinary({}).buffer);
    renameSync(`${target}.${process.pid}`, target);
  } finally {
    module.destroy();
  }
}
