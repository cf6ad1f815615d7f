// The live map: asks the agent for its facts every two seconds while the page is in view, and shows them. What is chosen is in the
// address (#peer=NAME), so a reload keeps it. An agent that does not answer is asked on; what was heard last stays, marked as old.

/** @import { Facts } from './facts.js' */
/** @import { Link } from './history.js' */
import { news } from './announcer.js';
import { Blocks } from './blocks.js';
import { Details } from './details.js';
import { Drops } from './drops.js';
import { byId, make, setAttribute, setText } from './elements.js';
import { FORM, readFacts } from './facts.js';
import { History } from './history.js';
import { drawLinks } from './links.js';
import { MOST_CARDS, PeerList, urgency } from './peers.js';
import { PeerTable } from './peer-table.js';
import { summaryOf, tellAttention, tellVitals } from './summary.js';
import { SIGNS, counted, describe } from './words.js';

const EVERY_MS = 2000;
const PATIENCE_MS = 5000;

/** @type {{ facts: Facts | undefined, answeredAt: Date | undefined, awayBecause: string | undefined, selected: string | undefined, glanced: string | undefined }} */
const state = {
  facts: undefined,
  answeredAt: undefined,
  awayBecause: undefined,
  selected: peerIn(location.hash),
  glanced: undefined,
};
const history = new History();
const filter = /** @type {HTMLInputElement} */ (byId('filter'));
const order = /** @type {HTMLSelectElement} */ (byId('order'));
const wires = /** @type {SVGElement & HTMLElement} */ (byId('wires'));
const map = byId('map');
const peers = new PeerList(byId('peers'), { chosen: choose, glanced: glance });
const details = new Details(byId('details-heading'), byId('details-body'));
const drops = new Drops(byId('drops'));
const table = new PeerTable(byId('table'));
const blocks = new Blocks(
  {
    strip: byId('strip'),
    note: byId('blocks-note'),
    part: /** @type {HTMLInputElement} */ (byId('part')),
    partBody: byId('part-body'),
    own: byId('own-blocks'),
    start: byId('range-start'),
    end: byId('range-end'),
  },
  (name) => {
    choose(name);
    peers.focus(name);
  },
);

/** @param {string} hash */
function peerIn(hash) {
  try {
    return decodeURIComponent(/^#peer=(.*)$/.exec(hash)?.[1] ?? '') || undefined;
  } catch {
    return undefined; // written by hand, or cut off
  }
}

/** @param {string} name */
function choose(name) {
  state.selected = name;
  globalThis.history.replaceState(undefined, '', `#peer=${encodeURIComponent(name)}`);
  show();
}

function close() {
  const { selected } = state;
  if (selected === undefined) return;
  state.selected = undefined;
  globalThis.history.replaceState(undefined, '', location.pathname);
  show();
  peers.focus(selected);
}

/** @param {string | undefined} name */
function glance(name) {
  state.glanced = name;
  showGlance(history.links());
}

/** @param {readonly Link[]} links */
function showGlance(links) {
  const link = links.find(({ peer }) => peer.name === state.glanced);
  setText(
    byId('glance'),
    link === undefined ? 'Point at a cell, or go through them with the arrow keys.' : describe(link),
  );
}

/** @param {readonly Link[]} links those that are shown, in order */
function placed(links) {
  const wanted = filter.value.trim().toLowerCase();
  const found = wanted === '' ? links : links.filter(({ peer }) => peer.name.toLowerCase().includes(wanted));
  return order.value === 'worst' ? found.toSorted((a, b) => urgency(b) - urgency(a)) : found;
}

function show() {
  const { facts, selected } = state;
  if (facts === undefined) return;
  const { told } = facts;
  const links = history.links();
  const isMap = links.length <= MOST_CARDS;
  const shown = isMap ? links : placed(links);
  setText(byId('title'), told.node.name);
  document.title = `${told.node.name} · Weft map`;
  setText(byId('summary'), summaryOf(facts, links));
  tellVitals(byId('vitals'), { facts, links, drops: history.drops() });
  tellAttention(byId('attention'), { facts, links }, (name) => {
    choose(name);
    peers.focus(name);
  });
  setText(byId('links-heading'), `Links of ${told.node.name}`);
  setText(
    byId('links-note'),
    `What ${told.node.name} itself sees. Links between other nodes are on the maps of those nodes.`,
  );
  byId('controls').hidden = isMap;
  byId('glance').hidden = isMap;
  setText(
    byId('matches'),
    shown.length === links.length ? '' : `${counted(shown.length, 'node')} of ${links.length}`,
  );
  setAttribute(byId('links'), 'class', isMap ? 'few' : 'many');
  setText(byId('me'), told.node.name);
  peers.update(shown, { isMap, selected });
  drawLinks(wires, isMap ? links : [], { map, me: byId('me'), optionOf: (name) => peers.optionOf(name) });
  if (!isMap) showGlance(links);
  byId('close').hidden = selected === undefined;
  setAttribute(byId('details'), 'class', selected === undefined ? '' : 'chosen');
  details.update(selected, { link: links.find(({ peer }) => peer.name === selected), facts, history });
  blocks.update(facts, selected);
  drops.update(history.drops());
  table.update(links, facts);
}

/** @param {Date} at */
const clockTime = (at) =>
  at.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', second: '2-digit' });

function showFreshness() {
  const { answeredAt, awayBecause } = state;
  const away = byId('away');
  away.hidden = awayBecause === undefined;
  document.body.classList.toggle('old', awayBecause !== undefined);
  const since =
    answeredAt === undefined ? 'The agent has not answered yet' : `No answer since ${clockTime(answeredAt)}`;
  if (awayBecause !== undefined)
    setText(
      away,
      `${since} (${awayBecause}). ${answeredAt === undefined ? '' : 'What you see is from then. '}Asking on.`,
    );
  setText(
    byId('freshness'),
    awayBecause === undefined ? `live · ${answeredAt === undefined ? '' : clockTime(answeredAt)}` : since,
  );
}

/** @param {string} text */
function say(text) {
  if (text !== '') setText(byId('news'), text);
}

/** Throws an Error that says why there is no answer. */
async function factsTold() {
  const signal = AbortSignal.timeout(PATIENCE_MS);
  try {
    const response = await fetch('map/facts', { cache: 'no-store', signal });
    if (!response.ok) throw new Error(`it says ${response.status}`);
    return await response.json();
  } catch (error) {
    if (signal.aborted) throw new Error('it takes too long', { cause: error });
    if (error instanceof TypeError) throw new Error('it cannot be reached', { cause: error });
    throw error;
  }
}

async function ask() {
  const was = state.awayBecause;
  try {
    const told = await factsTold();
    if (told.form !== FORM) throw new Error('it has another version now: reload this page');
    const facts = readFacts(told);
    say(`${was === undefined ? '' : 'The agent answers again. '}${news(state.facts, facts)}`);
    history.add(facts);
    state.facts = facts;
    state.answeredAt = new Date();
    state.awayBecause = undefined;
  } catch (error) {
    state.awayBecause = error instanceof Error ? error.message : String(error);
    if (was === undefined) say('The agent does not answer.');
  }
  showFreshness();
  if (state.awayBecause === undefined) show();
}

/** One question at a time; none while nobody looks. */
async function keepAsking() {
  for (;;) {
    if (document.hidden)
      await new Promise((seen) => document.addEventListener('visibilitychange', seen, { once: true }));
    else {
      await ask().catch(reportError); // of drawing: the agent did answer
      await new Promise((passed) => setTimeout(passed, EVERY_MS));
    }
  }
}

byId('legend').replaceChildren(
  ...SIGNS.map(([sign, words]) =>
    make('li', { class: sign.endsWith('path-low') ? 'path-low-sign' : '' }, [
      make('span', { class: `cell ${sign}`, 'aria-hidden': 'true' }),
      make('span', { class: `swatch ${sign}`, 'aria-hidden': 'true' }),
      words,
    ]),
  ),
);
byId('strip-legend').replaceChildren(
  ...[
    ['mine', 'this node'],
    ['others', 'other nodes'],
    ['waiting', 'quarantine'],
    ['free', 'free'],
  ].map(([kind = '', words = '']) =>
    make('li', {}, [make('span', { class: `kind ${kind}`, 'aria-hidden': 'true' }), words]),
  ),
);

byId('close').addEventListener('click', close);
document.addEventListener('keydown', ({ key, target }) => {
  if (key === 'Escape' && target !== filter) close();
});
filter.addEventListener('input', show);
order.addEventListener('change', show);
byId('controls').addEventListener('submit', (event) => {
  event.preventDefault();
  const first = placed(history.links())[0];
  if (first === undefined) return;
  choose(first.peer.name);
  peers.focus(first.peer.name);
});
byId('table-details').addEventListener('toggle', show);
new ResizeObserver(show).observe(map);
void keepAsking();
