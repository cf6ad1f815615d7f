// Writes the snapshot behind the caller's back: `save` returns at once, calls that come together make one file, and a disk that fails
// costs nothing but a report; the next attempt follows by itself. Atomic and durable (replace-file.ts).
import { join } from 'node:path';

import type { Clock } from '../../kube/clock.ts';
import { OperationError, codeOf } from '../../operation-error.ts';
import { replaceFile } from '../replace-file.ts';
import { SNAPSHOT_FILE, type Snapshot, encodeSnapshot } from './snapshot.ts';

export interface SnapshotWriter {
  /** `take` is called when it is written; only the last one given is. */
  save(take: () => Snapshot): void;
  /** Whether what was saved so far is on the disk; false when that failed, or nothing is taken any more. */
  flush(): Promise<boolean>;
  /** Flushes and takes nothing more. */
  close(): Promise<void>;
}

export interface SnapshotWriterOptions {
  readonly directory: string;
  readonly clock: Clock;
  /** OperationError SNAPSHOT_UNWRITABLE; it is tried again. */
  readonly failed: (error: OperationError) => void;
  /** It is on the disk. */
  readonly written?: () => void;
  /** Least time between a save and its file. */
  readonly delayMs?: number;
  /** Durable when it resolves; `writeSnapshot` unless told. */
  readonly write?: (directory: string, snapshot: Snapshot) => Promise<void>;
}

const DELAY_MS = 500;
const RETRY_MS = 30_000;

export function createSnapshotWriter(options: SnapshotWriterOptions): SnapshotWriter {
  const { directory, clock, failed, delayMs = DELAY_MS, write = writeSnapshot } = options;
  let pending: (() => Snapshot) | undefined;
  let cancelTimer: (() => void) | undefined;
  let writing: Promise<void> | undefined;
  let closed = false;

  const schedule = (afterMs: number): void => {
    cancelTimer ??= clock.setTimer(afterMs, () => {
      cancelTimer = undefined;
      if (writing === undefined) start();
    });
  };

  /** Never rejects. */
  function start(): void {
    const take = pending;
    if (take === undefined) return;
    pending = undefined;
    writing = write(directory, take())
      .then(() => options.written?.())
      .catch((error: unknown) => {
        pending ??= take;
        failed(unwritable(directory, error));
        if (!closed) schedule(RETRY_MS);
      })
      .finally(() => {
        writing = undefined;
        if (pending !== undefined && !closed) schedule(delayMs);
      });
  }

  async function flush(): Promise<boolean> {
    await writing;
    cancelTimer?.();
    cancelTimer = undefined;
    start();
    await writing;
    return pending === undefined && !closed;
  }

  return {
    save(take) {
      if (closed) return;
      pending = take;
      schedule(delayMs);
    },
    flush,
    async close() {
      closed = true;
      await flush();
      cancelTimer?.();
    },
  };
}

/** Replaces the snapshot in `directory`, which is made when it is missing. */
export const writeSnapshot = (directory: string, snapshot: Snapshot): Promise<void> =>
  replaceFile(directory, SNAPSHOT_FILE, encodeSnapshot(snapshot));

function unwritable(directory: string, error: unknown): OperationError {
  const path = join(directory, SNAPSHOT_FILE);
  const reason = error instanceof Error ? error.message : String(error);
  return new OperationError(
    `Cannot write "${path}": ${reason}; should the agent start while the API is down, it knows older state only: free space there or make it writable, it is tried again`,
    { code: 'SNAPSHOT_UNWRITABLE', context: { path, errno: codeOf(error) }, cause: error },
  );
}
