// The data plane's own loop over the TUN, the tunnel socket and two channels: one blocking poll, then a bounded batch each way, so that
// neither direction starves the other. libuv never runs once it has started. Everything read in a round is sent before the next poll:
// "drain" can therefore end the process after any round without losing a packet.
import { constants } from 'node:os';

import { errno, libc, systemError } from '../linux/libc.ts';
import type { BusyPolling } from './busy-polling.ts';
import type { Clock } from './clock.ts';
import type { Egress } from './egress.ts';
import type { Ingress } from './ingress.ts';
import { LoopPace } from './loop-pace.ts';
import type { PacketMemory } from './packet-memory.ts';
import type { Probes } from './probes.ts';
import type { Receiver } from './receiver.ts';
import type { SendBatch } from './send-batch.ts';
import { type DataplaneStats, HISTOGRAM, PROCESS_GAUGE } from './stats.ts';
import type { Transmitter } from './transmitter.ts';
import type { TunPort } from './tun-port.ts';
import type { WriteBatch } from './write-batch.ts';

/** A round takes at most so much from the TUN. */
const PACKETS_A_ROUND = 64;
const BYTES_A_ROUND = 256 * 1024;
/** How often the MTU and the statistics of the process are looked at while nothing else happens. */
const HOUSEKEEPING_MS = 1000;
/** Rounds of probes closer than this are joined: a wake-up costs more than a late probe. */
const SHORTEST_WAIT_MS = 5;

const POLLIN = 1;
const POLLERR = 8;
const POLLNVAL = 32;
const POLL_ENTRY_BYTES = 8;
const TUN = 0;
const UDP = 1;
const CONTROL = 2;
const KEEPER = 3;
const ENTRIES = 4;
const { EINTR } = constants.errno;

export interface LoopOptions {
  readonly memory: PacketMemory;
  readonly base: number;
  readonly descriptors: {
    readonly tun: number;
    readonly receive: number;
    readonly control: number;
    readonly keeper: number;
  };
  readonly clock: Clock;
  readonly stats: DataplaneStats;
  readonly tun: TunPort;
  readonly receiver: Receiver;
  readonly transmitter: Transmitter;
  readonly egress: Egress;
  readonly ingress: Ingress;
  /** A worker that sends none has a stand-in. */
  readonly probes: Pick<Probes, 'sendDue' | 'nextDueMs'>;
  readonly sends: SendBatch;
  readonly writes: WriteBatch;
  readonly busyPolling: BusyPolling;
  /** Reads the next message of a channel: text, '' when there is none, undefined when the other end is gone. */
  readonly message: (fd: number) => string | undefined;
  /** Control has written another table. */
  readonly reload: () => void;
  /** Once a second. */
  readonly housekeeping: () => void;
  /** Somebody deleted the TUN device: makes it again on the same descriptor. Throws OperationError. */
  readonly remakeTun: () => void;
}

/** Returns when the keeper asks to drain or is gone. */
export function run(options: LoopOptions): void {
  const { clock, stats, memory, probes, busyPolling } = options;
  const poll = createPoll(options);
  let loops = stats.get(0, PROCESS_GAUGE.loops);
  let housekeepingMs = 0;
  let busy = false;
  let carried = false;
  const pace = new LoopPace(stats);
  pace.began(clock.read());
  for (;;) {
    if (clock.nowMs >= housekeepingMs) {
      options.housekeeping();
      pace.forget(clock.nowMs);
      housekeepingMs = clock.nowMs + HOUSEKEEPING_MS;
    }
    probes.sendDue();
    if (busy) {
      poll.wait(0);
      pace.ended(clock.read(), carried);
    } else {
      const byMs = lookAndSleep(waitMs(clock.nowMs, housekeepingMs, probes.nextDueMs()));
      pace.woke(clock.nowMs - byMs);
    }
    pace.began(clock.nowMs);
    loops += 1;
    stats.setProcess(PROCESS_GAUGE.loops, loops);
    if (poll.isReady(KEEPER) && keeperWantsEnd(options)) return;
    if (poll.isReady(CONTROL)) takeControlMessages(options, poll);
    if (poll.isBroken(TUN)) options.remakeTun();
    carried = poll.isReady(TUN) || poll.isReady(UDP);
    const moreOut = poll.isReady(TUN) && takeFromTun(options);
    const moreIn = poll.isReady(UDP) && takeFromWire(options);
    busy = moreOut || moreIn;
  }

  /**
   * Waits for anything at most `limitMs`: looks for a while if that paid lately (busy-polling.ts), then sleeps. Returns when it was to end at
   * the latest; the clock is read, and says when it did.
   */
  function lookAndSleep(limitMs: number): number {
    const startMs = clock.read();
    pace.ended(startMs, carried);
    const longestMs = Math.ceil(limitMs);
    if (busyPolling.isResting) {
      poll.wait(longestMs);
      clock.read();
      busyPolling.slept(0, true);
      return startMs + longestMs;
    }
    const untilMs = startMs + Math.min(limitMs, busyPolling.lookMs);
    while (clock.nowMs < untilMs) {
      const ready = poll.wait(0);
      clock.read();
      if (ready > 0) {
        busyPolling.found();
        return untilMs;
      }
    }
    const sinceMs = clock.nowMs;
    poll.wait(longestMs);
    busyPolling.slept(clock.read() - sinceMs, poll.isReady(TUN) || poll.isReady(UDP));
    return sinceMs + longestMs;
  }

  function createPoll({ base, descriptors }: LoopOptions): {
    /** How many entries are ready. */
    wait(timeoutMs: number): number;
    isReady(entry: number): boolean;
    isBroken(entry: number): boolean;
    forget(entry: number): void;
  } {
    const entries = memory.allocate(ENTRIES * POLL_ENTRY_BYTES);
    const fds = [descriptors.tun, descriptors.receive, descriptors.control, descriptors.keeper];
    for (const [index, fd] of fds.entries()) {
      memory.view.setInt32(entries + index * POLL_ENTRY_BYTES, fd, true);
      memory.view.setInt16(entries + index * POLL_ENTRY_BYTES + 4, POLLIN, true);
    }
    return {
      wait(timeoutMs) {
        const ready = libc.poll(base + entries, ENTRIES, timeoutMs);
        if (ready >= 0) return ready;
        if (errno() !== EINTR) throw systemError('poll the descriptors that the keeper gave');
        for (let entry = 0; entry < ENTRIES; entry++) {
          memory.view.setInt16(entries + entry * POLL_ENTRY_BYTES + 6, 0, true); // still the last call's
        }
        return 0;
      },
      isReady: (entry) => memory.view.getInt16(entries + entry * POLL_ENTRY_BYTES + 6, true) !== 0,
      isBroken: (entry) =>
        (memory.view.getInt16(entries + entry * POLL_ENTRY_BYTES + 6, true) & (POLLERR | POLLNVAL)) !== 0,
      forget: (entry) => memory.view.setInt32(entries + entry * POLL_ENTRY_BYTES, -1, true),
    };
  }
}

const waitMs = (nowMs: number, housekeepingMs: number, probesMs: number): number => {
  const untilProbes = Math.max(SHORTEST_WAIT_MS, probesMs - nowMs);
  return Math.max(0, Math.min(housekeepingMs - nowMs, untilProbes));
};

/** Hands on what the process before had taken and not handed on (`isInFlight`), then makes ready to receive. Before run(). */
export function takeOver(options: LoopOptions & { readonly isInFlight: boolean }): void {
  const { clock, tun, egress, transmitter, sends, receiver } = options;
  clock.read();
  if (options.isInFlight) {
    egress.recovering = true;
    tun.unsent((offset, length) => egress.accept(offset, length));
    egress.recovering = false;
    transmitter.flush(sends);
    egress.sent();
    handOn(options, receiver.unsent());
  }
  tun.clear();
  receiver.arm();
}

/** True when more may be waiting. */
function takeFromTun({ tun, egress, transmitter, sends, stats }: LoopOptions): boolean {
  let packets = 0;
  let bytes = 0;
  while (packets < PACKETS_A_ROUND && bytes < BYTES_A_ROUND && tun.hasRoom) {
    const offset = tun.readOffset;
    const length = tun.read();
    if (length <= 0) break;
    tun.keep(length);
    egress.accept(offset, length);
    packets += 1;
    bytes += length;
  }
  if (packets > 0) stats.observe(HISTOGRAM.egress_batch, packets);
  transmitter.flush(sends);
  egress.sent();
  tun.clear();
  return packets === PACKETS_A_ROUND || bytes >= BYTES_A_ROUND;
}

/** True when more may be waiting. */
function takeFromWire(options: LoopOptions): boolean {
  const count = options.receiver.receive();
  if (count > 0) options.stats.observe(HISTOGRAM.ingress_batch, count);
  handOn(options, count);
  return options.receiver.isFull(count);
}

function handOn({ receiver, ingress, tun, writes }: LoopOptions, count: number): void {
  for (let index = 0; index < count; index++) ingress.accept(receiver.datagram(index));
  ingress.finish();
  tun.flush(writes);
  receiver.done(count);
}

function keeperWantsEnd({ message, descriptors }: LoopOptions): boolean {
  for (;;) {
    const text = message(descriptors.keeper);
    if (text === undefined || text === 'drain') return true;
    if (text === '') return false;
  }
}

function takeControlMessages(options: LoopOptions, poll: { forget(entry: number): void }): void {
  let changed = false;
  for (;;) {
    const text = options.message(options.descriptors.control);
    if (text === undefined) poll.forget(CONTROL);
    if (text === undefined || text === '') break;
    if (text === 'table') changed = true;
  }
  if (changed) options.reload();
}
