// Readiness of raw descriptors in Node's event loop, which knows no sockets but its own: one epoll set, waited for in a thread of libuv's
// pool. Level-triggered: a callback that leaves data behind is called again. Callbacks run on the main thread, one after another.
import { invariant } from '../../proto/invariant.ts';
import { Arena } from './arena.ts';
import { check, epollWaitAsync, errno, libc } from './libc.ts';

export const READABLE = 0x1; // EPOLLIN
export const WRITABLE = 0x4; // EPOLLOUT

const EPOLL_CLOEXEC = 0o2000000;
const EPOLL_CTL_ADD = 1;
const EPOLL_CTL_DEL = 2;
const EFD_CLOEXEC_NONBLOCK = 0o2004000;
const ENOENT = 2;
const EBADF = 9;
const EVENT_BYTES = 12; // struct epoll_event is packed on x86-64 …
const EVENT_DATA_AT = 4;
const ARM_EVENT_BYTES = 16; // … and aligned everywhere else
const MAX_EVENTS = 64;
/** Failed waits in a row before we call it our own bug; EINTR is the only failure that a healthy set has. */
const MAX_FAILURES = 100;

const isPacked = process.arch === 'x64';
const eventBytes = isPacked ? EVENT_BYTES : ARM_EVENT_BYTES;
const dataAt = isPacked ? EVENT_DATA_AT : 8;

export interface Readiness {
  /**
   * Calls back with the epoll events whenever `fd` has one of `events` (errors and hang-ups always count). One watch per descriptor.
   * Returns what ends the watch; after that the callback is not called again. End the watch before closing the descriptor.
   */
  watch(fd: number, events: number, callback: (events: number) => void): () => void;
  /** Ends all watches and the wait, so that the process can exit. */
  close(): void;
}

/** Keeps the process alive until `close`, and one of libuv's four pool threads busy: open one for the whole process. */
export function openReadiness(): Readiness {
  const arena = new Arena(1);
  const ready = arena.allocate(MAX_EVENTS * ARM_EVENT_BYTES);
  const change = arena.allocate(ARM_EVENT_BYTES);
  const one = arena.allocate(8);
  one.view.setBigUint64(0, 1n, true);
  const epoll = check(libc.epoll_create1(EPOLL_CLOEXEC), () => 'open an epoll set');
  const wakeUp = check(libc.eventfd(0, EFD_CLOEXEC_NONBLOCK), () => 'open an eventfd');
  // Events carry a ticket, not the descriptor: its number may belong to another file by the time the event is handled.
  const callbacks = new Map<number, (events: number) => void>();
  let tickets = 0;
  let failures = 0;
  let closed = false;

  const control = (operation: number, fd: number, { events, ticket }: { events: number; ticket: number }) => {
    change.view.setUint32(0, events, true);
    change.view.setUint32(dataAt, ticket, true);
    change.view.setUint32(dataAt + 4, 0, true);
    return libc.epoll_ctl(epoll, operation, fd, change.address);
  };

  const watch: Readiness['watch'] = (fd, events, callback) => {
    invariant(!closed, () => `watch of descriptor ${fd} on closed readiness`);
    tickets = (tickets + 1) % 2 ** 32;
    const ticket = tickets;
    check(control(EPOLL_CTL_ADD, fd, { events, ticket }), () => `watch descriptor ${fd}`);
    callbacks.set(ticket, callback);
    return () => {
      if (!callbacks.delete(ticket) || closed) return;
      if (control(EPOLL_CTL_DEL, fd, { events: 0, ticket }) < 0 && ![ENOENT, EBADF].includes(errno())) {
        invariant(false, () => `cannot end the watch of descriptor ${fd}: errno ${errno()}`);
      }
    };
  };

  const interrupt = (): void => void libc.write(wakeUp, one.address, 8);

  const release = (): void => {
    libc.close(epoll);
    libc.close(wakeUp);
  };

  const dispatch = (count: number): void => {
    for (let at = 0; at < count * eventBytes; at += eventBytes) {
      const events = ready.view.getUint32(at, true);
      callbacks.get(ready.view.getUint32(at + dataAt, true))?.(events);
    }
  };

  const waited = (count: number): void => {
    failures = count < 0 ? failures + 1 : 0;
    invariant(failures < MAX_FAILURES, () => `epoll_wait failed ${failures} times in a row`);
    try {
      dispatch(count);
    } finally {
      if (closed) release();
      else wait();
    }
  };

  const wait = (): void => {
    epollWaitAsync(epoll, ready.address, MAX_EVENTS, -1, (_error, count) => {
      try {
        waited(count);
      } catch (error) {
        // Thrown inside koffi's callback it would stay pending there and come up again in the next foreign call.
        setImmediate(() => {
          throw error;
        });
      }
    });
  };

  // At exit libuv joins its threads: one that waits for ever would keep the process from ending.
  process.once('exit', interrupt);
  check(control(EPOLL_CTL_ADD, wakeUp, { events: READABLE, ticket: 0 }), () => 'watch the eventfd');
  wait();

  return {
    watch,
    close: () => {
      if (closed) return;
      closed = true;
      callbacks.clear();
      process.off('exit', interrupt);
      interrupt();
    },
  };
}
