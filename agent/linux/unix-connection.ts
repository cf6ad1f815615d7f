// One accepted unix stream connection: one message in, with the descriptors that came beside it, one reply out, then the end.
// Owns the socket and the received descriptors and closes each exactly once, on every path; descriptors not before the handler is done.
import { constants } from 'node:os';

import type { Decoded } from '../../proto/decoded.ts';
import { Arena, type Region } from './arena.ts';
import { errno, libc } from './libc.ts';
import { READABLE, WRITABLE, type Readiness } from './readiness.ts';
import { receivedDescriptors } from './received-descriptors.ts';

const MSG_CTRUNC = 0x8;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const MSG_CMSG_CLOEXEC = 0x40000000;
const CONTROL_BYTES = 256;
const CHUNK_BYTES = 65536;
/** By then a message must have told its length. */
const HEAD_BYTES = 256;
const { EAGAIN, EINTR } = constants.errno;

export interface UnixMessage {
  readonly bytes: Uint8Array;
  /** Owned by the connection: valid until the handler's promise settles. Duplicate one to keep it. */
  readonly descriptors: readonly number[];
}

/** Why a connection ended without an ordinary reply, beside the reasons of `messageBytes`. */
export type ConnectionRefusal =
  | 'no-length'
  | 'too-many-descriptors'
  | 'hung-up'
  | 'deadline'
  | 'reply-undelivered'
  | 'peer-not-root';

export interface MessageHandling {
  /** Length of the whole message by its first bytes, undefined while they do not tell; sets the limit by refusing. */
  readonly messageBytes: (head: Uint8Array) => Decoded<number | undefined>;
  /** More than these are closed, and the message is refused. */
  readonly maxDescriptors: number;
  /** From accept to the last byte of the reply. */
  readonly deadlineMs: number;
  /** Must not reject: that is our own bug and ends the process. */
  readonly handle: (message: UnixMessage) => Promise<Uint8Array>;
  /** Told why a message is not handled or a reply not delivered; returns the reply, sent where the peer still listens. */
  readonly refuse: (reason: string) => Uint8Array | undefined;
}

/** Memory that all connections of a listener share: no call uses it across an await. */
export interface ConnectionMemory {
  readonly chunk: Region;
  readonly control: Region;
  readonly header: Region;
}

export function allocateConnectionMemory(): ConnectionMemory {
  const arena = new Arena(CHUNK_BYTES * 2);
  return {
    chunk: arena.allocate(CHUNK_BYTES),
    control: arena.allocate(CONTROL_BYTES),
    header: arena.allocate(56 + 16), // struct msghdr, struct iovec
  };
}

export class UnixConnection {
  readonly #fd: number;
  readonly #readiness: Readiness;
  readonly #memory: ConnectionMemory;
  readonly #handling: MessageHandling;
  readonly #ended: () => void;
  readonly #deadline: NodeJS.Timeout;
  #descriptors: number[] = [];
  #bytes = new Uint8Array(HEAD_BYTES);
  #received = 0;
  #length: number | undefined;
  #isOpen = true;
  #isReading = true;
  #isHandling = false;
  #unwatch: (() => void) | undefined;

  /** Takes over `fd`, non-blocking. `ended` is called once, when it is closed; that can be before this returns. */
  constructor(options: {
    readonly fd: number;
    readonly readiness: Readiness;
    readonly memory: ConnectionMemory;
    readonly handling: MessageHandling;
    readonly ended: () => void;
  }) {
    this.#fd = options.fd;
    this.#readiness = options.readiness;
    this.#memory = options.memory;
    this.#handling = options.handling;
    this.#ended = options.ended;
    this.#deadline = setTimeout(() => this.#expire(), options.handling.deadlineMs);
    this.#receive(); // whoever connects sends at once: to be told of it would take longer
  }

  #receive(): void {
    while (this.#isOpen && this.#isReading) {
      const bytes = this.#receiveSome();
      if (bytes < 0 && errno() === EINTR) continue;
      if (bytes < 0 && errno() === EAGAIN) {
        this.#unwatch ??= this.#readiness.watch(this.#fd, READABLE, () => this.#receive());
        return;
      }
      if (bytes <= 0) {
        this.#handling.refuse('hung-up');
        this.#end();
        return;
      }
      this.#take(bytes);
    }
  }

  #receiveSome(): number {
    const { chunk, control, header } = this.#memory;
    const wanted = Math.min((this.#length ?? HEAD_BYTES) - this.#received, CHUNK_BYTES);
    header.bytes.fill(0);
    const { view } = header;
    view.setBigUint64(16, BigInt(header.address + 56), true);
    view.setBigUint64(24, 1n, true);
    view.setBigUint64(32, BigInt(control.address), true);
    view.setBigUint64(40, BigInt(CONTROL_BYTES), true);
    view.setBigUint64(56, BigInt(chunk.address), true);
    view.setBigUint64(64, BigInt(wanted), true);
    return libc.recvmsg(this.#fd, header.address, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  }

  #take(bytes: number): void {
    this.#takeDescriptors();
    this.#bytes.set(this.#memory.chunk.bytes.subarray(0, bytes), this.#received);
    this.#received += bytes;
    const isCut = (this.#memory.header.view.getUint32(48, true) & MSG_CTRUNC) !== 0;
    if (isCut || this.#descriptors.length > this.#handling.maxDescriptors) {
      this.#refuse('too-many-descriptors');
      return;
    }
    if (this.#length === undefined && !this.#measure()) return;
    if (this.#received === this.#length) void this.#handle();
  }

  /** False when the length is not known yet, or refused. */
  #measure(): boolean {
    const length = this.#handling.messageBytes(this.#bytes.subarray(0, this.#received));
    if (!length.ok || (length.value ?? HEAD_BYTES) < this.#received) {
      this.#refuse(length.ok ? 'no-length' : length.reason);
      return false;
    }
    if (length.value === undefined) {
      if (this.#received === HEAD_BYTES) this.#refuse('no-length');
      return false;
    }
    this.#length = length.value;
    const whole = new Uint8Array(length.value);
    whole.set(this.#bytes.subarray(0, this.#received));
    this.#bytes = whole;
    return true;
  }

  #takeDescriptors(): void {
    const { header, control } = this.#memory;
    const length = Number(header.view.getBigUint64(40, true));
    this.#descriptors.push(...receivedDescriptors(control, length));
  }

  async #handle(): Promise<void> {
    this.#isHandling = true;
    this.#endReading();
    try {
      const descriptors = [...this.#descriptors];
      const reply = await this.#handling.handle({ bytes: this.#bytes, descriptors });
      this.#closeDescriptors();
      if (this.#isOpen) this.#reply(reply);
    } finally {
      this.#isHandling = false;
      this.#closeDescriptors();
    }
  }

  #endReading(): void {
    this.#isReading = false;
    this.#unwatch?.();
    this.#unwatch = undefined;
  }

  #refuse(reason: string): void {
    this.#endReading();
    const reply = this.#handling.refuse(reason);
    this.#closeDescriptors();
    if (reply === undefined) this.#end();
    else this.#reply(reply);
  }

  #reply(reply: Uint8Array): void {
    let sent = 0;
    const sendSome = (): void => {
      while (sent < reply.length) {
        const part = reply.subarray(sent, sent + CHUNK_BYTES);
        this.#memory.chunk.bytes.set(part);
        const bytes = libc.send(
          this.#fd,
          this.#memory.chunk.address,
          part.length,
          MSG_DONTWAIT | MSG_NOSIGNAL,
        );
        if (bytes < 0 && errno() === EAGAIN) {
          this.#unwatch ??= this.#readiness.watch(this.#fd, WRITABLE, sendSome);
          return;
        }
        if (bytes < 0 && errno() !== EINTR) {
          this.#handling.refuse('reply-undelivered');
          break;
        }
        sent += Math.max(bytes, 0);
      }
      this.#end();
    };
    sendSome();
  }

  #expire(): void {
    if (!this.#isOpen) return;
    this.#handling.refuse('deadline');
    this.#end();
  }

  /** Closes the socket; the descriptors too, unless the handler still uses them. */
  #end(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    clearTimeout(this.#deadline);
    this.#unwatch?.();
    libc.close(this.#fd);
    if (!this.#isHandling) this.#closeDescriptors();
    this.#ended();
  }

  #closeDescriptors(): void {
    const descriptors = this.#descriptors;
    this.#descriptors = [];
    for (const fd of descriptors) libc.close(fd);
  }
}
