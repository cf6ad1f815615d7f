// Files of the state directory that are written whole: a reader finds the old or the new content, also after a power failure.
import { chmod, mkdir, open, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';

/** Durable when it resolves: temporary file, fsync, rename, fsync of the directory, which is made when it is missing. */
export async function replaceFile(directory: string, name: string, content: Uint8Array): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await chmod(directory, 0o700);
  const temporary = join(directory, `${name}.new`);
  await rm(temporary, { force: true });
  const file = await open(temporary, 'wx', 0o600);
  try {
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(temporary, join(directory, name));
  const folder = await open(directory, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
