// The head of the page: one sentence on this node, its vital facts, and what needs a look, the worst first.

/** @import { Facts } from './facts.js' */
/** @import { History, Link } from './history.js' */
import { make, setRows, setText } from './elements.js';
import { urgency } from './peers.js';
import {
  counted,
  describe,
  formatAge,
  formatBits,
  formatCount,
  formatRate,
  losesMuch,
  roundTripClass,
} from './words.js';

const PEERS_NAMED = 8;
/** A round trip is slow when it is so many times the median of all, and not of the two fastest classes. */
const SLOW_TIMES = 10;
/** When a larger share of the peers is slow, that is where they are, not what is wrong with them. */
const SLOW_SHARE = 0.05;
/** An error that is older is history. */
const RECENT_SECONDS = 600;
/** How long a peer may be silent after it was heard of: its agent is starting. */
const PATIENCE_SECONDS = 15;

/** @param {readonly Link[]} links */
const stateCounts = (links) =>
  /** @type {const} */ ([
    ['established', 'answers', 'answer'],
    ['failed', 'failed', 'failed'],
    ['pending', 'not heard yet', 'not heard yet'],
  ])
    .map(([state, one, several]) => {
      const count = links.filter(({ peer }) => peer.state === state).length;
      return count === 0 ? '' : `${formatCount(count)} ${count === 1 ? one : several}`;
    })
    .filter((words) => words !== '')
    .join(', ');

/**
 * @param {Facts} facts
 * @param {readonly Link[]} links
 */
export const summaryOf = ({ told }, links) =>
  `${told.node.address} · sees ${counted(links.length, 'peer')}${links.length === 0 ? '' : `: ${stateCounts(links)}`}`;

/** @param {Facts['told']} told */
function apiWords({ api }) {
  const heard =
    api.lastSyncAgeSeconds === undefined ? 'never heard' : `heard ${formatAge(api.lastSyncAgeSeconds)} ago`;
  return api.isConnected ? heard : `not connected, ${heard}`;
}

/**
 * @param {Element} list
 * @param {{ facts: Facts, links: readonly Link[], drops: ReturnType<History['drops']> }} known
 */
export function tellVitals(list, { facts, links, drops }) {
  const { told } = facts;
  /** @param {(link: Link) => number | undefined} of */
  const sum = (of) =>
    links.some((link) => of(link) !== undefined)
      ? links.reduce((all, link) => all + (of(link) ?? 0), 0)
      : undefined;
  const isDropRateKnown = drops.every(({ perSecond }) => perSecond !== undefined);
  setRows(list, [
    ['New pods', told.notReady.length === 0 ? 'can be attached' : 'cannot be attached'],
    ['API', apiWords(told)],
    ['Sent', formatBits(sum(({ egressRate }) => egressRate))],
    ['Received', formatBits(sum(({ ingressRate }) => ingressRate))],
    [
      'Refused',
      isDropRateKnown ? formatRate(drops.reduce((all, { perSecond }) => all + (perSecond ?? 0), 0)) : '…',
    ],
    ['Addresses', `${formatCount(told.addresses.used)} of ${formatCount(told.addresses.total)} used`],
    [
      'Data plane',
      told.dataplaneUpSeconds === undefined ? 'not running' : `up ${formatAge(told.dataplaneUpSeconds)}`,
    ],
    ['Version', told.version],
  ]);
}

/**
 * @param {Element} list
 * @param {{ facts: Facts, links: readonly Link[] }} known
 * @param {(name: string) => void} chosen
 */
export function tellAttention(list, { facts, links }, chosen) {
  const { told } = facts;
  const slow = slowOnes(links);
  const peers = links
    .filter((link) => needsLook(link) || slow.has(link))
    .toSorted((a, b) => urgency(b) - urgency(a));
  const more = peers.length - PEERS_NAMED;
  const { lastError, api } = told;
  /** @type {readonly { text: string, peer?: string, sign: string }[]} */
  const items = [
    ...told.notReady.map((text) => ({ text: `Pods cannot be attached: ${text}`, sign: 'bad' })),
    ...(api.isConnected
      ? []
      : [{ text: `The API is ${apiWords(told)}; traffic goes on with what is known`, sign: 'bad' }]),
    ...told.problems.map((text) => ({ text, sign: 'warn' })),
    ...(told.problemCount > told.problems.length
      ? [
          {
            text: `and ${told.problemCount - told.problems.length} more contradictions: see /status`,
            sign: 'warn',
          },
        ]
      : []),
    ...(lastError !== undefined && lastError.ageSeconds < RECENT_SECONDS
      ? [{ text: `${lastError.text} (${formatAge(lastError.ageSeconds)} ago)`, sign: 'warn' }]
      : []),
    ...peers.slice(0, PEERS_NAMED).map((link) => ({
      text: describe(link),
      peer: link.peer.name,
      sign: link.peer.state === 'failed' ? 'bad' : 'warn',
    })),
    ...(more > 0
      ? [{ text: `and ${counted(more, 'more peer')}: order the map by "worst first"`, sign: 'warn' }]
      : []),
  ];
  const shown = items.length > 0 ? items : [{ text: nothingWrong(links), sign: 'good' }];
  settle(list, shown, chosen);
}

/** @param {Link} link */
const needsLook = (link) =>
  link.peer.state === 'failed' ||
  (link.peer.state === 'pending' && link.peer.stateSeconds > PATIENCE_SECONDS) ||
  losesMuch(link) ||
  link.isPathLow;

/** @param {readonly Link[]} links */
const nothingWrong = (links) =>
  links.length === 0
    ? 'Nothing, but there are no peers yet.'
    : 'Nothing: peers answer, and their paths carry what they should.';

/**
 * @param {readonly Link[]} links
 * @returns {ReadonlySet<Link>}
 */
function slowOnes(links) {
  const measured = links.map(({ peer }) => peer.roundTripMs).filter((each) => each !== undefined);
  const median = measured.toSorted((a, b) => a - b)[Math.floor(measured.length / 2)] ?? 0;
  const slow = links.filter(
    ({ peer: { roundTripMs = 0 } }) => roundTripClass(roundTripMs) > 2 && roundTripMs > median * SLOW_TIMES,
  );
  return new Set(slow.length > Math.max(1, links.length * SLOW_SHARE) ? [] : slow);
}

/**
 * Elements are used again in their order, so that a button that has the focus keeps it while its words change.
 * @param {Element} list
 * @param {readonly { text: string, peer?: string, sign: string }[]} items
 * @param {(name: string) => void} chosen
 */
function settle(list, items, chosen) {
  while (list.childElementCount > items.length) list.lastElementChild?.remove();
  for (const [at, { text, peer, sign }] of items.entries()) {
    const item = list.children[at] ?? list.appendChild(make('li'));
    item.className = sign;
    const wanted = peer === undefined ? 'SPAN' : 'BUTTON';
    if (item.firstElementChild?.tagName !== wanted) {
      const inner = peer === undefined ? make('span') : make('button', { type: 'button', class: 'name' });
      inner.addEventListener('click', () => {
        const name = inner.dataset['peer'];
        if (name !== undefined) chosen(name);
      });
      item.replaceChildren(inner);
    }
    const inner = /** @type {HTMLElement} */ (item.firstElementChild);
    if (peer !== undefined) inner.dataset['peer'] = peer;
    setText(inner, text);
  }
}
