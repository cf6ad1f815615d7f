// Refused packets by reason: how many in all, and how many a second now.

/** @import { History } from './history.js' */
import { make, setAttribute, setText } from './elements.js';
import { formatCount, formatRate } from './words.js';

export class Drops {
  #body;
  #rows = make('tbody');
  #note = make('p', { class: 'note' }, ['None: nothing was refused since this node counts.']);
  #table = make('table', {}, [
    make('caption', { class: 'unseen' }, ['Refused packets by reason']),
    make('thead', {}, [
      make('tr', {}, [
        make('th', { scope: 'col' }, ['Reason']),
        make('th', { scope: 'col', class: 'number' }, ['Now']),
        make('th', { scope: 'col', class: 'number' }, ['In all']),
      ]),
    ]),
    this.#rows,
  ]);

  /** @param {Element} body */
  constructor(body) {
    this.#body = body;
  }

  /** @param {ReturnType<History['drops']>} drops */
  update(drops) {
    const shown = drops.length === 0 ? this.#note : this.#table;
    if (this.#body.firstElementChild !== shown) this.#body.replaceChildren(shown);
    while (this.#rows.childElementCount > drops.length) this.#rows.lastElementChild?.remove();
    for (const [at, { reason, total, perSecond }] of drops.entries()) {
      const row = this.#rows.children[at] ?? this.#add();
      const [name, now, all] = row.children;
      setAttribute(row, 'class', perSecond !== undefined && perSecond > 0 ? 'growing' : '');
      if (name) setText(name, reason);
      if (now) setText(now, formatRate(perSecond));
      if (all) setText(all, formatCount(total));
    }
  }

  #add() {
    const row = make('tr', {}, [
      make('th', { scope: 'row' }),
      make('td', { class: 'number' }),
      make('td', { class: 'number' }),
    ]);
    this.#rows.append(row);
    return row;
  }
}
