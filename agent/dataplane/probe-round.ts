// Whom a second's probes go to. Peers that packets go to or come from, that are new, or that owe an answer since a moment ago are asked
// every second: a path that fails is noticed within three. Of the others, as many as a node can ask without being busy with it, in turn;
// one that is silent then owes an answer, and is asked every second for a while. So an idle node in a cluster of thousands stays idle.
import { PEER_SLOTS } from '../../proto/dataplane-stats.ts';
import { OWNER_FIRST_PEER } from '../../proto/forwarding-table.ts';
import { QUIET_PEERS_A_ROUND } from '../../proto/probe.ts';
import { type DataplaneStats, COUNTER, GAUGE } from './stats.ts';

/** How long a peer that is new, or silent, is asked every second. */
const ATTENTION_MS = 10_000;

export class ProbeRound {
  readonly #stats: DataplaneStats;
  readonly #others: readonly DataplaneStats[];
  #slots: Uint16Array = new Uint16Array(0);
  /** Where the next round looks for quiet peers first. */
  #turn = 0;
  /** By slot: what the counters of traffic and of the peer's own probes said a round ago, and until when the peer is new. */
  readonly #activity: Float64Array = new Float64Array(PEER_SLOTS);
  readonly #newUntilMs: Float64Array = new Float64Array(PEER_SLOTS);

  /** `others`: of the workers that do not ask, whose traffic counts as well. */
  constructor(stats: DataplaneStats, others: readonly DataplaneStats[] = []) {
    this.#stats = stats;
    this.#others = others;
  }

  /** `isNew` by slot: peers that were not in the table before. */
  update(slots: Uint16Array, isNew: (slot: number) => boolean, nowMs: number): void {
    this.#slots = slots;
    for (const slot of slots) if (isNew(slot)) this.#newUntilMs[slot] = nowMs + ATTENTION_MS;
  }

  /** The slots to ask in the second that begins. */
  choose(nowMs: number): Uint16Array {
    const count = this.#slots.length;
    if (count <= QUIET_PEERS_A_ROUND) return this.#slots;
    const chosen = new Uint16Array(count);
    let length = 0;
    let quiet = 0;
    let next = this.#turn;
    for (let step = 0; step < count; step++) {
      const at = (this.#turn + step) % count;
      const slot = this.#slots[at]!; // !: below the length
      if (!this.#needsAttention(slot, nowMs)) {
        if (quiet === QUIET_PEERS_A_ROUND) continue;
        quiet += 1;
        next = at + 1;
      }
      chosen[length++] = slot;
    }
    this.#turn = next % count;
    return chosen.subarray(0, length);
  }

  #needsAttention(slot: number, nowMs: number): boolean {
    const row = OWNER_FIRST_PEER + slot;
    const stats = this.#stats;
    const unansweredMs = stats.get(row, GAUGE.first_unanswered_probe_ms);
    // Of an unanswered one, its own probe says that it is back. Of one that answers, it says nothing new.
    let activity = unansweredMs === 0 ? 0 : stats.get(row, GAUGE.last_request_ms);
    activity += packetsOf(stats, row);
    for (const other of this.#others) activity += packetsOf(other, row);
    const isActive = activity !== this.#activity[slot];
    this.#activity[slot] = activity;
    const isSilent = unansweredMs !== 0 && nowMs - unansweredMs < ATTENTION_MS;
    return isActive || isSilent || nowMs < this.#newUntilMs[slot]!; // !: below PEER_SLOTS
  }
}

const packetsOf = (stats: DataplaneStats, row: number): number =>
  stats.get(row, COUNTER.egress_packets) + stats.get(row, COUNTER.ingress_packets);
