// The agent's answer as the page uses it: rows of numbers become peers with names, differences become block numbers. Pure.

/** @import { MapFacts } from '../map-form.ts' */

/** The form of the answer that this page knows. */
export const FORM = 1;

/** node-2 before node-10. */
const BY_NAME = new Intl.Collator('en', { numeric: true });

/**
 * @typedef {object} Peer
 * @property {string} name
 * @property {string} address
 * @property {'established' | 'pending' | 'failed'} state
 * @property {number} stateSeconds
 * @property {number | undefined} heardSecondsAgo
 * @property {number | undefined} roundTripMs
 * @property {number | undefined} pathMtu
 * @property {number} sent Probes whose answer is due
 * @property {number} answered
 * @property {number} egressBytes
 * @property {number} ingressBytes
 * @property {number | undefined} askedSecondsAgo When its own probe was heard
 * @property {string} version
 */

/**
 * @typedef {object} HeldBlock
 * @property {number} index
 * @property {string} holder
 * @property {boolean} isAbandoned
 */

/**
 * @typedef {object} Facts
 * @property {MapFacts} told As the agent tells it
 * @property {readonly Peer[]} peers By name
 * @property {readonly HeldBlock[]} held In ascending order
 */

/**
 * @param {MapFacts} told
 * @returns {Facts}
 */
export function readFacts(told) {
  const peers = told.peers.map(
    ([
      name,
      address,
      state,
      stateSeconds,
      heard,
      roundTrip,
      pathMtu,
      sent,
      answered,
      egress,
      ingress,
      asked,
      version,
    ]) => ({
      name,
      address,
      state,
      stateSeconds,
      heardSecondsAgo: heard ?? undefined,
      roundTripMs: roundTrip === null ? undefined : roundTrip / 1000,
      pathMtu: pathMtu ?? undefined,
      sent,
      answered,
      egressBytes: egress,
      ingressBytes: ingress,
      askedSecondsAgo: asked ?? undefined,
      version: told.versions[version] ?? '',
    }),
  );
  return { told, peers: peers.toSorted((a, b) => BY_NAME.compare(a.name, b.name)), held: readHeld(told) };
}

/**
 * @param {MapFacts} told
 * @returns {readonly HeldBlock[]}
 */
function readHeld({ blocks, peers, node }) {
  const abandoned = new Set(blocks.abandoned);
  const held = [];
  let index = -1;
  for (let at = 0; at + 1 < blocks.held.length; at += 2) {
    index += blocks.held[at] ?? 0;
    const number = blocks.held[at + 1] ?? -1;
    const holder =
      number < 0 ? node.name : (peers[number]?.[0] ?? blocks.otherHolders[number - peers.length] ?? '');
    held.push({ index, holder, isAbandoned: abandoned.has(index) });
  }
  return held;
}

/**
 * @param {string} text a.b.c.d
 * @returns {number}
 */
const addressNumber = (text) => text.split('.').reduce((sum, octet) => sum * 256 + Number(octet), 0);

/** @param {number} address */
const addressText = (address) => [24, 16, 8, 0].map((shift) => (address >>> shift) & 255).join('.');

/**
 * @param {Facts} facts
 * @param {number} index of a block; the number of blocks for the end of the range
 * @returns {string} its first address
 */
export function blockStart({ told }, index) {
  const { range, blockPrefixLength } = told.network;
  return addressText(addressNumber(range.split('/')[0] ?? '') + index * 2 ** (32 - blockPrefixLength));
}

/**
 * @param {Facts} facts
 * @param {number} index
 */
export const blockName = (facts, index) =>
  `${blockStart(facts, index)}/${facts.told.network.blockPrefixLength}`;
