// The command's side of a capture: makes the ring files that the data plane's workers look for, reads them, and takes them away. One capture a
// node at a time, held by a lock that ends with the process. The files are filled when they are made: a worker must never touch a page that
// the file system has no room for.
import { closeSync, constants as files, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';

import type { CaptureFilter } from '../../proto/capture-filter.ts';
import {
  CAPTURE_BYTES,
  CaptureRingReader,
  type CapturedPacket,
  captureFileOf,
  encodeCaptureHeader,
} from '../../proto/capture-ring.ts';
import { Arena, type Region } from '../linux/arena.ts';
import { errnoName, errno, libc } from '../linux/libc.ts';
import { mapShared } from '../linux/shared-file.ts';
import { OperationError, codeOf } from '../operation-error.ts';
import { readRoleStates, rolesPath } from '../role-states.ts';

const LOCK_FILE = 'capture.lock';
const LOCK_EX_NB = 6;
const ALIGNMENT = 65_536;
const CHUNK = new Uint8Array(ALIGNMENT);

export interface CaptureFiles {
  /** Packets of all workers that were published since, by time. */
  take(most: number): readonly CapturedPacket[];
  /** The command lives: at least every second. */
  renew(nowMs: number): void;
  /** Of each worker; lookedMs 0 = it has not found the capture yet. */
  workers(): readonly CaptureRingReader['writer'][];
  /** No more packets are taken; what was taken can still be read. */
  end(): void;
  /** Takes the files away. */
  close(): void;
}

/** Throws OperationError: NO_DATAPLANE, CAPTURE_BUSY, or an errno name. */
export function openCaptureFiles(options: {
  readonly runDirectory: string;
  readonly filter: CaptureFilter;
  readonly nowMs: number;
}): CaptureFiles {
  const { runDirectory } = options;
  const dataplane = readRoleStates(rolesPath(runDirectory)).find(({ role }) => role === 'dataplane');
  const count = dataplane === undefined ? 0 : (dataplane.pids?.length ?? 1);
  if (count === 0) {
    throw new OperationError(
      `Cannot capture: ${rolesPath(runDirectory)} names no data plane; run this where the agent runs, as in "kubectl -n weft exec ds/weft -- weft capture"`,
      { code: 'NO_DATAPLANE' },
    );
  }
  const lock = openLock(join(runDirectory, LOCK_FILE));
  const paths = Array.from({ length: count }, (_, worker) => join(runDirectory, captureFileOf(worker)));
  const arena = new Arena(ALIGNMENT + count * CAPTURE_BYTES);
  const header = encodeCaptureHeader(options.filter, options.nowMs);
  const release = (): void => {
    for (const path of paths) rmSync(path, { force: true });
    closeSync(lock);
  };
  try {
    const readers = paths.map((path) => {
      const region = arena.allocate(CAPTURE_BYTES, ALIGNMENT);
      makeFile(path, header, region);
      return new CaptureRingReader(region.bytes);
    });
    return {
      take: (most) => readers.flatMap((reader) => reader.take(most)).sort((a, b) => a.timeMs - b.timeMs),
      renew(nowMs) {
        for (const reader of readers) reader.renew(nowMs);
      },
      workers: () => readers.map((reader) => reader.writer),
      end() {
        for (const reader of readers) reader.end();
      },
      close: release,
    };
  } catch (error) {
    release();
    throw error;
  }
}

function openLock(path: string): number {
  const fd = opened(path, files.O_RDWR | files.O_CREAT);
  if (libc.flock(fd, LOCK_EX_NB) >= 0) return fd;
  const failure = errno();
  closeSync(fd);
  if (failure !== constants.errno.EAGAIN) {
    throw new OperationError(`Cannot lock ${path} (${errnoName(failure)})`, { code: errnoName(failure) });
  }
  throw new OperationError(
    'Cannot capture: another "weft capture" runs on this node, and there is one at a time; end that one first',
    { code: 'CAPTURE_BUSY' },
  );
}

/** Makes the file whole under another name, maps it, and only then gives it the name that a worker looks for. */
function makeFile(path: string, header: Uint8Array, region: Region): void {
  const unfinished = `${path}.new`;
  rmSync(unfinished, { force: true });
  const fd = opened(unfinished, files.O_RDWR | files.O_CREAT | files.O_EXCL);
  try {
    for (let at = 0; at < CAPTURE_BYTES; at += CHUNK.length) writeSync(fd, CHUNK, 0, CHUNK.length, at);
    writeSync(fd, header, 0, header.length, 0);
    mapShared(region, fd, unfinished);
    renameSync(unfinished, path);
  } catch (error) {
    rmSync(unfinished, { force: true });
    throw error;
  } finally {
    closeSync(fd);
  }
}

function opened(path: string, flags: number): number {
  try {
    return openSync(path, flags | files.O_NOFOLLOW, 0o600);
  } catch (error) {
    const code = codeOf(error);
    throw new OperationError(
      `Cannot make ${path} (${code}): a capture needs to be root on the node, or in the agent's container`,
      {
        code,
        cause: error,
      },
    );
  }
}
