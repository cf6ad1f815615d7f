// What the YAML writer writes means the same to a YAML parser (client-node's): reports, and strings that YAML could take for something else.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { type YamlValue, formatYaml } from '../../agent/report/yaml.ts';
import { nodeReport } from '../support/node-report.ts';
import { randomInt, seededRandom, testSeed } from '../support/random.ts';
import { parseDocuments } from './manifests-documents.ts';

/** Under a key, since a document of the parser's is an object. */
const parsed = (value: YamlValue): unknown => parseDocuments(formatYaml({ value }))[0]?.['value'];

describe('formatYaml', () => {
  it('of a report is the report', () => {
    const report = JSON.parse(JSON.stringify(nodeReport)) as YamlValue; // as: JSON is what YAML values are
    assert.deepEqual(parsed(report), report);
    assert.match(formatYaml(report), /^version: '0\.1\.0'\nnode:\n {2}name: node-a\n/);
  });

  for (const value of [
    '',
    ' ',
    'null',
    'True',
    'no',
    '-',
    '- a',
    '1e3',
    '0x1f',
    '10.32.0.0/12',
    '2026-11-21',
    '0e:00:00:00:00:01',
    'a: b',
    'a #b',
    'a:',
    'ends with a space ',
    "it's",
    'Cannot use "x"',
    'two\nlines\n',
    '\ttab',
    '{}',
    '[]',
    '&a',
    '*a',
    '!tag',
    '%',
    '@',
    '`',
    'ü – “quoted”',
    '\u2028',
    '\u{1F600}',
    null,
    [],
    {},
    [[], {}, [[1, null]], { a: [] }],
    { 'a: b': 1, '': 2, '-': 3, null: 4 },
    0.000_083,
    1e21,
    -1,
    false,
  ] as const) {
    it(`of ${JSON.stringify(value)}`, () => assert.deepEqual(parsed(value), value));
  }

  it('of random text in random forms', () => {
    const random = seededRandom(testSeed());
    const letters = [
      'a',
      'Z',
      ' ',
      ':',
      '#',
      '-',
      "'",
      '"',
      '\n',
      '\\',
      ',',
      '[',
      '{',
      '?',
      '|',
      '>',
      '0',
      '.',
      'é',
    ];
    const text = (): string =>
      Array.from({ length: randomInt(random, 8) }, () => letters[randomInt(random, letters.length)]).join('');
    const value = (depth: number): YamlValue => {
      const kind = depth === 0 ? 0 : randomInt(random, 4);
      if (kind === 1) return Array.from({ length: randomInt(random, 4) }, () => value(depth - 1));
      if (kind === 2) {
        return Object.fromEntries(
          Array.from({ length: randomInt(random, 4) }, () => [text(), value(depth - 1)]),
        );
      }
      return text();
    };
    for (let round = 0; round < 500; round++) {
      const made = value(3);
      assert.deepEqual(parsed(made), made, JSON.stringify(made));
    }
  });
});
