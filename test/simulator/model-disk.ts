// A node's state directory: the allocation log and the snapshot of the cluster, with what power loss and failing disks do to them. What a
// write has not synced may be there whole, in part, as garbage or not at all after a crash; what was synced stays.
import type { Attachment } from '../../agent/ipam/address-pool.ts';
import { type LogStorage, REPLACED_UNSYNCED } from '../../agent/ipam/commit-queue.ts';
import type { Snapshot } from '../../agent/control/cluster/snapshot.ts';
import { OperationError } from '../../agent/operation-error.ts';
import type { Chance } from './chance.ts';
import type { VirtualTime } from './virtual-time.ts';

/** The process that writes. An effect of a process that is dead does not happen: it throws. */
export interface Writer {
  effect(): void;
  readonly isDead: boolean;
}

interface Unsynced {
  readonly kind: 'append' | 'replace';
  readonly bytes: Uint8Array;
}

interface Content {
  readonly log: readonly Uint8Array[] | undefined;
  readonly snapshot: Snapshot | undefined;
}

/** What a write costs, in milliseconds. */
const SYNC_MS = [0.2, 3] as const;

export interface ModelDiskOptions {
  readonly time: VirtualTime;
  readonly chance: Chance;
  /** False: a write counts as done before it is durable. */
  readonly syncs: boolean;
}

export class ModelDisk {
  readonly #options: ModelDiskOptions;
  /** As identity.json keeps it. */
  readonly stateId: string;
  #log: Uint8Array[] | undefined;
  /** Of all that is in the file. */
  #length = 0;
  /** Of what the writer knows to be durable. */
  #byteLength = 0;
  #unsynced: Unsynced[] = [];
  snapshot: Snapshot | undefined;
  tombstones: Attachment[] = [];
  /** Writes fail while it is true. */
  isFull = false;
  /** Reading the log fails while it is true. */
  isUnreadable = false;
  writer: Writer | undefined;

  constructor(options: ModelDiskOptions) {
    this.#options = options;
    this.stateId = Array.from({ length: 32 }, () => options.chance.below(16).toString(16)).join('');
  }

  get hasLog(): boolean {
    return this.#log !== undefined;
  }

  /** Undefined: there is none. */
  readLog(): Uint8Array | undefined {
    return this.#log === undefined ? undefined : Buffer.concat(this.#log);
  }

  /** Whether the text is in what was handed over to be written, and not in what is durable. */
  isUnsynced(text: string): boolean {
    const has = (bytes: Uint8Array): boolean =>
      Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).includes(text);
    return this.#unsynced.some(({ bytes }) => has(bytes)) && this.#log?.some(has) !== true;
  }

  /** The writer is gone; what it had not synced ends as it pleases. */
  crash(): void {
    const { chance } = this.#options;
    const lost = this.#unsynced;
    this.#unsynced = [];
    this.writer = undefined;
    for (const { kind, bytes } of lost) {
      const fate = chance.below(4);
      if (fate === 0) return;
      if (kind === 'replace') {
        if (fate < 2) return;
        this.#replace(bytes);
      } else if (fate === 1) this.#append(bytes);
      else {
        const kept = bytes.slice(0, chance.below(bytes.length + 1));
        this.#append(kept);
        // Blocks that the file was given and that were never written.
        if (fate === 3) this.#append(new Uint8Array(chance.below(64)));
        return;
      }
    }
  }

  save(): Content {
    return { log: this.#log === undefined ? undefined : [...this.#log], snapshot: this.snapshot };
  }

  /** Somebody puts an older state back. */
  rollBack({ log, snapshot }: Content): void {
    this.#log = log === undefined ? undefined : [...log];
    this.#length = (log ?? []).reduce((sum, part) => sum + part.length, 0);
    this.snapshot = snapshot;
  }

  /** A byte in the log goes bad. */
  damage(): void {
    const bytes = this.readLog();
    if (bytes === undefined || bytes.length === 0) return;
    const at = this.#options.chance.below(bytes.length);
    bytes[at] = (bytes[at] ?? 0) ^ 0x11;
    this.#replace(bytes);
  }

  /** `validBytes`: what the reader believed; the rest is cut off by the first write. */
  storage(writer: Writer, validBytes: number): LogStorage {
    this.writer = writer;
    this.#byteLength = validBytes;
    const byteLength = (): number => this.#byteLength;
    return {
      get byteLength() {
        return byteLength();
      },
      append: (bytes) => this.#write({ kind: 'append', bytes }, writer),
      replace: (bytes) => this.#write({ kind: 'replace', bytes }, writer),
      close: async () => {
        if (this.writer === writer) this.writer = undefined;
        await Promise.resolve();
      },
    };
  }

  #write(unsynced: Unsynced, writer: Writer): Promise<void> {
    const { time, chance, syncs } = this.#options;
    return new Promise((resolve, reject) => {
      writer.effect();
      if (unsynced.kind === 'append') {
        if (this.#log === undefined) return reject(failure('ENOENT'));
        this.#cutTail();
      }
      this.#unsynced.push(unsynced);
      time.setTimer(chance.between(...SYNC_MS), () => {
        if (writer.isDead || !this.#unsynced.includes(unsynced)) return;
        this.#unsynced = this.#unsynced.filter((other) => other !== unsynced);
        if (this.isFull || chance.happens(0.001)) {
          // Part of it may be there, which the next write cuts off.
          if (unsynced.kind === 'append' && chance.happens(0.5)) this.#append(unsynced.bytes);
          if (syncs) reject(failure('ENOSPC'));
          return;
        }
        const isUnsure = unsynced.kind === 'replace' && syncs && chance.happens(0.01);
        if (unsynced.kind === 'append') this.#append(unsynced.bytes);
        else this.#replace(unsynced.bytes);
        this.#byteLength =
          unsynced.kind === 'append' ? this.#byteLength + unsynced.bytes.length : unsynced.bytes.length;
        if (isUnsure) return reject(failure(REPLACED_UNSYNCED));
        try {
          writer.effect();
        } catch {
          return; // died before it heard of it
        }
        resolve();
      });
      if (!syncs) resolve();
    });
  }

  /** What was not durable goes, as the adapter does it. */
  #cutTail(): void {
    if (this.#length > this.#byteLength)
      this.#replace((this.readLog() ?? new Uint8Array(0)).subarray(0, this.#byteLength));
  }

  #append(bytes: Uint8Array): void {
    (this.#log ??= []).push(bytes);
    this.#length += bytes.length;
  }

  #replace(bytes: Uint8Array): void {
    this.#log = [bytes];
    this.#length = bytes.length;
  }
}

const failure = (code: string): OperationError => new OperationError(`the disk says ${code}`, { code });
