// One search for the MTU of one path (path-mtu.ts): rounds of up to 16 sizes at once, each round a few tries. Pure; sizes are those of inner
// IPv4 packets. Invariant: nothing above `low` was answered, and `high` is a size that was refused, or that was not answered by a peer
// that answered smaller ones.
import { CANDIDATES, Candidates } from './path-candidates.ts';

/** No path is believed to take less (RFC 791), unless the device's MTU is smaller. */
export const SMALLEST_PATH_MTU = 576;
/** Passes wherever anything passes: tells a peer that is down from a size that is too large. */
export const CONTROL_PROBE_BYTES = 64;

const FIRST_TRIES = 3;
const LATER_TRIES = 2;

/** What has become of a search; a number above 0 is the path's MTU. */
export const SEARCHING = 0;
/** The peer answered nothing, so nothing was learnt. */
export const SILENT = -1;
/** The size in force was not answered once, by a peer that lives: go on with below(), or forget it. */
export const UNVERIFIED = -2;

export interface SearchPorts {
  /** See PathMtuOptions. */
  readonly send: (slot: number, bytes: number, sequence: number) => boolean;
  /** Numbers that follow one another. */
  readonly nextSequence: () => number;
}

export interface SearchStart {
  readonly slot: number;
  /** In force. */
  readonly mtu: number;
  /** Of the device. */
  readonly ceiling: number;
  /** How long answers are waited for. */
  readonly timeoutMs: number;
  readonly nowMs: number;
}

export class PathSearch {
  slot = 0;
  deadlineMs = 0;
  /** The first round of all, with the size in force and no second try. */
  isVerifying = true;
  readonly #ports: SearchPorts;
  readonly #candidates: Candidates = new Candidates(CANDIDATES);
  #mtu = 0;
  #ceiling = 0;
  #timeoutMs = 0;
  #triesLeft = 0;
  /** Sequence numbers of the round's first and last probe: earlier answers prove what was. */
  #firstSequence = 0;
  #lastSequence = 0;
  /** A probe that was sent during this round was answered. */
  #isAlive = false;
  #low = 0;
  #high = 0;

  constructor(ports: SearchPorts) {
    this.#ports = ports;
  }

  /** Asks about the size in force, and about the device's where `glances`. */
  verify(start: SearchStart, glances: boolean): void {
    this.#start(start);
    this.isVerifying = true;
    if (glances) this.#candidates.add(this.#ceiling);
    this.#candidates.add(this.#mtu);
    this.#beginRound(1, start.nowMs);
  }

  /** Asks about what is above the size in force, and about that. */
  above(start: SearchStart): void {
    this.#start(start);
    this.isVerifying = false;
    this.#candidates.addPlateaus(this.#mtu, this.#ceiling);
    this.#candidates.add(this.#mtu + 1);
    this.#candidates.add(this.#mtu);
    this.#beginRound(FIRST_TRIES, start.nowMs);
  }

  /** Goes on after UNVERIFIED. */
  below(nowMs: number): void {
    const floor = this.#floor;
    this.isVerifying = false;
    this.#high = Math.min(this.#high, this.#mtu + 1);
    this.#candidates.clear();
    this.#candidates.addPlateaus(floor - 1, this.#mtu);
    this.#candidates.add(floor);
    this.#candidates.add(this.#mtu);
    this.#beginRound(FIRST_TRIES, nowMs);
  }

  /** A small probe of the peer was answered. */
  alive(): void {
    this.#isAlive = true;
  }

  /** A probe of `bytes` arrived at the peer. */
  answered(bytes: number, sequence: number, nowMs: number): number {
    const sent = (this.#lastSequence - this.#firstSequence) >>> 0;
    if ((sequence - this.#firstSequence) >>> 0 > sent) return SEARCHING; // of an earlier round
    this.#isAlive = true;
    this.#candidates.answered(bytes);
    return this.#candidates.isSettled ? this.#endRound(nowMs) : SEARCHING;
  }

  /** The deadline has passed: the next try, or the end of the round. */
  due(nowMs: number): number {
    if (this.#triesLeft === 0) return this.#endRound(nowMs);
    this.#try(nowMs);
    return SEARCHING;
  }

  get #floor(): number {
    return Math.min(SMALLEST_PATH_MTU, this.#ceiling);
  }

  #start({ slot, mtu, ceiling, timeoutMs }: SearchStart): void {
    this.slot = slot;
    this.#mtu = mtu;
    this.#ceiling = ceiling;
    this.#timeoutMs = timeoutMs;
    this.#low = 0;
    this.#high = ceiling + 1;
    this.#candidates.clear();
  }

  #beginRound(tries: number, nowMs: number): void {
    this.#triesLeft = tries;
    this.#isAlive = false;
    this.#firstSequence = this.#ports.nextSequence();
    this.#lastSequence = this.#firstSequence;
    this.#try(nowMs);
  }

  #try(nowMs: number): void {
    const candidates = this.#candidates;
    this.#triesLeft -= 1;
    this.deadlineMs = nowMs + this.#timeoutMs;
    if (!this.isVerifying) this.#send(CONTROL_PROBE_BYTES); // verifying: the small probe was just sent
    for (let index = 0; index < candidates.count; index++) {
      if (!candidates.isOpen(index)) continue;
      const bytes = candidates.sizes[index]!; // !: below count
      if (!this.#send(bytes)) candidates.refused(bytes);
    }
    if (candidates.isSettled) this.#triesLeft = 0; // all refused here: nothing to wait for but signs of life
  }

  #send(bytes: number): boolean {
    this.#lastSequence = this.#ports.nextSequence();
    return this.#ports.send(this.slot, bytes, this.#lastSequence);
  }

  #endRound(nowMs: number): number {
    const candidates = this.#candidates;
    this.#low = Math.max(this.#low, candidates.largestAnswered);
    this.#high = Math.min(this.#high, candidates.smallestFailedAbove(this.#low));
    this.#high = Math.max(this.#high, this.#low + 1);
    if (!this.#isAlive && !(this.isVerifying && candidates.isRefused)) return SILENT;
    if (this.isVerifying) return this.#low >= this.#mtu ? this.#low : UNVERIFIED;
    const floor = this.#floor;
    const isFound = this.#low > 0 ? this.#high - this.#low === 1 : this.#high <= floor;
    if (isFound) return Math.max(floor, this.#low);
    candidates.clear();
    candidates.addBetween(this.#low === 0 ? floor - 1 : this.#low, this.#high);
    if (this.#low < this.#mtu) candidates.add(this.#mtu); // an answer shows that the others were lost by chance
    this.#beginRound(LATER_TRIES, nowMs);
    return SEARCHING;
  }
}
