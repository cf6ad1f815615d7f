// Signs of life between data planes (proto/probe.ts): requests to the peers of each second's round (probe-round.ts), spread over it so
// that a large cluster's probes are no burst; answers to requests of valid peers. Round trips go to the statistics.
// Beside every second one goes the probe that verifies the path's MTU (path-mtu.ts), so that looking after it costs no wake-up of its own.
import { ETHERNET_HEADER_BYTES, ETHERNET_TYPE_OFFSET, ETHERTYPE_PROBE } from '../../proto/ethernet.ts';
import { PEER_SLOTS } from '../../proto/dataplane-stats.ts';
import { OWNER_FIRST_PEER } from '../../proto/forwarding-table.ts';
import {
  PROBE_BYTES,
  PROBE_INTERVAL_MS,
  PROBE_KIND_OFFSET,
  PROBE_MAGIC,
  PROBE_MAGIC_OFFSET,
  PROBE_REPLY,
  PROBE_REQUEST,
  PROBE_REQUEST_BYTES_OFFSET,
  PROBE_SEQUENCE_OFFSET,
  PROBE_TIME_HIGH_OFFSET,
  PROBE_TIME_LOW_OFFSET,
  PROBE_VERSION,
  PROBE_VERSION_OFFSET,
  answerProbeInPlace,
} from '../../proto/probe.ts';
import { VXLAN_HEADER_BYTES } from '../../proto/vxlan.ts';
import type { Clock } from './clock.ts';
import type { Forwarding } from './forwarding.ts';
import type { PacketMemory } from './packet-memory.ts';
import { PathMtu } from './path-mtu.ts';
import { ProbeRound } from './probe-round.ts';
import { OVERLAY_HEADER_BYTES, type PeerRecords } from './peer-records.ts';
import { type DataplaneStats, COUNTER, GAUGE, HISTOGRAM } from './stats.ts';

/** nextDueMs() while there is nobody to ask. */
export const NEVER: number = Number.POSITIVE_INFINITY;

/** Requests that leave at one moment: each moment may wake a process that slept. */
const REQUESTS_A_MOMENT = 10;
/** Requests that one call of sendDue() sends at most, so that packets are never kept waiting. */
const REQUESTS_AT_ONCE = 64;
/** Nodes that start together do not all ask at once. */
const FIRST_WITHIN_MS = 100;
/** Answers to requests older than this many are not counted. */
const REMEMBERED_REQUESTS = 8;
const TWO_TO_32 = 0x1_0000_0000;
/** Largest UDP payload over IPv4 without options. */
const LARGEST_REQUEST_BYTES = 65_507;
const ANSWER_BYTES = OVERLAY_HEADER_BYTES + PROBE_BYTES;

export interface ProbeOptions {
  readonly memory: PacketMemory;
  readonly records: PeerRecords;
  readonly stats: DataplaneStats;
  /** Of the other workers, which do not ask. */
  readonly otherStats?: readonly DataplaneStats[];
  readonly clock: Clock;
  /** 0 ≤ x < 1. */
  readonly random: () => number;
  /** Sends one datagram to the peer of a slot, at once. */
  readonly send: (offset: number, length: number, slot: number) => void;
  /** As send, but never fragmented: false when it is larger than the interface takes, true whatever else becomes of it. */
  readonly sendWhole: (offset: number, length: number, slot: number) => boolean;
}

export class Probes {
  readonly pathMtu: PathMtu;
  readonly #options: ProbeOptions;
  readonly #request: number;
  readonly #answer: number;
  readonly #choice: ProbeRound;
  /** Of the current second: whom to ask, the next of them, and when it began. */
  #round: Uint16Array = new Uint16Array(0);
  #next = 0;
  #roundMs = 0;
  /** The moment of the round that the next request belongs to, and the jittered time of that. */
  #moment = -1;
  #dueMs = NEVER;
  readonly #present: Uint8Array = new Uint8Array(PEER_SLOTS);
  /** By slot: of the newest request, and of the newest that was answered. */
  readonly #sequence: Uint32Array = new Uint32Array(PEER_SLOTS);
  readonly #answered: Uint32Array = new Uint32Array(PEER_SLOTS);
  readonly #sentMs: Float64Array = new Float64Array(PEER_SLOTS);

  constructor(options: ProbeOptions) {
    this.#options = options;
    const { stats, records } = options;
    this.#choice = new ProbeRound(stats, options.otherStats);
    this.#request = options.memory.allocate(LARGEST_REQUEST_BYTES);
    this.#answer = options.memory.allocate(ANSWER_BYTES);
    this.pathMtu = new PathMtu({
      random: options.random,
      send: (slot, bytes, sequence) => this.#sendPadded(slot, bytes, sequence),
      roundTripMs: (slot) => stats.get(OWNER_FIRST_PEER + slot, GAUGE.probe_rtt_us) / 1000,
      known: (slot) => stats.get(OWNER_FIRST_PEER + slot, GAUGE.path_mtu),
      changed(slot, mtu) {
        records.setPathMtu(slot, mtu);
        stats.set(OWNER_FIRST_PEER + slot, GAUGE.path_mtu, mtu);
      },
    });
    const first = Math.floor(options.random() * TWO_TO_32);
    this.#sequence.fill(first);
    this.#answered.fill(first);
  }

  /**
   * Another table: whom to ask. A peer that is new in a slot starts without the gauges of who had it before; but what is new to a process
   * that waits for its turn was dealt with by the one that has it.
   */
  update(forwarding: Forwarding): void {
    const { stats, clock, random } = this.#options;
    const before = this.#present.slice();
    this.#present.fill(0);
    for (const { slot } of forwarding.peers) {
      this.#present[slot] = 1;
      if (!this.pathMtu.isStarted || before[slot] === 1) continue;
      for (const column of Object.values(GAUGE)) stats.set(OWNER_FIRST_PEER + slot, column, 0);
    }
    this.pathMtu.update(forwarding.peers, clock.nowMs);
    const slots = Uint16Array.from(
      forwarding.peers.filter((peer) => peer.probes),
      (peer) => peer.slot,
    );
    this.#choice.update(slots, (slot) => before[slot] === 0, clock.nowMs);
    if (slots.length === 0) {
      this.#dueMs = NEVER;
    } else if (this.#dueMs === NEVER) {
      this.#begin(clock.nowMs + random() * FIRST_WITHIN_MS);
    }
  }

  nextDueMs(): number {
    return Math.min(this.#dueMs, this.pathMtu.nextDueMs());
  }

  /** Sends the requests whose time has come. */
  sendDue(): void {
    const { clock } = this.#options;
    for (let sent = 0; sent < REQUESTS_AT_ONCE && this.#dueMs <= clock.nowMs; sent++) {
      const slot = this.#round[this.#next]!; // !: #next is below the length
      if (this.#present[slot] === 1) this.#ask(slot);
      this.#next += 1;
      if (this.#next < this.#round.length) {
        this.#schedule();
      } else {
        const stoppedAWhile = clock.nowMs - this.#roundMs > 2 * PROBE_INTERVAL_MS;
        this.#begin(stoppedAWhile ? clock.nowMs : this.#roundMs + PROBE_INTERVAL_MS);
      }
    }
    this.pathMtu.due(clock.nowMs);
  }

  #begin(atMs: number): void {
    this.#round = this.#choice.choose(this.#options.clock.nowMs);
    this.#roundMs = atMs;
    this.#next = 0;
    this.#moment = -1;
    if (this.#round.length === 0) this.#dueMs = NEVER;
    else this.#schedule();
  }

  #schedule(): void {
    const moments = Math.ceil(this.#round.length / REQUESTS_A_MOMENT);
    const moment = Math.floor(this.#next / REQUESTS_A_MOMENT);
    if (moment === this.#moment) return;
    this.#moment = moment;
    const spacingMs = PROBE_INTERVAL_MS / moments;
    this.#dueMs = this.#roundMs + (moment + this.#options.random() / 2) * spacingMs;
  }

  #ask(slot: number): void {
    const { stats, clock } = this.#options;
    const before = this.#sequence[slot]!; // !: below PEER_SLOTS
    const answers = this.#answered[slot] === before;
    const sequence = (before + 1) >>> 0;
    const nowMs = clock.read();
    this.#sequence[slot] = sequence;
    this.#sentMs[slot] = nowMs;
    const row = OWNER_FIRST_PEER + slot;
    stats.add(row, COUNTER.probes_sent, 1);
    if (stats.get(row, GAUGE.first_unanswered_probe_ms) === 0) {
      stats.set(row, GAUGE.first_unanswered_probe_ms, nowMs);
    }
    this.#writeRequest(slot, sequence, nowMs);
    this.#options.send(this.#request, OVERLAY_HEADER_BYTES + PROBE_BYTES, slot);
    if (answers) this.pathMtu.ask(slot, nowMs);
  }

  /** As long as an inner packet of `bytes`. */
  #sendPadded(slot: number, bytes: number, sequence: number): boolean {
    this.#writeRequest(slot, sequence, this.#options.clock.nowMs);
    const length = Math.min(LARGEST_REQUEST_BYTES, OVERLAY_HEADER_BYTES + bytes);
    return this.#options.sendWhole(this.#request, length, slot);
  }

  #writeRequest(slot: number, sequence: number, nowMs: number): void {
    const { memory, records } = this.#options;
    const { bytes, view } = memory;
    const header = records.headerOf(slot);
    bytes.copyWithin(this.#request, header, header + OVERLAY_HEADER_BYTES);
    view.setUint16(this.#request + VXLAN_HEADER_BYTES + ETHERNET_TYPE_OFFSET, ETHERTYPE_PROBE);
    const probe = this.#request + OVERLAY_HEADER_BYTES;
    const nowUs = Math.floor(nowMs * 1000);
    view.setUint32(probe + PROBE_MAGIC_OFFSET, PROBE_MAGIC);
    view.setUint8(probe + PROBE_VERSION_OFFSET, PROBE_VERSION);
    view.setUint8(probe + PROBE_KIND_OFFSET, PROBE_REQUEST);
    view.setUint16(probe + PROBE_REQUEST_BYTES_OFFSET, 0);
    view.setUint32(probe + PROBE_SEQUENCE_OFFSET, sequence);
    view.setUint32(probe + PROBE_TIME_HIGH_OFFSET, Math.floor(nowUs / TWO_TO_32));
    view.setUint32(probe + PROBE_TIME_LOW_OFFSET, nowUs % TWO_TO_32);
  }

  /** A frame of type ETHERTYPE_PROBE whose sender, network and addresses were checked; false when it is no probe. */
  receive(frame: number, length: number, slot: number): boolean {
    const { view, bytes } = this.#options.memory;
    const probe = frame + OVERLAY_HEADER_BYTES;
    if (
      length < OVERLAY_HEADER_BYTES + PROBE_BYTES ||
      view.getUint32(probe + PROBE_MAGIC_OFFSET) !== PROBE_MAGIC ||
      view.getUint8(probe + PROBE_VERSION_OFFSET) !== PROBE_VERSION
    ) {
      return false;
    }
    const told = view.getUint16(probe + PROBE_REQUEST_BYTES_OFFSET);
    const arrived = length - OVERLAY_HEADER_BYTES;
    switch (view.getUint8(probe + PROBE_KIND_OFFSET)) {
      case PROBE_REQUEST:
        if (told !== 0) return false;
        this.#options.stats.set(OWNER_FIRST_PEER + slot, GAUGE.last_request_ms, this.#options.clock.nowMs);
        bytes.copyWithin(this.#answer, frame, frame + ANSWER_BYTES); // receive buffers are not changed: in-flight.ts
        answerProbeInPlace(bytes, this.#answer + VXLAN_HEADER_BYTES, arrived);
        this.#options.send(this.#answer, ANSWER_BYTES, slot);
        return true;
      case PROBE_REPLY:
        if (told === 0 && arrived === PROBE_BYTES) this.#takeReply(probe, slot);
        else this.#takePaddedReply(probe, slot, told || arrived);
        return true;
      default:
        return false;
    }
  }

  #takePaddedReply(probe: number, slot: number, requestBytes: number): void {
    const { memory, clock } = this.#options;
    const sequence = memory.view.getUint32(probe + PROBE_SEQUENCE_OFFSET);
    this.pathMtu.answered(slot, requestBytes, sequence, clock.read());
  }

  #takeReply(probe: number, slot: number): void {
    const { memory, stats, clock } = this.#options;
    const sequence = memory.view.getUint32(probe + PROBE_SEQUENCE_OFFSET);
    const newest = this.#sequence[slot]!; // !: below PEER_SLOTS
    const age = (newest - sequence) >>> 0;
    const alreadyAnswered = (newest - this.#answered[slot]!) >>> 0 <= age; // !: below PEER_SLOTS
    if (age >= REMEMBERED_REQUESTS || alreadyAnswered) return; // a duplicate, or of a process before this one
    this.#answered[slot] = sequence;
    if (age === 0) this.pathMtu.alive(slot);
    const row = OWNER_FIRST_PEER + slot;
    const nowMs = clock.read();
    const sentUs =
      memory.view.getUint32(probe + PROBE_TIME_HIGH_OFFSET) * TWO_TO_32 +
      memory.view.getUint32(probe + PROBE_TIME_LOW_OFFSET);
    stats.add(row, COUNTER.probes_answered, 1);
    stats.set(row, GAUGE.last_probe_answer_ms, nowMs);
    stats.set(row, GAUGE.first_unanswered_probe_ms, age === 0 ? 0 : this.#sentMs[slot]!); // !: below PEER_SLOTS
    const roundTripUs = Math.max(0, Math.floor(nowMs * 1000) - sentUs);
    stats.set(row, GAUGE.probe_rtt_us, roundTripUs);
    stats.observe(HISTOGRAM.probe_round_trip_us, roundTripUs);
  }
}

/** Length of a request and of its answer on the wire. */
export const PROBE_DATAGRAM_BYTES: number = VXLAN_HEADER_BYTES + ETHERNET_HEADER_BYTES + PROBE_BYTES;
