// The largest inner packet that the path to each peer takes, found by probes of that size with DF set (RFC 4821, RFC 8899): pure, the clock
// is a parameter. A size that was answered is proven. One that was not may have been lost, so it counts only after several tries, and
// only while smaller probes are answered: a silent peer changes nothing. Sizes are those of inner IPv4 packets.
//
//           full-size probe fails                              lo + 1 = hi
//   idle ───── verify ─────▶ below: rounds of sizes between lo and hi ─────▶ idle
//     └── every minute, while below the device's MTU ──▶ above ──▲
import { PEER_SLOTS } from '../../proto/dataplane-stats.ts';
import { PathSearch, SEARCHING, type SearchPorts, SILENT, UNVERIFIED } from './path-search.ts';

/** nextDueMs() while no answer is waited for. */
const NEVER: number = Number.POSITIVE_INFINITY;

/** Searches at once, verifications apart; more peers wait for their turn. */
export const MOST_SEARCHES = 128;
/** Of ask(), which is called with each small probe, at most once a second (probe-round.ts): so often the size in force is verified. */
const VERIFY_EVERY = 2;
/** Of ask(): so often one probe of the device's size looks whether the path has recovered. */
const GLANCE_EVERY = 10;
/** Whole search upwards; doubled, up to the longest, for a path that shrinks again soon after it grew. */
export const RAISE_MS = 60_000;
const LONGEST_RAISE_MS = 16 * RAISE_MS;
/** A path that is raised no more often than that flaps, and the device's MTU, which it may take at times, is no longer looked for either. */
const GLANCES_UNTIL_MS = 4 * RAISE_MS;

const SHORTEST_TIMEOUT_MS = 150;
const LONGEST_TIMEOUT_MS = 1000;

export interface PathMtuOptions {
  /** 0 ≤ x < 1. */
  readonly random: () => number;
  /** Sends a probe as long as an inner packet of `bytes`, never fragmented. False: larger than the node's own interface takes. */
  readonly send: (slot: number, bytes: number, sequence: number) => boolean;
  /** 0 = not known. */
  readonly roundTripMs: (slot: number) => number;
  /** What an earlier process found; 0 = nothing. */
  readonly known: (slot: number) => number;
  /** Told of each change, also by the device's MTU; 0 = the peer is gone. */
  readonly changed: (slot: number, mtu: number) => void;
}

export interface PathPeer {
  readonly slot: number;
  /** False: it answers no probes, and its path is believed to take what the device takes. */
  readonly probes: boolean;
}

export class PathMtu {
  /** The device's; 0 until deviceMtu() was called: then nothing is known and nothing is sent. */
  #ceiling = 0;
  readonly #options: PathMtuOptions;
  readonly #peers: Map<number, boolean> = new Map();
  readonly #searches: Map<number, PathSearch> = new Map();
  readonly #free: PathSearch[] = [];
  readonly #ports: SearchPorts;
  #dueMs: number = NEVER;
  /** By slot. */
  readonly #mtu: Uint16Array = new Uint16Array(PEER_SLOTS);
  readonly #asked: Uint8Array = new Uint8Array(PEER_SLOTS);
  readonly #raiseAtMs: Float64Array = new Float64Array(PEER_SLOTS);
  readonly #raiseEveryMs: Float64Array = new Float64Array(PEER_SLOTS);
  readonly #grewAtMs: Float64Array = new Float64Array(PEER_SLOTS);

  constructor(options: PathMtuOptions) {
    this.#options = options;
    let sequence = Math.floor(options.random() * 0x1_0000_0000);
    this.#ports = { send: options.send, nextSequence: () => (sequence = (sequence + 1) >>> 0) };
  }

  /** False in a process that waits for its turn. */
  get isStarted(): boolean {
    return this.#ceiling !== 0;
  }

  /** 0 = not known. */
  of(slot: number): number {
    return this.#mtu[slot] ?? 0;
  }

  /** Another table. */
  update(peers: readonly PathPeer[], nowMs: number): void {
    const gone = new Set(this.#peers.keys());
    for (const { slot, probes } of peers) {
      gone.delete(slot);
      const before = this.#peers.get(slot);
      this.#peers.set(slot, probes);
      if (this.#ceiling === 0 || before === probes) continue;
      if (before === undefined) this.#start(slot, nowMs);
      else if (!probes) this.#forgetSearch(slot);
      if (!probes) this.#use(slot, this.#ceiling);
    }
    for (const slot of gone) {
      this.#peers.delete(slot);
      this.#forgetSearch(slot);
      this.#use(slot, 0);
    }
  }

  /** The device's MTU, which no path exceeds. A larger one than before is used for a peer when its path has shown that it takes more. */
  deviceMtu(mtu: number, nowMs: number): void {
    if (mtu === this.#ceiling) return;
    const isFirst = this.#ceiling === 0;
    const before = this.#ceiling;
    this.#ceiling = mtu;
    for (const [slot, probes] of this.#peers) {
      if (isFirst) {
        this.#start(slot, nowMs);
        continue;
      }
      this.#forgetSearch(slot);
      if (!probes || this.of(slot) > mtu) this.#use(slot, mtu);
      if (mtu > before) this.#raiseAtMs[slot] = nowMs;
    }
  }

  #start(slot: number, nowMs: number): void {
    const known = this.#peers.get(slot) === true ? this.#options.known(slot) : 0;
    this.#use(slot, known === 0 ? this.#ceiling : Math.min(known, this.#ceiling));
    this.#asked[slot] = 0;
    this.#raiseEveryMs[slot] = RAISE_MS;
    this.#grewAtMs[slot] = Number.NEGATIVE_INFINITY;
    this.#raiseLater(slot, nowMs);
  }

  /** To be called for a peer that answers small probes, when one was just sent to it: once a second, or more seldom to a quiet one. */
  ask(slot: number, nowMs: number): void {
    if (this.#ceiling === 0 || this.#peers.get(slot) !== true || this.#searches.has(slot)) return;
    const turn = this.#asked[slot]!; // !: below PEER_SLOTS
    this.#asked[slot] = (turn + 1) % (VERIFY_EVERY * GLANCE_EVERY);
    const isBelow = this.of(slot) < this.#ceiling;
    const raises = isBelow && nowMs >= this.#raiseAtMs[slot]! && this.#hasRoom(); // !: below PEER_SLOTS
    if (!raises && turn % VERIFY_EVERY !== 0) return;
    const search = this.#free.pop() ?? new PathSearch(this.#ports);
    const patienceMs = this.#options.roundTripMs(slot) * 3;
    const timeoutMs = Math.min(LONGEST_TIMEOUT_MS, Math.max(SHORTEST_TIMEOUT_MS, patienceMs));
    const start = { slot, mtu: this.of(slot), ceiling: this.#ceiling, timeoutMs, nowMs };
    this.#searches.set(slot, search);
    if (raises) {
      this.#raiseLater(slot, nowMs);
      search.above(start);
    } else {
      const mayGlance = this.#raiseEveryMs[slot]! <= GLANCES_UNTIL_MS; // !: below PEER_SLOTS
      search.verify(start, isBelow && mayGlance && turn % GLANCE_EVERY === 0);
    }
    this.#dueMs = Math.min(this.#dueMs, search.deadlineMs);
  }

  /** A small probe of the peer was answered. */
  alive(slot: number): void {
    this.#searches.get(slot)?.alive();
  }

  /** A probe of `bytes` arrived at the peer. */
  answered(slot: number, bytes: number, sequence: number, nowMs: number): void {
    const search = this.#searches.get(slot);
    if (search !== undefined) this.#settle(search, search.answered(bytes, sequence, nowMs), nowMs);
  }

  nextDueMs(): number {
    return this.#dueMs;
  }

  /** Whose answers have not come in time: the next try, or the end of the round. */
  due(nowMs: number): void {
    if (nowMs < this.#dueMs) return;
    for (const search of this.#searches.values()) {
      if (nowMs >= search.deadlineMs) this.#settle(search, search.due(nowMs), nowMs);
    }
    this.#findDue();
  }

  #hasRoom(): boolean {
    let searching = 0;
    for (const { isVerifying } of this.#searches.values()) if (!isVerifying) searching += 1;
    return searching < MOST_SEARCHES;
  }

  /** `outcome` is one of PathSearch's. */
  #settle(search: PathSearch, outcome: number, nowMs: number): void {
    if (outcome === SEARCHING) this.#dueMs = Math.min(this.#dueMs, search.deadlineMs);
    else if (outcome === UNVERIFIED && this.#hasRoom()) {
      search.below(nowMs);
      this.#findDue();
    } else {
      this.#forgetSearch(search.slot);
      if (outcome !== SILENT && outcome !== UNVERIFIED) this.#found(search.slot, outcome, nowMs);
    }
  }

  #forgetSearch(slot: number): void {
    const search = this.#searches.get(slot);
    if (search === undefined) return;
    this.#searches.delete(slot);
    this.#free.push(search);
    this.#findDue();
  }

  #findDue(): void {
    this.#dueMs = NEVER;
    for (const { deadlineMs } of this.#searches.values()) this.#dueMs = Math.min(this.#dueMs, deadlineMs);
  }

  #found(slot: number, found: number, nowMs: number): void {
    const before = this.of(slot);
    if (found === before) return;
    if (found > before) this.#grewAtMs[slot] = nowMs;
    else {
      const isFlapping = nowMs - this.#grewAtMs[slot]! < RAISE_MS; // !: below PEER_SLOTS
      const longer = Math.min(LONGEST_RAISE_MS, this.#raiseEveryMs[slot]! * 2); // !: below PEER_SLOTS
      this.#raiseEveryMs[slot] = isFlapping ? longer : RAISE_MS;
    }
    this.#raiseLater(slot, nowMs);
    this.#use(slot, found);
  }

  /** With jitter: a change of one link concerns many peers at once. */
  #raiseLater(slot: number, nowMs: number): void {
    this.#raiseAtMs[slot] = nowMs + this.#raiseEveryMs[slot]! * (0.75 + this.#options.random() / 2); // !: below PEER_SLOTS
  }

  #use(slot: number, mtu: number): void {
    if (this.#mtu[slot] === mtu) return;
    this.#mtu[slot] = mtu;
    this.#options.changed(slot, mtu);
  }
}
