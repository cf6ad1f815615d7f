// The peers as one list of options: a map of cards when they are few, a heat map of cells when they are many. One of them is in the tab
// order, arrow keys go between them by their places on the screen. Elements stay with their peer, so that focus does too.

/** @import { Link } from './history.js' */
import { make, setAttribute, setText } from './elements.js';
import { describe, isLossy, losesMuch, roundTripClass, stateWords } from './words.js';

/** More peers than these are shown as a heat map. */
export const MOST_CARDS = 24;

/** @param {Link} link what its sign looks like, as classes */
export function signOf(link) {
  const { peer } = link;
  /** @type {string[]} */
  const words = [peer.state];
  if (peer.state === 'established') {
    words.push(peer.roundTripMs === undefined ? 'unmeasured' : `rtt-${roundTripClass(peer.roundTripMs)}`);
    if (losesMuch(link)) words.push('loss-much');
    else if (isLossy(link)) words.push('loss-some');
    if (link.isPathLow) words.push('path-low');
  }
  return words.join(' ');
}

/** @param {Link} link the most urgent first, then the slowest */
export function urgency(link) {
  const { peer } = link;
  if (peer.state === 'failed') return 4e9;
  if (peer.state === 'pending') return 3e9;
  if (isLossy(link)) return 2e9 + (link.loss?.lost ?? 0);
  return (link.isPathLow ? 1e9 : 0) + (peer.roundTripMs ?? 0);
}

export class PeerList {
  #list;
  #chosen;
  /** @type {Map<string, HTMLElement>} */
  #options = new Map();
  /** @type {string | undefined} */
  #selected;
  /** @type {(name: string | undefined) => void} */
  #glanced = () => undefined;

  /**
   * @param {HTMLElement} list
   * @param {{ chosen: (name: string) => void, glanced: (name: string | undefined) => void }} told
   */
  constructor(list, { chosen, glanced }) {
    this.#list = list;
    this.#chosen = chosen;
    this.#glanced = glanced;
    list.addEventListener('click', (event) => this.#choose(optionOf(event)));
    list.addEventListener('keydown', (event) => this.#pressed(event));
    list.addEventListener('focusin', (event) => this.#glanced(optionOf(event)?.dataset['peer']));
    list.addEventListener('pointerover', (event) => this.#glanced(optionOf(event)?.dataset['peer']));
    list.addEventListener('pointerleave', () => this.#glanced(this.#selected));
  }

  /**
   * @param {readonly Link[]} links in the order of their places
   * @param {{ isMap: boolean, selected: string | undefined }} view
   */
  update(links, { isMap, selected }) {
    const names = new Set(links.map(({ peer }) => peer.name));
    const focused = optionOf({ target: document.activeElement });
    for (const [name, option] of this.#options) {
      if (names.has(name)) continue;
      option.remove();
      this.#options.delete(name);
    }
    for (const [at, link] of links.entries()) {
      const { name } = link.peer;
      const option = this.#options.get(name) ?? this.#add(name);
      if (this.#list.children[at] !== option)
        this.#list.insertBefore(option, this.#list.children[at] ?? null);
      setAttribute(option, 'class', `${isMap ? 'card' : 'cell'} ${signOf(link)}`);
      setAttribute(option, 'aria-selected', String(name === selected));
      setAttribute(option, 'aria-label', describe(link));
      if (isMap) this.#fillCard(option, link);
      else if (option.childElementCount > 0) option.replaceChildren();
    }
    this.#selected = selected;
    // A move in the document takes the focus away.
    if (focused !== undefined && focused.isConnected && document.activeElement !== focused) focused.focus();
    this.#keepOneStop(focused);
  }

  /** @param {string} name */
  focus(name) {
    const option = this.#options.get(name);
    if (option === undefined) return;
    this.#keepOneStop(option);
    option.focus();
  }

  /** @param {string} name @returns {HTMLElement | undefined} */
  optionOf(name) {
    return this.#options.get(name);
  }

  /** @param {string} name */
  #add(name) {
    const option = make('div', { role: 'option', tabindex: '-1' });
    option.dataset['peer'] = name;
    this.#options.set(name, option);
    return option;
  }

  /**
   * @param {HTMLElement} option
   * @param {Link} link
   */
  #fillCard(option, link) {
    if (option.childElementCount === 0) option.append(make('b'), make('span'));
    const [name, words] = option.children;
    if (name) setText(name, link.peer.name);
    if (words) setText(words, stateWords(link));
  }

  /** @param {HTMLElement | undefined} wanted the option that the tab key goes to */
  #keepOneStop(wanted) {
    const all = [...this.#options.values()];
    const stop =
      (wanted?.isConnected ? wanted : undefined) ??
      this.#options.get(this.#selected ?? '') ??
      all.find((option) => option.tabIndex === 0) ??
      this.#list.firstElementChild;
    for (const option of all) {
      const index = option === stop ? 0 : -1;
      if (option.tabIndex !== index) option.tabIndex = index;
    }
  }

  /** @param {HTMLElement | undefined} option */
  #choose(option) {
    const name = option?.dataset['peer'];
    if (option === undefined || name === undefined) return;
    this.#keepOneStop(option);
    option.focus();
    this.#chosen(name);
  }

  /** @param {KeyboardEvent} event */
  #pressed(event) {
    const from = optionOf(event);
    if (from === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    const to = event.key === 'Enter' || event.key === ' ' ? from : nextOf(event.key, from, this.#list);
    if (to === undefined) return;
    event.preventDefault();
    this.#choose(to);
  }
}

/** @param {{ target: unknown }} event @returns {HTMLElement | undefined} */
const optionOf = ({ target }) =>
  (target instanceof Element ? target.closest('[role="option"]') : null) instanceof HTMLElement
    ? /** @type {HTMLElement} */ (/** @type {Element} */ (target).closest('[role="option"]'))
    : undefined;

/**
 * @param {string} key
 * @param {HTMLElement} from
 * @param {HTMLElement} list
 * @returns {HTMLElement | undefined}
 */
function nextOf(key, from, list) {
  const all = /** @type {HTMLElement[]} */ ([...list.children]);
  const at = all.indexOf(from);
  switch (key) {
    case 'Home':
      return all[0];
    case 'End':
      return all.at(-1);
    case 'ArrowRight':
      return all[at + 1];
    case 'ArrowLeft':
      return all[at - 1];
    case 'ArrowDown':
      return nearest(
        from,
        all.slice(at + 1).filter(({ offsetTop }) => offsetTop > from.offsetTop),
      );
    case 'ArrowUp':
      return nearest(
        from,
        all
          .slice(0, at)
          .toReversed()
          .filter(({ offsetTop }) => offsetTop < from.offsetTop),
      );
    default:
      return undefined;
  }
}

/**
 * @param {HTMLElement} from
 * @param {readonly HTMLElement[]} others those of the next row first
 */
function nearest(from, others) {
  const row = others[0]?.offsetTop;
  return others
    .filter(({ offsetTop }) => offsetTop === row)
    .toSorted(
      (a, b) => Math.abs(a.offsetLeft - from.offsetLeft) - Math.abs(b.offsetLeft - from.offsetLeft),
    )[0];
}
