// Makes and changes elements. Text goes in as text, never as HTML, whoever it is from; what is as it should be is not touched.

const SVG = 'http://www.w3.org/2000/svg';

/**
 * @param {string} id
 * @returns {HTMLElement}
 */
export function byId(id) {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`The page has no element "${id}"`);
  return found;
}

/**
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Readonly<Record<string, string>>} [attributes]
 * @param {readonly (Node | string)[]} [children]
 * @returns {HTMLElementTagNameMap[T]}
 */
export function make(tag, attributes = {}, children = []) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/**
 * @param {string} tag
 * @param {Readonly<Record<string, string | number>>} attributes
 * @param {readonly Node[]} [children]
 * @returns {SVGElement}
 */
export function draw(tag, attributes, children = []) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...children);
  return element;
}

/**
 * @param {Element} element
 * @param {string} text
 */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * @param {Element} element
 * @param {string} name
 * @param {string} value
 */
export function setAttribute(element, name, value) {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

/**
 * Rows of a description list, by their terms; values are changed where they are.
 * @param {Element} list
 * @param {readonly (readonly [term: string, value: string])[]} rows
 */
export function setRows(list, rows) {
  const terms = rows.map(([term]) => term).join('\n');
  if (list.getAttribute('data-terms') !== terms) {
    list.setAttribute('data-terms', terms);
    list.replaceChildren(...rows.map(([term]) => make('div', {}, [make('dt', {}, [term]), make('dd')])));
  }
  for (const [at, [, value]] of rows.entries()) {
    const cell = list.children[at]?.lastElementChild;
    if (cell) setText(cell, value);
  }
}
