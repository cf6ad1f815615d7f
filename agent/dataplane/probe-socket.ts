// Sends the probes of a path's MTU: with DF, and never larger than the interface takes, by a socket of its own, since other datagrams go
// without DF (ip(7), IP_PMTUDISC_PROBE). Opened when the turn comes: only the first worker asks.
import { constants } from 'node:os';

import { errno, libc } from '../linux/libc.ts';
import { openProbeSocket } from '../linux/udp-socket.ts';
import { SingleMessage } from './message-header.ts';
import type { PacketMemory } from './packet-memory.ts';
import type { PeerRecords } from './peer-records.ts';
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
  readonly #message: SingleMessage;

  constructor(options: ProbeSocketOptions) {
    this.#options = options;
    this.#message = new SingleMessage(options.memory);
  }

  /** `near` is a socket that is bound to the underlay's address. Throws OperationError (errno's name). */
  open(near: number): void {
    this.#fd = openProbeSocket(near);
  }

  /** False when the datagram is larger than the interface takes. */
  sendWhole(offset: number, length: number, slot: number): boolean {
    const { base, records, tap } = this.#options;
    if (tap?.isOn === true) tap.sent(offset, length, slot);
    this.#message.set(records.addressOf(slot), offset, length);
    const sent = libc.sendmsg(this.#fd, base + this.#message.offset, MSG_DONTWAIT | MSG_NOSIGNAL);
    return sent >= 0 || errno() !== EMSGSIZE;
  }
}
