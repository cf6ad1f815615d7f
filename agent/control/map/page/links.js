// Draws the links of a map of few peers, between the cards that are there: a curve from this node to each where there is room for two
// columns, a trunk with branches where there is not. Drawn anew when a place or a sign has changed, not at every answer.

/** @import { Link } from './history.js' */
import { draw } from './elements.js';
import { signOf } from './peers.js';

const MARK_RADIUS = 9;

/**
 * @typedef {object} Places
 * @property {HTMLElement} map
 * @property {HTMLElement} me
 * @property {(name: string) => HTMLElement | undefined} optionOf
 */

/**
 * @param {SVGElement} svg
 * @param {readonly Link[]} links none: nothing is drawn
 * @param {Places} places
 */
export function drawLinks(svg, links, { map, me, optionOf }) {
  const lines = links.flatMap((link) => {
    const card = optionOf(link.peer.name);
    return card === undefined ? [] : [{ sign: signOf(link), ...lineTo(me, card) }];
  });
  const state = JSON.stringify([map.offsetWidth, map.offsetHeight, lines]);
  if (svg.getAttribute('data-drawn') === state) return;
  svg.setAttribute('data-drawn', state);
  svg.setAttribute('viewBox', `0 0 ${map.offsetWidth} ${map.offsetHeight}`);
  const trunks = lines.flatMap(({ trunk }) =>
    trunk === undefined ? [] : [draw('path', { d: trunk, class: 'trunk' })],
  );
  svg.replaceChildren(
    ...trunks,
    ...lines.map(({ sign, path }) => draw('path', { d: path, class: `wire ${sign}` })),
    ...lines.flatMap(({ sign, x, y }) => markOf(sign, x, y)),
  );
}

/**
 * @param {HTMLElement} me
 * @param {HTMLElement} card
 * @returns {{ path: string, trunk?: string, x: number, y: number }} with the place of its mark
 */
function lineTo(me, card) {
  const y = card.offsetTop + card.offsetHeight / 2;
  const from = {
    left: me.offsetLeft,
    right: me.offsetLeft + me.offsetWidth,
    y: me.offsetTop + me.offsetHeight / 2,
  };
  const left = card.offsetLeft;
  const right = card.offsetLeft + card.offsetWidth;
  if (left < from.right && right > from.left) {
    const trunkX = from.left + 14;
    const trunk = `M${trunkX} ${me.offsetTop + me.offsetHeight}V${y}`;
    return { path: `M${trunkX} ${y}H${left}`, trunk, x: (trunkX + left) / 2, y };
  }
  const [start, end] = left >= from.right ? [from.right, left] : [from.left, right];
  const middle = (start + end) / 2;
  return {
    path: `M${start} ${from.y}C${middle} ${from.y} ${middle} ${y} ${end} ${y}`,
    x: middle,
    y: (from.y + y) / 2,
  };
}

/**
 * @param {string} sign
 * @param {number} x
 * @param {number} y
 */
function markOf(sign, x, y) {
  const [state = ''] = sign.split(' ');
  if (state === 'established') return [];
  const disc = draw('circle', { cx: x, cy: y, r: MARK_RADIUS, class: `mark ${state}` });
  const text = draw('text', { x, y, class: `mark-text ${state}` });
  text.textContent = state === 'failed' ? '✕' : '?';
  return [disc, text];
}
