// Deletions that the shim left on disk while no agent answered: each file is a DEL request, replayed and removed after success. The shim
// renames complete files into place; dot files are its unfinished ones, removed when they are old. Replaying twice is harmless: DEL is idempotent.
import { readdirSync, rmSync, statSync } from 'node:fs';
import { readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';

import { decodeEnvironment } from '../../../proto/cni-environment.ts';
import { decodeRequest, decodeResponse } from '../../../proto/shim-codec.ts';
import { codeOf } from '../../operation-error.ts';
import type { CniServer } from './cni-server.ts';

const SUFFIX = '.del';
/** Long after the shim's own deadline: whoever has not finished its file by then was killed, and the runtime told. */
const UNFINISHED_MS = 600_000;
/** What is no DEL is put aside, for a person to look at. */
const REFUSED_SUFFIX = '.refused';

export interface TombstonesOptions {
  readonly directory: string;
  readonly answer: CniServer['replay'];
  /** A file that could not be replayed, and why. It stays, unless the reason is its content. */
  readonly failed: (file: string, reason: string) => void;
}

export interface Tombstones {
  /** Replays what is there; resolves to how many were done. One replay runs at a time, a later call looks again. */
  replay(): Promise<number>;
}

export function createTombstones({ directory, answer, failed }: TombstonesOptions): Tombstones {
  let last: Promise<number> = Promise.resolve(0);
  /** Carried out, but the file could not be removed: by then the id may be of a new pod, so not again. File → inode and time. */
  const done = new Map<string, string>();

  // Not in a thread of its own: it is asked before each ADD, when there is nothing, and takes less than to tell a thread of it.
  const list = (): readonly string[] => {
    try {
      const names = readdirSync(directory);
      for (const name of names) if (name.startsWith('.')) dropUnfinished(join(directory, name));
      return names.filter((name) => name.endsWith(SUFFIX) && !name.startsWith('.')).sort();
    } catch (error) {
      if (codeOf(error) !== 'ENOENT') failed(directory, codeOf(error)); // ENOENT: the shim makes it when it needs it
      return [];
    }
  };

  const dropUnfinished = (file: string): void => {
    try {
      if (Date.now() - statSync(file).mtimeMs > UNFINISHED_MS) rmSync(file);
    } catch (error) {
      if (codeOf(error) !== 'ENOENT') failed(file, codeOf(error)); // ENOENT: the shim has just finished it
    }
  };

  /** undefined when it was replayed; what is wrong and what to do otherwise. */
  const replayOne = async (file: string): Promise<string | undefined> => {
    const { ino, mtimeMs } = await stat(file);
    const version = `${ino} ${mtimeMs}`;
    if (done.get(file) === version) {
      await remove(file);
      return undefined;
    }
    const bytes = await readFile(file);
    if (!isDeletion(bytes)) {
      await rename(file, `${file}${REFUSED_SUFFIX}`);
      return `it is not a DEL request; put aside as ${REFUSED_SUFFIX}, delete it when you have looked at it`;
    }
    const response = decodeResponse(await answer({ bytes }));
    if (!response.ok) return response.reason;
    if (response.value.status !== 0) return response.value.json;
    done.set(file, version);
    await remove(file);
    return undefined;
  };

  const remove = async (file: string): Promise<void> => {
    await rm(file, { force: true });
    done.delete(file);
  };

  const replayAll = async (): Promise<number> => {
    let replayed = 0;
    for (const name of list()) {
      const file = join(directory, name);
      const reason = await replayOne(file).catch((error: unknown) => {
        if (codeOf(error) === 'UNKNOWN') throw error; // our own bug
        return `${codeOf(error)}; make the folder readable and writable, it is tried again`;
      });
      if (reason === undefined) replayed += 1;
      else failed(file, reason);
    }
    return replayed;
  };

  return {
    replay: async () => {
      last = last.then(replayAll, replayAll);
      return await last;
    },
  };
}

function isDeletion(bytes: Uint8Array): boolean {
  const request = decodeRequest(bytes);
  if (!request.ok) return false;
  const invocation = decodeEnvironment(request.value.environment);
  return invocation.ok && invocation.value.command === 'DEL';
}
