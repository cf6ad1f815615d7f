// Sends the trains of a batch by the send sockets. A queue that is full holds the senders back for a bounded time (back-pressure: the TUN
// is not read meanwhile), then the train is counted as lost. Errors that an earlier datagram caused are no reason to lose this one.
import { constants } from 'node:os';

import { OWNER_FIRST_PEER } from '../../proto/forwarding-table.ts';
import { type Call, errno, libc } from '../linux/libc.ts';
import type { ReportFailure } from './report.ts';
import { SingleMessage } from './message-header.ts';
import type { PacketMemory } from './packet-memory.ts';
import { OVERLAY_HEADER_BYTES, type PeerRecords } from './peer-records.ts';
import type { SendBatch } from './send-batch.ts';
import { type DataplaneStats, COUNTER, DROP } from './stats.ts';
import { Tap } from './tap.ts';

const { EAGAIN, EINTR, EINVAL, EIO, EMSGSIZE, ENOBUFS } = constants.errno;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const FLAGS = MSG_DONTWAIT | MSG_NOSIGNAL;
const POLLOUT = 4;
const SENT = 0;
/** How often one flush waits for a full queue, and how long each time. */
const WAITS = 5;
const WAIT_MS = 2;

/** The system calls that send, and errno of the last one that failed. */
export interface SendCalls {
  readonly sendmsg: Call;
  readonly sendmmsg: Call;
  readonly poll: Call;
  readonly errno: () => number;
}

const { sendmsg, sendmmsg, poll } = libc;
const SYSTEM: SendCalls = { sendmsg, sendmmsg, poll, errno };

export interface TransmitterOptions {
  readonly memory: PacketMemory;
  readonly base: number;
  readonly sockets: readonly number[];
  readonly records: PeerRecords;
  readonly stats: DataplaneStats;
  readonly report: ReportFailure;
  /** One that is never on unless told. */
  readonly tap?: Tap;
  /** The C library's unless told. */
  readonly calls?: SendCalls;
}

export class Transmitter {
  readonly #memory: PacketMemory;
  readonly #base: number;
  readonly #sockets: readonly number[];
  readonly #records: PeerRecords;
  readonly #stats: DataplaneStats;
  readonly #report: ReportFailure;
  readonly #tap: Tap;
  readonly #calls: SendCalls;
  readonly #pollEntry: number;
  readonly #single: SingleMessage;
  #waitsLeft = 0;

  constructor(options: TransmitterOptions) {
    const { memory } = options;
    this.#memory = memory;
    this.#base = options.base;
    this.#sockets = options.sockets;
    this.#records = options.records;
    this.#stats = options.stats;
    this.#report = options.report;
    this.#tap = options.tap ?? new Tap(memory);
    this.#calls = options.calls ?? SYSTEM;
    this.#pollEntry = memory.allocate(8); // struct pollfd
    this.#single = new SingleMessage(memory);
  }

  /** Sends and clears the batch. */
  flush(batch: SendBatch): void {
    for (let train = 0; train < batch.trains; train++) {
      batch.seal(train, this.#records.addressOf(batch.rows[train]! - OWNER_FIRST_PEER)); // !: a train of the batch
    }
    this.#waitsLeft = WAITS;
    let train = 0;
    while (train < batch.trains) {
      const sent = this.#sendRun(batch, train);
      for (let index = train; index < train + sent; index++) this.#count(batch, index);
      train += sent;
      if (sent === 0) train += this.#afterError(batch, train);
    }
    batch.clear();
  }

  /** One datagram at once, outside of any batch: probes. */
  sendNow(offset: number, length: number, slot: number): void {
    this.#single.set(this.#records.addressOf(slot), offset, length);
    if (this.#tap.isOn) this.#tap.sent(offset, length, slot);
    this.#calls.sendmsg(this.#sockets[0]!, this.#base + this.#single.offset, FLAGS); // !: there is one
  }

  /** As many trains from `first` on as share its socket, by one call; returns how many were sent, 0 = see errno. */
  #sendRun(batch: SendBatch, first: number): number {
    const socket = batch.sockets[first]!; // !: a train of the batch
    let end = first + 1;
    while (end < batch.trains && batch.sockets[end] === socket) end++;
    const fd = this.#sockets[socket]!; // !: the batch's sockets are these
    const message = this.#base + batch.messageOf(first);
    if (end === first + 1) return this.#calls.sendmsg(fd, message, FLAGS) >= 0 ? 1 : 0;
    return Math.max(0, this.#calls.sendmmsg(fd, message, end - first, FLAGS));
  }

  #count(batch: SendBatch, train: number): void {
    const row = batch.rows[train]!; // !: a train of the batch
    const segments = batch.segments[train]!; // !: a train of the batch
    const innerBytes = batch.totalBytes[train]! - segments * OVERLAY_HEADER_BYTES; // !: a train of the batch
    this.#stats.add(row, COUNTER.egress_packets, segments);
    this.#stats.add(row, COUNTER.egress_bytes, innerBytes);
    if (this.#tap.isOn) this.#tap.train(batch, train, SENT);
  }

  /** What becomes of the train that failed: 0 = it is tried again, 1 = it was sent otherwise or counted. */
  #afterError(batch: SendBatch, train: number): number {
    const code = this.#calls.errno();
    if (this.#waitIfQueueFull(code, batch.sockets[train]!)) return 0; // !: a train of the batch
    const segments = batch.segments[train]!; // !: a train of the batch
    if (segments > 1 && (code === EIO || code === EINVAL || code === EMSGSIZE)) {
      for (let index = 0; index < segments; index++) this.#sendSingle(batch, train, index); // no UDP_SEGMENT on this path
    } else if (
      isQueueFull(code) ||
      this.#calls.sendmsg(this.#fdOf(batch, train), this.#at(batch, train), FLAGS) < 0
    ) {
      const reason = this.#refuse(
        batch.rows[train]!,
        isQueueFull(code) ? code : this.#calls.errno(),
        segments,
      ); // !: a train of the batch
      if (this.#tap.isOn) this.#tap.train(batch, train, reason);
    } else {
      this.#count(batch, train); // the error was an earlier datagram's, reported late
    }
    return 1;
  }

  #sendSingle(batch: SendBatch, train: number, index: number): void {
    const row = batch.rows[train]!; // !: a train of the batch
    batch.single(train, index);
    while (this.#calls.sendmsg(this.#fdOf(batch, train), this.#at(batch, train), FLAGS) < 0) {
      const code = this.#calls.errno();
      if (this.#waitIfQueueFull(code, batch.sockets[train]!)) continue; // !: a train of the batch
      const reason = this.#refuse(row, code, 1);
      if (this.#tap.isOn) this.#tap.segment(batch, train, index, reason);
      return;
    }
    if (this.#tap.isOn) this.#tap.segment(batch, train, index, SENT);
    this.#stats.add(row, COUNTER.egress_packets, 1);
    this.#stats.add(row, COUNTER.egress_bytes, batch.bytesOf(train, index) - OVERLAY_HEADER_BYTES);
  }

  #fdOf(batch: SendBatch, train: number): number {
    return this.#sockets[batch.sockets[train]!]!; // !: the batch's sockets are these
  }

  #at(batch: SendBatch, train: number): number {
    return this.#base + batch.messageOf(train);
  }

  /** Returns the reason under which they were counted. */
  #refuse(row: number, code: number, packets: number): number {
    const reason = code === EMSGSIZE ? DROP.egress_too_big : DROP.egress_send_failed;
    this.#stats.add(row, reason, packets);
    this.#report('send', code);
    return reason;
  }

  /** True when it is worth trying again. */
  #waitIfQueueFull(code: number, socket: number): boolean {
    if (code === EINTR) return true;
    if (!isQueueFull(code) || this.#waitsLeft === 0) return false;
    this.#waitsLeft--;
    const { view } = this.#memory;
    view.setInt32(this.#pollEntry, this.#sockets[socket]!, true); // !: the batch's sockets are these
    view.setInt16(this.#pollEntry + 4, POLLOUT, true);
    // ENOBUFS is the device's queue: the socket stays writable, so poll no descriptor and just wait.
    this.#calls.poll(this.#base + this.#pollEntry, code === ENOBUFS ? 0 : 1, WAIT_MS);
    return true;
  }
}

const isQueueFull = (code: number): boolean => code === EAGAIN || code === ENOBUFS;
