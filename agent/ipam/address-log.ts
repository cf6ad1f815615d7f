// The allocation log's file: the only I/O of ipam. Append + fdatasync; replacement by temporary file, fsync, rename and fsync of the
// directory; one writer, held by flock on a file beside it (the log itself changes its inode). A file system that is full or read-only
// does not keep the log from being opened: the writes fail, and succeed again when it recovers.
import { constants } from 'node:fs';
import { type FileHandle, mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';

import { libc } from '../linux/libc.ts';
import { OperationError, codeOf } from '../operation-error.ts';
import { type LogStorage, REPLACED_UNSYNCED } from './commit-queue.ts';
import { type LogContent, decodeLog } from './log-record.ts';

export interface OpenedLog {
  /** Undefined: there is none, or it cannot be read (`problem`). */
  readonly content: LogContent | undefined;
  readonly problem: string | undefined;
  readonly storage: LogStorage;
}

const LOCK_EX_NB = 2 | 4; // LOCK_EX | LOCK_NB
const MODE = 0o600;
const DIRECTORY_MODE = 0o700;

export interface AddressLogOptions {
  readonly path: string;
  /** Another process has it open: resolves when it is to be tried again. Without it LOG_LOCKED is thrown. */
  readonly locked?: (error: OperationError) => Promise<void>;
}

/** Throws OperationError: LOG_LOCKED; LOG_UNWRITABLE when the node has no descriptor or memory left for it. */
export async function openAddressLog({ path, locked }: AddressLogOptions): Promise<OpenedLog> {
  await mkdir(dirname(path), { recursive: true, mode: DIRECTORY_MODE }).catch(() => undefined); // the lock's failure tells
  const lock = await firstLock(path, locked);
  const { content, problem } = await readLog(path);
  return { content, problem, storage: new FileStorage({ path, lock, byteLength: content?.validBytes ?? 0 }) };
}

/** They say nothing of the file: another agent may have it open. */
const PASSING: ReadonlySet<string> = new Set(['EMFILE', 'ENFILE', 'ENOMEM']);

/** Undefined: nobody can write here at the moment; the lock is taken before the first write. */
async function firstLock(path: string, locked: AddressLogOptions['locked']): Promise<FileHandle | undefined> {
  for (;;) {
    try {
      return await openLock(path);
    } catch (error) {
      if (PASSING.has(codeOf(error))) {
        throw new OperationError(
          `Cannot open the allocation log "${path}" (${codeOf(error)}): free file descriptors and memory on the node`,
          { code: 'LOG_UNWRITABLE', context: { path }, cause: error },
        );
      }
      if (!(error instanceof OperationError) || error.code !== 'LOG_LOCKED') return undefined;
      if (locked === undefined) throw error;
      await locked(error);
    }
  }
}

async function readLog(path: string): Promise<Pick<OpenedLog, 'content' | 'problem'>> {
  try {
    return { content: decodeLog(await readFile(path)), problem: undefined };
  } catch (error) {
    const problem = codeOf(error) === 'ENOENT' ? 'it does not exist' : `it cannot be read (${codeOf(error)})`;
    return { content: undefined, problem };
  }
}

class FileStorage implements LogStorage {
  readonly #path: string;
  #lock: FileHandle | undefined;
  #file: FileHandle | undefined;
  #byteLength: number;
  /** Bytes behind the durable ones may be in the file. */
  #tailDirty = true;

  /** `byteLength`: what is believed of the file; the first append goes behind it, whatever else is there. */
  constructor(options: { path: string; lock: FileHandle | undefined; byteLength: number }) {
    this.#path = options.path;
    this.#lock = options.lock;
    this.#byteLength = options.byteLength;
  }

  get byteLength(): number {
    return this.#byteLength;
  }

  async append(bytes: Uint8Array): Promise<void> {
    this.#lock ??= await openLock(this.#path);
    this.#file ??= await open(this.#path, constants.O_RDWR);
    if (this.#tailDirty) await this.#file.truncate(this.#byteLength);
    this.#tailDirty = true;
    await writeAll(this.#file, bytes, this.#byteLength);
    await this.#file.datasync();
    this.#byteLength += bytes.length;
    this.#tailDirty = false;
  }

  async replace(bytes: Uint8Array): Promise<void> {
    this.#lock ??= await openLock(this.#path);
    const temporary = `${this.#path}.new`;
    const file = await open(temporary, constants.O_RDWR | constants.O_CREAT | constants.O_TRUNC, MODE);
    try {
      await writeAll(file, bytes, 0);
      await file.sync();
      await rename(temporary, this.#path);
    } catch (error) {
      await file.close();
      await rm(temporary, { force: true }).catch(() => undefined); // it is overwritten the next time
      throw error;
    }
    await this.#file?.close();
    this.#file = file;
    this.#byteLength = bytes.length;
    this.#tailDirty = false;
    await syncDirectory(dirname(this.#path));
  }

  async close(): Promise<void> {
    await this.#file?.close();
    await this.#lock?.close();
    this.#file = undefined;
    this.#lock = undefined;
  }
}

async function openLock(path: string): Promise<FileHandle> {
  const handle = await openLockFile(`${path}.lock`);
  if (libc.flock(handle.fd, LOCK_EX_NB) < 0) {
    await handle.close();
    throw new OperationError(
      `Cannot open the allocation log "${path}": another agent on this node has it open; wait until that one has stopped`,
      { code: 'LOG_LOCKED', context: { path } },
    );
  }
  return handle;
}

async function openLockFile(path: string): Promise<FileHandle> {
  try {
    return await open(path, constants.O_RDWR | constants.O_CREAT, MODE);
  } catch (error) {
    if (codeOf(error) !== 'EROFS') throw error;
    return open(path, constants.O_RDONLY); // a lock needs no write
  }
}

async function writeAll(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let at = 0; at < bytes.length;) {
    const { bytesWritten } = await file.write(bytes, at, bytes.length - at, position + at);
    at += bytesWritten;
  }
}

async function syncDirectory(path: string): Promise<void> {
  try {
    const directory = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      await directory.sync();
    } finally {
      await directory.close();
    }
  } catch (cause) {
    throw new OperationError(`Cannot sync the directory "${path}" (${codeOf(cause)})`, {
      code: REPLACED_UNSYNCED,
      cause,
    });
  }
}
