// Sends the probes of a path's MTU: with DF, and never larger than the interface takes, by switching path MTU discovery on at one of the
// send sockets for one sendmsg (ip(7), IP_PMTUDISC_PROBE). Invariant: off at all other times, since other packets go without DF.
import { constants } from 'node:os';

import { errno, libc } from '../linux/libc.ts';
import { type PacketMemory, IOVEC_BYTES, setIovec, setPointer } from './packet-memory.ts';
import { type PeerRecords, SOCKADDR_IN_BYTES } from './peer-records.ts';
import { MMSGHDR_BYTES } from './send-batch.ts';

const { EMSGSIZE } = constants.errno;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const SOL_IP = 0;
const IP_MTU_DISCOVER = 10;
const IP_PMTUDISC_DONT = 0;
const IP_PMTUDISC_PROBE = 3;
const INT_BYTES = 4;

export interface ProbeSocketOptions {
  readonly memory: PacketMemory;
  readonly base: number;
  readonly fd: number;
  readonly records: PeerRecords;
}

export class ProbeSocket {
  readonly #options: ProbeSocketOptions;
  readonly #value: number;
  readonly #message: number;
  readonly #iovec: number;

  constructor(options: ProbeSocketOptions) {
    const { memory } = options;
    this.#options = options;
    this.#value = memory.allocate(INT_BYTES);
    this.#message = memory.allocate(MMSGHDR_BYTES);
    this.#iovec = memory.allocate(IOVEC_BYTES);
    setPointer(memory, this.#message + 16, this.#iovec);
    memory.view.setUint32(this.#message + 8, SOCKADDR_IN_BYTES, true);
    memory.view.setUint32(this.#message + 24, 1, true);
  }

  /** A process that was killed in the middle of a sendWhole() has left the socket as it was then. To be called when the turn comes. */
  reset(): void {
    this.#discover(IP_PMTUDISC_DONT);
  }

  /** False when the datagram is larger than the interface takes. */
  sendWhole(offset: number, length: number, slot: number): boolean {
    const { memory, base, fd, records } = this.#options;
    setPointer(memory, this.#message, records.addressOf(slot));
    setIovec(memory, this.#iovec, offset, length);
    this.#discover(IP_PMTUDISC_PROBE);
    const fits =
      libc.sendmsg(fd, base + this.#message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0 || errno() !== EMSGSIZE;
    this.#discover(IP_PMTUDISC_DONT);
    return fits;
  }

  #discover(value: number): void {
    const { memory, base, fd } = this.#options;
    memory.view.setInt32(this.#value, value, true);
    libc.setsockopt(fd, SOL_IP, IP_MTU_DISCOVER, base + this.#value, INT_BYTES);
  }
}
