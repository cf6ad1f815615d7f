// A file of fixed size on tmpfs that one process maps and others read.
import { closeSync, fstatSync, ftruncateSync, openSync } from 'node:fs';

import type { Region } from './arena.ts';
import { libc, systemError } from './libc.ts';

const PROT_READ_WRITE = 3;
const MAP_SHARED_FIXED = 0x11;
const MAP_PRIVATE_FIXED_ANONYMOUS = 0x32;
const NO_FILE = -1;

/** Makes the file, or keeps one of the right size with its content; another size is started afresh with zeros. */
export function createSharedFile(path: string, byteLength: number): void {
  const fd = openSync(path, 'a+', 0o600);
  try {
    const { size } = fstatSync(fd);
    if (size !== byteLength) {
      ftruncateSync(fd, 0);
      ftruncateSync(fd, byteLength);
    }
  } finally {
    closeSync(fd);
  }
}

/** Puts the file in the region's place. Throws OperationError (errno's name); `what` is the file in its message. */
export function mapShared(region: Region, fd: number, what: string): void {
  const mapped = libc.mmap(region.address, region.byteLength, PROT_READ_WRITE, MAP_SHARED_FIXED, fd, 0);
  if (mapped !== region.address) throw systemError(`map ${what}`, { mapped });
}

/** Puts fresh memory in the place of a file that is mapped there. */
export function unmapShared({ address, byteLength }: Region): void {
  libc.mmap(address, byteLength, PROT_READ_WRITE, MAP_PRIVATE_FIXED_ANONYMOUS, NO_FILE, 0);
}
