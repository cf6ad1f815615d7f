// Deletions that the shim left on disk while no agent answered: each file is a DEL request, replayed and removed after success. The shim
// renames complete files into place; dot files are its unfinished ones. Replaying twice is harmless: DEL is idempotent.
import { readFile, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';

import { decodeEnvironment } from '../../../proto/cni-environment.ts';
import { decodeRequest, decodeResponse } from '../../../proto/shim-codec.ts';
import { codeOf } from '../../operation-error.ts';
import type { CniServer } from './cni-server.ts';

const SUFFIX = '.del';
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

  const list = async (): Promise<readonly string[]> => {
    try {
      const names = await readdir(directory);
      return names.filter((name) => name.endsWith(SUFFIX) && !name.startsWith('.')).sort();
    } catch (error) {
      if (codeOf(error) !== 'ENOENT') failed(directory, codeOf(error)); // ENOENT: the shim makes it when it needs it
      return [];
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
    for (const name of await list()) {
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
