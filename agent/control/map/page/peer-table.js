// The same facts of all links as a table, for who reads rather than looks. Filled only while it is open.

/** @import { Facts } from './facts.js' */
/** @import { Link } from './history.js' */
import { make, setText } from './elements.js';
import { formatBits, formatLoss, roundTripWords, stateWords } from './words.js';

const COLUMNS = [
  'Peer',
  'State',
  'Round trip',
  'Loss',
  'Path MTU',
  'Sent',
  'Received',
  'Blocks',
  'Underlay',
  'Version',
];

export class PeerTable {
  #body;
  #rows = make('tbody');

  /** @param {Element} body */
  constructor(body) {
    this.#body = body;
    const heads = COLUMNS.map((name) => make('th', { scope: 'col' }, [name]));
    body.append(make('table', {}, [make('thead', {}, [make('tr', {}, heads)]), this.#rows]));
  }

  /**
   * @param {readonly Link[]} links
   * @param {Facts} facts
   */
  update(links, facts) {
    const isOpen = this.#body.closest('details')?.open ?? false;
    if (!isOpen) {
      this.#rows.replaceChildren();
      return;
    }
    /** @type {Map<string, number>} */
    const blocks = new Map();
    for (const { holder } of facts.held) blocks.set(holder, (blocks.get(holder) ?? 0) + 1);
    while (this.#rows.childElementCount > links.length) this.#rows.lastElementChild?.remove();
    for (const [at, link] of links.entries()) {
      const { peer } = link;
      const isUp = peer.state === 'established';
      const cells = [
        peer.name,
        isUp ? 'answers' : stateWords(link),
        roundTripWords(link),
        formatLoss(link),
        String(peer.pathMtu ?? 'not known'),
        formatBits(link.egressRate),
        formatBits(link.ingressRate),
        String(blocks.get(peer.name) ?? 0),
        peer.address,
        peer.version,
      ];
      const row = this.#rows.children[at] ?? this.#add();
      for (const [column, text] of cells.entries()) {
        const cell = row.children[column];
        if (cell) setText(cell, text);
      }
    }
  }

  #add() {
    const row = make(
      'tr',
      {},
      COLUMNS.map((_, at) => (at === 0 ? make('th', { scope: 'row' }) : make('td'))),
    );
    this.#rows.append(row);
    return row;
  }
}
