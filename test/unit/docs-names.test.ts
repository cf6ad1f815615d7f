// What the documentation names is there: links with their anchors, paths of the repository, settings, metrics, log events, reasons, codes, commands.
// A page that sends an operator to something that does not exist is worse than none.
import assert from 'node:assert/strict';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { TROUBLES } from '../../agent/control/trouble.ts';
import { COMMANDS } from '../../agent/cli/commands.ts';
import { SETTING_TABLE } from '../../agent/setting-table.ts';
import { EVENTS } from '../../agent/telemetry/event-names.ts';
import { FIELDS } from '../../agent/telemetry/field-names.ts';
import { REFUSAL_REASONS } from '../../proto/drop-reason.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8');

const PAGES = [
  'README.md',
  ...readdirSync(join(ROOT, 'docs'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
];
/** Pages for operators; names in decisions may be of the past. */
const CURRENT = PAGES.filter((page) => !page.startsWith('docs/decisions/'));
/** It lists what Weave had and Weft has not. */
const COMPARISON = 'docs/operations/coming-from-weave.md';

const prose = (text: string): string => text.replaceAll(/^```[\s\S]*?^```/gm, '');
const codeOf = (text: string): readonly string[] => [
  ...[...text.matchAll(/^```[^\n]*\n([\s\S]*?)^```/gm)].flatMap(([, block = '']) => block.split('\n')),
  ...[...prose(text).matchAll(/`([^`\n]+)`/g)].map(([, span = '']) => span),
];

/** As GitHub makes them of a heading. */
const anchorOf = (heading: string): string =>
  heading
    .trim()
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
    .replaceAll(/\s/g, '-');

const anchorsOf = (page: string): ReadonlySet<string> =>
  new Set([...prose(read(page)).matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) => anchorOf(heading)));

const bad = (
  pages: readonly string[],
  find: (page: string, text: string) => readonly string[],
): readonly string[] => pages.flatMap((page) => find(page, read(page)).map((what) => `${page}: ${what}`));

test('every link leads to a file that is there, and to a heading in it', () => {
  const broken = bad(PAGES, (page, text) =>
    [...prose(text).matchAll(/\]\(([^)\s]+)\)/g)]
      .map(([, target = '']) => target)
      .filter((target) => {
        if (/^https?:/.test(target)) return false;
        const [path = '', anchor] = target.split('#');
        const file = path === '' ? page : join(dirname(page), path);
        if (!existsSync(join(ROOT, file))) return true;
        return anchor !== undefined && !anchorsOf(file).has(anchor);
      }),
  );
  assert.deepEqual(broken, []);
  assert.equal(anchorOf('Taking it off'), 'taking-it-off');
});

test('every page of operations is in the list of its entry page', () => {
  const entry = read('docs/operations/README.md');
  const missing = readdirSync(join(ROOT, 'docs/operations')).filter(
    (name) => name !== 'README.md' && name.endsWith('.md') && !entry.includes(`](${name})`),
  );
  assert.deepEqual(missing, []);
});

test('every path of the repository is there', () => {
  const missing = bad(CURRENT, (_page, text) =>
    codeOf(text)
      .flatMap(
        (code) =>
          code.match(
            /(?<![\w/.-])(?:agent|proto|cni-shim|embedded-api|manifests|docs|test|bench)\/[\w./-]*/g,
          ) ?? [],
      )
      .map((path) => path.replace(/[/.]+$/, ''))
      .filter((path) => !existsSync(join(ROOT, path))),
  );
  assert.deepEqual(missing, []);
});

test('every setting is one', () => {
  const known = new Set(SETTING_TABLE.map(([name]) => name));
  const foreign = bad(
    CURRENT.filter((page) => page.startsWith('docs/operations/') && page !== COMPARISON),
    (_page, text) =>
      codeOf(text).flatMap((code) =>
        (code.match(/\b(?:WEFT|WEAVE|IPALLOC)_[A-Z_]+\b/g) ?? []).filter((name) => !known.has(name)),
      ),
  );
  assert.deepEqual(foreign, []);
  const own = read(COMPARISON).match(/\bWEFT_[A-Z_]+\b/g) ?? [];
  assert.deepEqual(
    own.filter((name) => !known.has(name)),
    [],
  );
});

/** Of the same form: one of Weave's that is left out on purpose, and a check of the doctor. */
const NO_METRICS: ReadonlySet<string> = new Set(['weave_flows', 'weft_rules']);

test('every metric is one', () => {
  const source = readdirSync(join(ROOT, 'agent/telemetry'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => read(`agent/telemetry/${name}`))
    .join('\n');
  const unknown = bad(
    CURRENT.filter((page) => page !== COMPARISON),
    (_page, text) =>
      codeOf(text)
        .flatMap((code) => code.match(/\b(?:weft|weave)_[a-z]+(?:_[a-z]+)*\b/g) ?? [])
        .filter((name) => !source.includes(`'${name}'`) && !NO_METRICS.has(name)),
  );
  assert.deepEqual(unknown, []);
});

test('every weft command is one', () => {
  const names = new Set(COMMANDS.map(({ name }) => name));
  const unknown = bad(CURRENT, (_page, text) =>
    codeOf(text)
      .flatMap((code) => [...code.matchAll(/(?:^|-- )weft ([a-z][\w-]*)/g)].map(([, name = '']) => name))
      .filter((name) => !names.has(name)),
  );
  assert.deepEqual(unknown, []);
});

test('every name of an event, reason or code in troubleshooting is one', () => {
  const known = new Set<string>([
    ...EVENTS.map(([name]) => name),
    ...FIELDS.map(([name]) => name),
    ...REFUSAL_REASONS,
    ...TROUBLES.map(([code]) => code),
  ]);
  const text = read('docs/operations/troubleshooting.md');
  const words = [...prose(text).matchAll(/`([a-z]+(?:_[a-z]+)+)`|\b([A-Z]+(?:_[A-Z]+)+)\b/g)].map(
    ([, lower, upper]) => lower ?? upper ?? '',
  );
  const settings = new Set(SETTING_TABLE.map(([name]) => name));
  const unknown = words.filter(
    (word) => !known.has(word) && !settings.has(word) && !/^(?:weft|weave)_|^IPALLOC|^br_|^rp_/.test(word),
  );
  assert.deepEqual(unknown, []);
});
