// Sends the probes of a path's MTU: with DF, and never larger than the interface takes, by a socket of its own, since other datagrams go
// without DF (ip(7), IP_PMTUDISC_PROBE). Opened when the turn comes: only the first worker asks.
import { constants } from 'node:os';

import { errno, libc } from '../linux/libc.ts';
import { openProbeSocket } from '../linux/udp-socket.ts';
import { type PacketMemory, IOVEC_BYTES, setIovec, setPointer } from './packet-memory.ts';
import { type PeerRecords, SOCKADDR_IN_BYTES } from './peer-records.ts';
import { MMSGHDR_BYTES } from './send-batch.ts';
import type { Tap } from './tap.ts';

const { EMSGSIZE } = constants.errno;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const CLOSED = -1;

export interface ProbeSocketOptions {
  readonly memory: PacketMemory;
  readonly base: number;
  readonly records: PeerRecords;
  readonly tap?: Tap;
}

export class ProbeSocket {
  readonly #options: ProbeSocketOptions;
  #fd = CLOSED;
  readonly #message: number;
  readonly #iovec: number;

  constructor(options: ProbeSocketOptions) {
    const { memory } = options;
    this.#options = options;
    this.#message = memory.allocate(MMSGHDR_BYTES);
    this.#iovec = memory.allocate(IOVEC_BYTES);
    setPointer(memory, this.#message + 16, this.#iovec);
    memory.view.setUint32(this.#message + 8, SOCKADDR_IN_BYTES, true);
    memory.view.setUint32(this.#message + 24, 1, true);
  }

  /** `near` is a socket that is bound to the underlay's address. Throws OperationError (errno's name). */
  open(near: number): void {
    this.#fd = openProbeSocket(near);
  }

  /** False when the datagram is larger than the interface takes. */
  sendWhole(offset: number, length: number, slot: number): boolean {
    const { memory, base, records, tap } = this.#options;
    if (tap?.isOn === true) tap.sent(offset, length, slot);
    setPointer(memory, this.#message, records.addressOf(slot));
    setIovec(memory, this.#iovec, offset, length);
    const sent = libc.sendmsg(this.#fd, base + this.#message, MSG_DONTWAIT | MSG_NOSIGNAL);
    return sent >= 0 || errno() !== EMSGSIZE;
  }
}
