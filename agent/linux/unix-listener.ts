// A listening AF_UNIX stream socket for root only: a 0700 directory, mode 0600, peers of uid 0. It is bound beside its path and renamed
// into place, so a new agent takes over from a live one without a gap. The file is never unlinked: by then it may be a successor's.
import { chmodSync, mkdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { constants } from 'node:os';
import { dirname } from 'node:path';

import { OperationError } from '../operation-error.ts';
import { Arena, type Region } from './arena.ts';
import { check, errno, libc, systemError } from './libc.ts';
import { READABLE, type Readiness } from './readiness.ts';
import {
  type ConnectionMemory,
  type MessageHandling,
  UnixConnection,
  allocateConnectionMemory,
} from './unix-connection.ts';

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_NONBLOCK_CLOEXEC = 0o2004000;
const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
const PATH_AT = 2;
/** sun_path without its NUL. */
const MAX_PATH_BYTES = 107;
const BACKLOG = 1024;
/** How long to leave the queue alone after accept failed for want of descriptors or memory. */
const ACCEPT_PAUSE_MS = 200;
const { EAGAIN, EINTR, ECONNABORTED } = constants.errno;

export interface UnixListenerOptions extends MessageHandling {
  readonly path: string;
  readonly readiness: Readiness;
  /** More wait in the kernel's queue. */
  readonly maxConnections?: number;
}

export interface UnixListener {
  /** Serves what is already connected or queued, then closes; resolves when the last connection has ended (bounded by the deadline). */
  close(): Promise<void>;
}

/** Throws OperationError (errno name, DIRECTORY_SHARED). */
export function openUnixListener(options: UnixListenerOptions): UnixListener {
  return new Listener(options, bindAt(options.path));
}

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

function bindAt(path: string): number {
  // Unlike a pid, the monotonic clock differs between the containers of two agents that start on one node.
  const beside = `${path}.${process.hrtime.bigint().toString(36)}`;
  const { address, length } = unixAddress(beside);
  ensurePrivateDirectory(dirname(path));
  const fd = check(
    libc.socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK_CLOEXEC, 0),
    () => `open a socket for ${path}`,
  );
  try {
    check(libc.bind(fd, address.address, length), () => `bind ${beside}`);
    chmodSync(beside, 0o600);
    check(libc.listen(fd, BACKLOG), () => `listen on ${beside}`);
    renameSync(beside, path);
    return fd;
  } catch (error) {
    libc.close(fd);
    rmSync(beside, { force: true });
    throw error;
  }
}

function unixAddress(path: string): { readonly address: Region; readonly length: number } {
  const bytes = new TextEncoder().encode(path);
  if (bytes.length > MAX_PATH_BYTES) {
    throw new OperationError(`Cannot listen at ${path}: choose a path of at most ${MAX_PATH_BYTES} bytes`, {
      code: 'ENAMETOOLONG',
      context: { path },
    });
  }
  const address = new Arena(1).allocate(PATH_AT + MAX_PATH_BYTES + 1);
  address.view.setUint16(0, AF_UNIX, true);
  address.bytes.set(bytes, PATH_AT);
  return { address, length: PATH_AT + bytes.length + 1 };
}

class Listener implements UnixListener {
  readonly #options: UnixListenerOptions;
  readonly #fd: number;
  readonly #memory: ConnectionMemory = allocateConnectionMemory();
  readonly #credentials: Region = new Arena(1).allocate(16); // struct ucred, then its length
  #connections = 0;
  #unwatch: (() => void) | undefined;
  #retry: NodeJS.Timeout | undefined;
  #drained: (() => void) | undefined;

  constructor(options: UnixListenerOptions, fd: number) {
    this.#options = options;
    this.#fd = fd;
    this.#resume();
  }

  #resume(): void {
    if (this.#unwatch !== undefined || this.#drained !== undefined) return;
    this.#unwatch = this.#options.readiness.watch(this.#fd, READABLE, () => this.#accept());
  }

  #pause(): void {
    this.#unwatch?.();
    this.#unwatch = undefined;
  }

  #accept(): void {
    const limit = this.#options.maxConnections ?? 256;
    while (this.#connections < limit) {
      const fd = libc.accept4(this.#fd, 0, 0, SOCK_NONBLOCK_CLOEXEC);
      if (fd >= 0) this.#admit(fd);
      else if (errno() === EAGAIN) return;
      else if (errno() !== EINTR && errno() !== ECONNABORTED) {
        this.#pause();
        this.#retry ??= setTimeout(() => {
          this.#retry = undefined;
          this.#resume();
        }, ACCEPT_PAUSE_MS);
        return;
      }
    }
    this.#pause(); // until a connection ends
  }

  #admit(fd: number): void {
    if (this.#peerUid(fd) !== 0) {
      libc.close(fd);
      this.#options.refuse('peer-not-root');
      return;
    }
    this.#connections += 1;
    const { readiness } = this.#options;
    const ended = (): void => this.#ended();
    void new UnixConnection({ fd, readiness, memory: this.#memory, handling: this.#options, ended });
  }

  #ended(): void {
    this.#connections -= 1;
    if (this.#drained === undefined) this.#resume();
    else if (this.#connections === 0) this.#drained();
  }

  #peerUid(fd: number): number {
    const { view, address } = this.#credentials;
    view.setUint32(12, 12, true);
    if (libc.getsockopt(fd, SOL_SOCKET, SO_PEERCRED, address, address + 12) < 0) {
      throw systemError('read the credentials of a peer');
    }
    return view.getUint32(4, true);
  }

  async close(): Promise<void> {
    if (this.#drained !== undefined) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#drained = resolve;
    this.#accept();
    this.#pause();
    clearTimeout(this.#retry);
    libc.close(this.#fd);
    if (this.#connections > 0) await promise;
  }
}
