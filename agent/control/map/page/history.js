// The last two minutes of answers, and what they say together: rates, loss, the course of a round trip. Pure: the agent's clock is the
// time, so a page that was out of view or an agent that was away leaves a gap and no false rate.

/** @import { Facts, Peer } from './facts.js' */

/**
 * @typedef {object} Link A peer with what the history says about it
 * @property {Peer} peer
 * @property {{ readonly lost: number, readonly of: number } | undefined} loss Of the last minute's probes; undefined: too few
 * @property {number | undefined} egressRate Bytes a second
 * @property {number | undefined} ingressRate
 * @property {boolean} isPathLow The path takes less than this node's interface
 */

const KEPT_MS = 120_000;
const LOSS_MS = 60_000;
const RATE_MS = 10_000;
/** A share of fewer probes says nothing. */
const FEWEST_PROBES = 5;

export class History {
  /** @type {{ readonly facts: Facts, readonly peers: ReadonlyMap<string, Peer> }[]} */
  #answers = [];

  /** @param {Facts} facts */
  add(facts) {
    const { nowMs } = facts.told;
    const last = this.#answers.at(-1);
    // The machine was started anew, or the address leads to another node now.
    if (
      last !== undefined &&
      (nowMs < last.facts.told.nowMs || facts.told.node.name !== last.facts.told.node.name)
    )
      this.#answers = [];
    this.#answers.push({ facts, peers: new Map(facts.peers.map((peer) => [peer.name, peer])) });
    this.#answers = this.#answers.filter((answer) => nowMs - answer.facts.told.nowMs <= KEPT_MS);
  }

  /** @returns {readonly Link[]} of the newest answer */
  links() {
    const last = this.#answers.at(-1);
    if (last === undefined) return [];
    const { told, peers } = last.facts;
    const lossBefore = this.#before(LOSS_MS)?.peers;
    const rateBefore = this.#before(RATE_MS);
    const seconds = (told.nowMs - (rateBefore?.facts.told.nowMs ?? 0)) / 1000;
    return peers.map((peer) => {
      const earlier = rateBefore?.peers.get(peer.name);
      return {
        peer,
        loss: lossSince(lossBefore?.get(peer.name), peer),
        egressRate: earlier && rate(earlier.egressBytes, peer.egressBytes, seconds),
        ingressRate: earlier && rate(earlier.ingressBytes, peer.ingressBytes, seconds),
        isPathLow: peer.pathMtu !== undefined && peer.pathMtu < told.network.mtu,
      };
    });
  }

  /** @returns {readonly { readonly reason: string, readonly total: number, readonly perSecond: number | undefined }[]} the largest total first */
  drops() {
    const last = this.#answers.at(-1)?.facts.told;
    if (last === undefined) return [];
    const before = this.#before(RATE_MS)?.facts.told;
    const seconds = (last.nowMs - (before?.nowMs ?? 0)) / 1000;
    return Object.entries(last.drops)
      .map(([reason, total]) => ({
        reason,
        total,
        perSecond:
          before && rate(/** @type {Record<string, number>} */ (before.drops)[reason] ?? 0, total, seconds),
      }))
      .toSorted((a, b) => b.total - a.total || (a.reason < b.reason ? -1 : 1));
  }

  /**
   * Round trips of a peer as they were measured; undefined where it did not answer.
   * @param {string} name
   * @returns {readonly { readonly secondsAgo: number, readonly roundTripMs: number | undefined }[]}
   */
  course(name) {
    const nowMs = this.#answers.at(-1)?.facts.told.nowMs ?? 0;
    return this.#answers.map(({ facts, peers }) => {
      const peer = peers.get(name);
      return {
        secondsAgo: (nowMs - facts.told.nowMs) / 1000,
        roundTripMs: peer?.state === 'established' ? peer.roundTripMs : undefined,
      };
    });
  }

  /**
   * The oldest answer of a time, unless it is the newest.
   * @param {number} windowMs
   */
  #before(windowMs) {
    const nowMs = this.#answers.at(-1)?.facts.told.nowMs ?? 0;
    const oldest = this.#answers.find((answer) => nowMs - answer.facts.told.nowMs <= windowMs);
    return oldest === undefined || oldest.facts.told.nowMs === nowMs ? undefined : oldest;
  }
}

/**
 * @param {number} before
 * @param {number} after less than before when the counting began anew
 * @param {number} seconds
 */
const rate = (before, after, seconds) => Math.max(0, after - before) / seconds;

/**
 * @param {Peer | undefined} before
 * @param {Peer} after
 */
function lossSince(before, after) {
  if (before === undefined) return undefined;
  const of = after.sent - before.sent;
  if (of < FEWEST_PROBES) return undefined;
  return { of, lost: Math.min(of, Math.max(0, of - (after.answered - before.answered))) };
}
