// Whether huge pages help the arena: copies of 64 KiB through 16 buffers in a WebAssembly.Memory as it is, and in one that was advised to
// take huge pages (madvise(2)) before it was touched. What the kernel gave is read from /proc/self/smaps.
import { readFileSync } from 'node:fs';

import { Arena, type Region } from '../../agent/linux/arena.ts';
import { check } from '../../agent/linux/libc.ts';
import { costOf, syscall } from './kernel.ts';
import { type Variant, compareInTurns } from './turns.ts';

const MADVISE = 28;
const MADV_HUGEPAGE = 14;
const MADV_NOHUGEPAGE = 15;
const HUGE_BYTES = 2 << 20;
const BUFFERS = 16;
const BUFFER_BYTES = 65_536;
const COPIES = 4096;

export async function measureMemoryPages(): Promise<void> {
  const small = buffersWith(MADV_NOHUGEPAGE);
  const huge = buffersWith(MADV_HUGEPAGE);
  process.stdout.write(
    `Huge pages in use: ${hugeKb(small)} kB without the advice, ${hugeKb(huge)} kB with it\n`,
  );
  const copying = (name: string, region: Region, strideBytes: number): Variant => ({
    name,
    take: () =>
      costOf(COPIES * 1000, () => {
        for (let copy = 0; copy < COPIES; copy++) {
          const from = (copy % BUFFERS) * strideBytes;
          const to = ((copy + 7) % BUFFERS) * strideBytes + BUFFERS * BUFFER_BYTES * 2;
          region.bytes.copyWithin(to, from, from + BUFFER_BYTES);
        }
      }),
  });
  await compareInTurns({
    title: `Copies of 64 KiB through ${BUFFERS} buffers`,
    unit: 'µs of thread CPU per copy',
    rounds: 21,
    variants: [
      copying('pages of 4 KiB (product)', small, BUFFER_BYTES + 64),
      copying('huge pages', huge, BUFFER_BYTES + 64),
    ],
  });
}

/** Two huge pages of buffers, aligned to one, touched after the advice. */
function buffersWith(advice: number): Region {
  const region = new Arena(4 * HUGE_BYTES).allocate(2 * HUGE_BYTES, 64);
  const start = Math.floor(region.address / HUGE_BYTES) * HUGE_BYTES;
  const length = 3 * HUGE_BYTES;
  check(
    syscall(MADVISE, Math.max(start, region.address - (region.address % 4096)), length, advice, 0, 0, 0),
    () => 'advise',
  );
  region.bytes.fill(1);
  return region;
}

function hugeKb(region: Region): number {
  let isInside = false;
  let total = 0;
  for (const line of readFileSync('/proc/self/smaps', 'utf8').split('\n')) {
    const range = /^([\da-f]+)-([\da-f]+) /.exec(line);
    if (range !== null) {
      const [start, end] = [Number.parseInt(range[1] ?? '', 16), Number.parseInt(range[2] ?? '', 16)];
      isInside = start < region.address + region.byteLength && region.address < end;
    } else if (isInside && line.startsWith('AnonHugePages')) total += Number(/\d+/.exec(line)?.[0]);
  }
  return total;
}
