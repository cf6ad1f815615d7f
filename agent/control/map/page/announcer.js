// What is said aloud: changes of state, not states, and many changes of one kind as their number. Pure.

/** @import { Facts } from './facts.js' */
import { counted } from './words.js';

/** More of a kind are counted, not named. */
const NAMED = 3;

/**
 * @param {Facts | undefined} before
 * @param {Facts} after
 * @returns {string} empty: nothing changed
 */
export function news(before, after) {
  if (before === undefined) {
    const failed = after.peers.filter(({ state }) => state === 'failed').length;
    return `Node ${after.told.node.name} sees ${counted(after.peers.length, 'peer')}, ${failed === 0 ? 'none' : failed} failed.`;
  }
  const was = new Map(before.peers.map(({ name, state }) => [name, state]));
  const is = new Map(after.peers.map(({ name, state }) => [name, state]));
  /** @param {string} state */
  const turned = (state) =>
    [...is]
      .filter(([name, now]) => now === state && was.has(name) && was.get(name) !== state)
      .map(([name]) => name);
  return [
    sentence(turned('failed'), 'has failed', 'have failed'),
    sentence(turned('established'), 'answers', 'answer'),
    sentence(
      [...is.keys()].filter((name) => !was.has(name)),
      'is a new peer',
      'are new peers',
    ),
    sentence(
      [...was.keys()].filter((name) => !is.has(name)),
      'is no peer any more',
      'are no peers any more',
    ),
    ...changed(
      before.told.notReady.length === 0,
      after.told.notReady.length === 0,
      'Pods can be attached',
      'Pods cannot be attached',
    ),
    ...changed(
      before.told.api.isConnected,
      after.told.api.isConnected,
      'The API is heard',
      'The API is not heard',
    ),
  ]
    .filter((text) => text !== '')
    .join(' ');
}

/**
 * @param {readonly string[]} names
 * @param {string} one
 * @param {string} several
 */
function sentence(names, one, several) {
  if (names.length === 0) return '';
  const who = names.length > NAMED ? `${names.length} peers` : names.join(' and ');
  return `${who} ${names.length === 1 ? one : several}.`;
}

/**
 * @param {boolean} before
 * @param {boolean} after
 * @param {...string} words when it is so, when it is not
 */
const changed = (before, after, ...words) => (before === after ? [] : [`${words[after ? 0 : 1]}.`]);
