// The range as a strip: equal parts in a row, each a column that says how much of it is held by this node, by others, and in quarantine.
// A slider over the strip chooses a part, which is then told block by block. Drawn anew when blocks have changed.

/** @import { Facts, HeldBlock } from './facts.js' */
import { draw, make, setAttribute, setText } from './elements.js';
import { blockName, blockStart } from './facts.js';
import { counted, formatCount } from './words.js';

const MOST_PARTS = 128;
const HEIGHT = 60;
/** A part with one block of a kind shows that kind, however large the part is. */
const LEAST_HEIGHT = 5;
const MARK_HEIGHT = 7;
const BLOCKS_TOLD = 12;

/** From the bottom up. */
const KINDS = /** @type {const} */ (['mine', 'others', 'waiting']);

export class Blocks {
  #elements;
  #chosen;
  /** @type {Facts | undefined} */
  #facts;
  /** @type {string | undefined} */
  #selected;

  /**
   * @param {{ strip: Element, note: Element, part: HTMLInputElement, partBody: Element, own: Element, start: Element, end: Element }} elements
   * @param {(name: string) => void} chosen
   */
  constructor(elements, chosen) {
    this.#elements = elements;
    this.#chosen = chosen;
    elements.part.addEventListener('input', () => this.#tellPart());
    elements.strip.addEventListener('click', (event) => {
      const { left, width } = elements.strip.getBoundingClientRect();
      const share = (/** @type {MouseEvent} */ (event).clientX - left) / width;
      elements.part.value = String(Math.floor(share * (Number(elements.part.max) + 1)));
      this.#tellPart();
    });
  }

  /**
   * @param {Facts} facts
   * @param {string | undefined} selected the peer whose blocks are marked
   */
  update(facts, selected) {
    const { blocks, network, node } = facts.told;
    const isFirst = this.#facts === undefined;
    const isOther = selected !== this.#selected;
    this.#facts = facts;
    this.#selected = selected;
    const { strip, part, note, start, end } = this.#elements;
    const waiting = blocks.quarantined.length + blocks.abandoned.length;
    const mine = blocks.own.length;
    const others = facts.held.filter(({ holder }) => holder !== node.name).length;
    setText(
      note,
      `${network.range}: ${counted(blocks.count, 'block')} of ${2 ** (32 - network.blockPrefixLength)} addresses. ` +
        `${formatCount(mine)} of this node, ${formatCount(others)} of others, ${formatCount(waiting)} in quarantine, ` +
        `${formatCount(blocks.count - facts.held.length - blocks.quarantined.length)} free.`,
    );
    setText(start, blockStart(facts, 0));
    setText(end, blockStart(facts, blocks.count - 1));
    this.#tellOwn();
    const state = JSON.stringify([blocks, selected, network.range]);
    if (strip.getAttribute('data-drawn') === state) return;
    strip.setAttribute('data-drawn', state);
    const parts = partsOf(facts);
    setAttribute(part, 'max', String(parts.length - 1));
    this.#draw(parts);
    // A peer that is chosen shows where its first block is; before, this node's own is of most interest.
    const shown = isOther ? selected : isFirst ? node.name : undefined;
    const at = parts.findIndex(({ held }) => held.some(({ holder }) => holder === shown));
    if (at >= 0) part.value = String(at);
    this.#tellPart();
  }

  /** @param {readonly Part[]} parts */
  #draw(parts) {
    const { strip } = this.#elements;
    const perPart = (this.#facts?.told.blocks.count ?? 1) / parts.length;
    setAttribute(strip, 'viewBox', `0 0 ${parts.length} ${HEIGHT + MARK_HEIGHT}`);
    const shapes = parts.flatMap((part, at) => {
      let top = HEIGHT;
      const columns = KINDS.flatMap((kind) => {
        const count = part[kind];
        if (count === 0) return [];
        const height = Math.min(top, Math.max(LEAST_HEIGHT, (HEIGHT * count) / perPart));
        top -= height;
        return [draw('rect', { x: at, y: top, width: 1, height, class: kind })];
      });
      const isMarked = part.held.some(({ holder }) => holder === this.#selected);
      return isMarked
        ? [
            ...columns,
            draw('rect', { x: at, y: HEIGHT + 2, width: 1, height: MARK_HEIGHT - 2, class: 'of-selected' }),
          ]
        : columns;
    });
    const cursor = draw('rect', { x: 0, y: 0, width: 1, height: HEIGHT, class: 'cursor' });
    strip.replaceChildren(
      draw('rect', { x: 0, y: 0, width: parts.length, height: HEIGHT, class: 'free' }),
      ...shapes,
      cursor,
    );
  }

  #tellPart() {
    const facts = this.#facts;
    if (facts === undefined) return;
    const { part, partBody, strip } = this.#elements;
    const parts = partsOf(facts);
    const at = Math.min(Number(part.value), parts.length - 1);
    const { held, waiting, quarantined } = parts[at] ?? EMPTY_PART;
    const perPart = facts.told.blocks.count / parts.length;
    const cursor = strip.querySelector('.cursor');
    if (cursor) setAttribute(cursor, 'x', String(at));
    const from = blockName(facts, Math.round(at * perPart));
    const to = blockName(facts, Math.round((at + 1) * perPart) - 1);
    const words = `${from} to ${to}: ${counted(held.length, 'block')} of ${formatCount(Math.round(perPart))} held${waiting === 0 ? '' : `, ${waiting} in quarantine`}`;
    setAttribute(part, 'aria-valuetext', words);
    const items = [
      ...held.slice(0, BLOCKS_TOLD).map((block) => this.#heldItem(block, facts)),
      ...quarantined
        .slice(0, BLOCKS_TOLD)
        .map((index) => make('li', {}, [`${blockName(facts, index)} free, in quarantine`])),
    ];
    const left = held.length - BLOCKS_TOLD;
    partBody.replaceChildren(
      make('p', {}, [words]),
      make('ul', { class: 'held' }, left > 0 ? [...items, make('li', {}, [`and ${left} more`])] : items),
    );
  }

  /**
   * @param {HeldBlock} block
   * @param {Facts} facts
   */
  #heldItem({ index, holder, isAbandoned }, facts) {
    const name = blockName(facts, index);
    if (holder === facts.told.node.name) return make('li', {}, [`${name} this node`]);
    if (isAbandoned) return make('li', {}, [`${name} ${holder}, which has gone: freed after the quarantine`]);
    if (!facts.peers.some((peer) => peer.name === holder)) return make('li', {}, [`${name} ${holder}`]);
    const button = make('button', { type: 'button', class: 'name' }, [holder]);
    button.addEventListener('click', () => this.#chosen(holder));
    return make('li', {}, [`${name} `, button]);
  }

  #tellOwn() {
    const facts = this.#facts;
    if (facts === undefined) return;
    const { own } = this.#elements;
    const size = 2 ** (32 - facts.told.network.blockPrefixLength);
    const state = JSON.stringify(facts.told.blocks.own);
    if (own.getAttribute('data-drawn') === state) return;
    own.setAttribute('data-drawn', state);
    const items = facts.told.blocks.own.map(({ index, state: word, used }) => {
      const fill = make('span', { class: 'fill' });
      fill.style.width = `${(100 * used) / size}%`;
      return make('li', {}, [
        make('span', { class: 'block-name' }, [blockName(facts, index)]),
        make('span', { class: 'bar', 'aria-hidden': 'true' }, [fill]),
        make('span', {}, [`${used} of ${size} used${word === 'held' ? '' : ` · ${word}`}`]),
      ]);
    });
    own.replaceChildren(...(items.length > 0 ? items : [make('li', {}, ['None yet.'])]));
  }
}

/**
 * @typedef {object} Part
 * @property {number} mine
 * @property {number} others
 * @property {number} waiting In quarantine, or held by a node that has gone
 * @property {HeldBlock[]} held
 * @property {number[]} quarantined
 */

/** @type {Part} */
const EMPTY_PART = { mine: 0, others: 0, waiting: 0, held: [], quarantined: [] };

/**
 * @param {Facts} facts
 * @returns {readonly Part[]}
 */
function partsOf({ told, held }) {
  const { count, quarantined } = told.blocks;
  const parts = Array.from({ length: Math.min(MOST_PARTS, count) }, () => ({
    ...EMPTY_PART,
    held: /** @type {HeldBlock[]} */ ([]),
    quarantined: /** @type {number[]} */ ([]),
  }));
  /** @param {number} index */
  const partOf = (index) => parts[Math.floor((index * parts.length) / count)];
  for (const block of held) {
    const part = partOf(block.index);
    if (part === undefined) continue;
    part.held.push(block);
    if (block.holder === told.node.name) part.mine += 1;
    else if (block.isAbandoned) part.waiting += 1;
    else part.others += 1;
  }
  for (const index of quarantined) {
    const part = partOf(index);
    if (part === undefined) continue;
    part.waiting += 1;
    part.quarantined.push(index);
  }
  return parts;
}
