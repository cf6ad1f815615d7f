// AF_UNIX addresses in the file system, for root only: a 0700 directory, mode 0600.
import { chmodSync, mkdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { constants } from 'node:os';
import { dirname } from 'node:path';

import { OperationError } from '../operation-error.ts';
import { Arena, type Region } from './arena.ts';
import { check, errno, libc, systemError } from './libc.ts';

const AF_UNIX = 1;
export const SOCK_STREAM = 1;
export const SOCK_SEQPACKET = 5;
const SOCK_NONBLOCK_CLOEXEC = 0o2004000;
const PATH_AT = 2;
/** sun_path without its NUL. */
const MAX_PATH_BYTES = 107;
const { ECONNREFUSED, ENOENT } = constants.errno;

/** Makes the directory root's alone. kubelet makes hostPath directories 0755, so one that exists is narrowed; a shared one is not ours to. */
function ensurePrivateDirectory(directory: string): void {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const { mode, uid } = statSync(directory);
  if ((mode & 0o1022) !== 0 || uid !== 0) {
    throw new OperationError(
      `Cannot listen in ${directory}: others can write there: choose a directory of root's own`,
      { code: 'DIRECTORY_SHARED', context: { directory } },
    );
  }
  if ((mode & 0o077) !== 0) chmodSync(directory, 0o700);
}

/**
 * A listening, non-blocking socket. It is bound beside its path and renamed into place, so a new agent takes over from a live one without a
 * gap. The file is never unlinked: by then it may be a successor's. Throws OperationError (errno name, DIRECTORY_SHARED).
 */
export function listenAt({ path, type, backlog }: { path: string; type: number; backlog: number }): number {
  // Unlike a pid, the monotonic clock differs between the containers of two agents that start on one node.
  const beside = `${path}.${process.hrtime.bigint().toString(36)}`;
  const { address, length } = unixAddress(beside);
  ensurePrivateDirectory(dirname(path));
  const fd = check(libc.socket(AF_UNIX, type | SOCK_NONBLOCK_CLOEXEC, 0), () => `open a socket for ${path}`);
  try {
    check(libc.bind(fd, address.address, length), () => `bind ${beside}`);
    chmodSync(beside, 0o600);
    check(libc.listen(fd, backlog), () => `listen on ${beside}`);
    renameSync(beside, path);
    return fd;
  } catch (error) {
    libc.close(fd);
    rmSync(beside, { force: true });
    throw error;
  }
}

/** Undefined when nobody listens there. Throws OperationError (errno name). */
export function connectTo({ path, type }: { path: string; type: number }): number | undefined {
  const { address, length } = unixAddress(path);
  const fd = check(libc.socket(AF_UNIX, type | SOCK_NONBLOCK_CLOEXEC, 0), () => `open a socket for ${path}`);
  if (libc.connect(fd, address.address, length) >= 0) return fd;
  const failure = errno();
  const error = systemError(`connect to ${path}`);
  libc.close(fd);
  if (failure === ENOENT || failure === ECONNREFUSED) return undefined;
  throw error;
}

function unixAddress(path: string): { readonly address: Region; readonly length: number } {
  const bytes = new TextEncoder().encode(path);
  if (bytes.length > MAX_PATH_BYTES) {
    throw new OperationError(
      `Cannot use the socket ${path}: choose a path of at most ${MAX_PATH_BYTES} bytes`,
      {
        code: 'ENAMETOOLONG',
        context: { path },
      },
    );
  }
  const address = new Arena(1).allocate(PATH_AT + MAX_PATH_BYTES + 1);
  address.view.setUint16(0, AF_UNIX, true);
  address.bytes.set(bytes, PATH_AT);
  return { address, length: PATH_AT + bytes.length + 1 };
}
