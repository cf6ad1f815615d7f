// The routes of the live map: the page's files as they are beside this one, and its facts. The policy lets the page load nothing but these
// and run no text as code or HTML, whatever a peer is called.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import type { MapFacts } from './map-form.ts';

/** Of any page that the agent answers with. */
export interface Answer {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface MapSource {
  map(): MapFacts;
}

const HTML = 'text/html; charset=utf-8';
const SCRIPT = 'text/javascript; charset=utf-8';
const STYLE = 'text/css; charset=utf-8';
const JSON_TYPE = 'application/json; charset=utf-8';

const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  'img-src data:',
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join('; ');

const HEADERS = {
  'content-security-policy': POLICY,
  'referrer-policy': 'no-referrer',
  'cross-origin-resource-policy': 'same-origin',
  'cross-origin-opener-policy': 'same-origin',
};

/** The page's scripts, by name: page.js is loaded by the page, the others by it. */
const SCRIPTS = [
  'page',
  'announcer',
  'blocks',
  'details',
  'drops',
  'elements',
  'facts',
  'history',
  'links',
  'peers',
  'peer-table',
  'summary',
  'words',
];

const STYLES = ['page', 'links', 'panels'];

const FILES: readonly (readonly [path: string, file: string, contentType: string])[] = [
  ['/map', 'index.html', HTML],
  ...STYLES.map((name) => [`/map/${name}.css`, `${name}.css`, STYLE] as const),
  ...SCRIPTS.map((name) => [`/map/${name}.js`, `${name}.js`, SCRIPT] as const),
];

export function mapRoutes(source: MapSource): ReadonlyMap<string, () => Answer> {
  const routes = new Map<string, () => Answer>();
  for (const [path, file, contentType] of FILES) {
    routes.set(path, () => ({
      status: 200,
      contentType,
      body: readFileSync(join(import.meta.dirname, 'page', file), 'utf8'), // seldom asked for, so not kept
      headers: HEADERS,
    }));
  }
  routes.set('/map/facts', () => ({
    status: 200,
    contentType: JSON_TYPE,
    body: JSON.stringify(source.map()),
    headers: HEADERS,
  }));
  return routes;
}
