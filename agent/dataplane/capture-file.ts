// Finds the file that `weft capture` makes for this worker, and turns the tap on and off by it: looked for once a second, mapped while the
// command lives. A worker's successor and a new agent's find it too, so a capture goes on through both. Nothing here fails: a capture that
// cannot be is none, and packets go on.
import { closeSync, constants, fstatSync, openSync, readSync, statSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';

import {
  ABANDONED_MS,
  CAPTURE_BYTES,
  CAPTURE_HEADER_BYTES,
  CaptureRingWriter,
  LEASE_MS,
  captureFileOf,
  captureState,
} from '../../proto/capture-ring.ts';
import type { Region } from '../linux/arena.ts';
import { mapShared, unmapShared } from '../linux/shared-file.ts';
import { portOf } from '../linux/udp-socket.ts';
import type { Clock } from './clock.ts';
import type { PacketMemory } from './packet-memory.ts';
import type { PeerRecords } from './peer-records.ts';
import type { Tap } from './tap.ts';

const NOTHING = -1;

export interface CaptureFileOptions {
  readonly directory: string;
  readonly memory: PacketMemory;
  /** CAPTURE_BYTES for the file. */
  readonly region: Region;
  readonly tap: Tap;
  readonly records: PeerRecords;
  readonly clock: Clock;
  /** The send sockets. */
  readonly sockets: readonly number[];
}

export class CaptureFile {
  readonly #options: CaptureFileOptions;
  readonly #header: DataView = new DataView(new ArrayBuffer(CAPTURE_HEADER_BYTES));
  #ring: CaptureRingWriter | undefined;
  /** Of the mapped file. */
  #inode = NOTHING;

  constructor(options: CaptureFileOptions) {
    this.#options = options;
  }

  look(worker: number): void {
    const { clock } = this.#options;
    const path = join(this.#options.directory, captureFileOf(worker));
    const inode = inodeOf(path);
    if (this.#ring !== undefined) {
      if (inode === this.#inode && !this.#ring.isEnded && clock.nowMs - this.#ring.leaseMs <= LEASE_MS) {
        this.#ring.looked(clock.nowMs);
        return;
      }
      this.#forget();
    }
    if (inode !== NOTHING) this.#take(path);
  }

  #take(path: string): void {
    const { clock, tap, records, region, memory, sockets } = this.#options;
    try {
      const fd = openSync(path, constants.O_RDWR | constants.O_NOFOLLOW);
      try {
        const { size, ino } = fstatSync(fd);
        if (size !== CAPTURE_BYTES || readSync(fd, this.#header, { position: 0 }) < CAPTURE_HEADER_BYTES)
          return;
        const state = captureState(this.#header);
        if (state === undefined || state.isEnded) return;
        const silentMs = clock.nowMs - state.leaseMs;
        if (silentMs > ABANDONED_MS && inodeOf(path) === ino) unlinkSync(path);
        if (silentMs > LEASE_MS) return;
        mapShared(region, fd, path);
        this.#inode = ino;
      } finally {
        closeSync(fd);
      }
    } catch {
      return; // taken away meanwhile, or not ours to read or map
    }
    this.#ring = new CaptureRingWriter(memory, region.offset);
    this.#ring.begin(process.pid, sockets.map(portOf));
    this.#ring.looked(clock.nowMs);
    tap.turnOn({ ring: this.#ring, records, nowMs: () => clock.read() });
  }

  #forget(): void {
    const { tap, region } = this.#options;
    tap.turnOff();
    this.#ring = undefined;
    this.#inode = NOTHING;
    unmapShared(region);
  }
}

function inodeOf(path: string): number {
  try {
    return statSync(path, { throwIfNoEntry: false })?.ino ?? NOTHING;
  } catch {
    return NOTHING;
  }
}
