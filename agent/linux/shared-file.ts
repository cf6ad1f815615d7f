// A file of fixed size on tmpfs that one process maps and others read.
import { closeSync, fstatSync, ftruncateSync, openSync } from 'node:fs';

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
