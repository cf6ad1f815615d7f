// Group commit over a log: entries that wait while a sync is under way share the next one. Pure over its storage port.
//
//   waiting ──write──▶ durable                              (promise resolves)
//      ▲      └─failed─▶ undone: an allocation               (undo, then the promise rejects with LOG_UNWRITABLE)
//      └──── retried ◀── kept: a release                     (resolves all the same; memory is right, the log follows)
import { OperationError, codeOf } from '../operation-error.ts';
import { type LogEntry, encodeLogEntry } from './log-record.ts';

/** Durable bytes. One call at a time; failures are errors with a code, after one nothing of the call counts, but for REPLACED_UNSYNCED. */
export interface LogStorage {
  /** Of what is durable. */
  readonly byteLength: number;
  /** Writes behind the last durable byte and syncs. */
  append(bytes: Uint8Array): Promise<void>;
  /** Puts `bytes` in the place of everything, atomically, and syncs. */
  replace(bytes: Uint8Array): Promise<void>;
  /** Lets another writer in. */
  close(): Promise<void>;
}

/** Code of a `replace` that failed after the new content was in place, though perhaps not for good. */
export const REPLACED_UNSYNCED = 'REPLACED_UNSYNCED';

export interface CommitQueueOptions {
  readonly storage: LogStorage;
  /** Entries that give the present state, with all that was handed to `commit` and `keep`. */
  readonly snapshot: () => readonly LogEntry[];
  /** True: what the storage holds is foreign, void or damaged; the first write replaces it. */
  readonly mustRewrite: boolean;
  /** Calls back once after so many milliseconds; for retries. */
  readonly schedule: (delayMs: number, callback: () => void) => void;
}

interface Waiting {
  readonly bytes: Uint8Array;
  /** Undefined for an entry that is kept until it is written. */
  readonly undo: (() => void) | undefined;
  /** Undefined once it was tried. */
  settle: ((failure: OperationError | undefined) => void) | undefined;
}

const RETRY_MS = 1000;
const COMPACT_ABOVE_BYTES = 65536;
const COMPACT_GROWTH = 4;

export class CommitQueue {
  readonly #options: CommitQueueOptions;
  #waiting: Waiting[] = [];
  #running: Promise<void> | undefined;
  #mustRewrite: boolean;
  #compactAbove = COMPACT_ABOVE_BYTES;
  #retryScheduled = false;
  #closed = false;
  #failure: OperationError | undefined;

  constructor(options: CommitQueueOptions) {
    this.#options = options;
    this.#mustRewrite = options.mustRewrite;
  }

  /** Why the last write failed; undefined when it did not. */
  get failure(): OperationError | undefined {
    return this.#failure;
  }

  /** Resolves when the entry is durable. On failure calls `undo` at once, before anything else is written, and rejects. */
  commit(entry: LogEntry, undo: () => void): Promise<void> {
    return this.#wait({ bytes: encodeLogEntry(entry), undo });
  }

  /** Resolves after the first attempt; the entry stays until it is written. */
  async keep(entry: LogEntry): Promise<void> {
    await this.#wait({ bytes: encodeLogEntry(entry), undo: undefined }).catch(() => undefined); // retried; `failure` tells
  }

  /** Replaces the log by the snapshot. Resolves after the first attempt; it is retried until it works. */
  async rewrite(): Promise<void> {
    this.#mustRewrite = true;
    await this.#wait({ bytes: new Uint8Array(0), undo: undefined }).catch(() => undefined); // retried
  }

  /** Writes what is waiting, once more, and lets another writer in. */
  async close(): Promise<void> {
    this.#closed = true;
    while (this.#running !== undefined) await this.#running;
    if (this.#waiting.length > 0) await this.#start();
    await this.#options.storage.close();
  }

  #wait({ bytes, undo }: Pick<Waiting, 'bytes' | 'undo'>): Promise<void> {
    if (this.#closed) {
      undo?.();
      return Promise.reject(unwritable(new OperationError('it is closed', { code: 'CLOSED' })));
    }
    return new Promise((resolve, reject) => {
      const settle = (failure: OperationError | undefined): void =>
        failure === undefined ? resolve() : reject(failure);
      this.#waiting.push({ bytes, undo, settle });
      void this.#start();
    });
  }

  #start(): Promise<void> {
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
      // What came between the last look and now, or has to be tried again.
      if (this.#waiting.some(({ settle }) => settle !== undefined)) void this.#start();
      else if (this.#waiting.length > 0 || this.#mustRewrite) this.#retryLater();
    });
    return this.#running;
  }

  async #run(): Promise<void> {
    await Promise.resolve(); // what is handed over in the same turn shares the sync
    do {
      // The batch and the snapshot are taken in one step: the snapshot holds the batch.
      const batch = this.#waiting;
      this.#waiting = [];
      try {
        await this.#write(batch);
        this.#failure = undefined;
        for (const { settle } of batch) settle?.(undefined);
      } catch (error) {
        this.#failed(batch, unwritable(error));
      }
    } while (this.#waiting.some(({ settle }) => settle !== undefined));
  }

  async #write(batch: readonly Waiting[]): Promise<void> {
    const { storage, snapshot } = this.#options;
    if (this.#mustRewrite || storage.byteLength > this.#compactAbove) {
      const image = concatenate(snapshot().map(encodeLogEntry));
      try {
        await storage.replace(image);
        this.#mustRewrite = false;
        this.#compactAbove = Math.max(COMPACT_ABOVE_BYTES, image.length * COMPACT_GROWTH);
        return;
      } catch (error) {
        // The new content may be in place: it holds the batch, which is about to be undone.
        if (codeOf(error) === REPLACED_UNSYNCED) this.#mustRewrite = true;
        if (this.#mustRewrite) throw error;
        this.#compactAbove = storage.byteLength * 2; // no room for a second copy; the old one can still grow
      }
    }
    if (batch.length > 0) await storage.append(concatenate(batch.map(({ bytes }) => bytes)));
  }

  #failed(batch: readonly Waiting[], failure: OperationError): void {
    this.#failure = failure;
    const kept = batch.filter(({ undo }) => undo === undefined);
    for (const { undo } of batch) undo?.();
    this.#waiting = [...kept, ...this.#waiting];
    for (const waiting of batch) {
      waiting.settle?.(failure);
      waiting.settle = undefined;
    }
  }

  #retryLater(): void {
    if (this.#retryScheduled || this.#closed) return;
    this.#retryScheduled = true;
    this.#options.schedule(RETRY_MS, () => {
      this.#retryScheduled = false;
      if (!this.#closed) void this.#start();
    });
  }
}

const unwritable = (cause: unknown): OperationError =>
  new OperationError(
    `Cannot write the allocation log: ${cause instanceof Error ? cause.message : 'unknown error'}; free space on the state directory's file system or make it writable`,
    { code: 'LOG_UNWRITABLE', cause },
  );

function concatenate(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
