// A listening AF_UNIX stream socket for root only (unix-address.ts), whose peers are of uid 0.
import { constants } from 'node:os';

import { Arena, type Region } from './arena.ts';
import { errno, libc, systemError } from './libc.ts';
import { READABLE, type Readiness } from './readiness.ts';
import {
  type ConnectionMemory,
  type MessageHandling,
  UnixConnection,
  allocateConnectionMemory,
} from './unix-connection.ts';
import { SOCK_STREAM, listenAt } from './unix-address.ts';

const SOCK_NONBLOCK_CLOEXEC = 0o2004000;
const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
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
  return new Listener(options, listenAt({ path: options.path, type: SOCK_STREAM, backlog: BACKLOG }));
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
