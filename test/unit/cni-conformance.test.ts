// docs/cni-conformance.md names the tests that there are, all of them, and says why where there is none.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

const read = (path: string): string => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');

const FILES = ['cni-parameters', 'cni-add', 'cni-check'].map((name) => `test/netns/${name}.test.ts`);
const NO_TEST = 'n/a';

/** Names of the tests of a file, as they stand in it. */
const testsOf = (source: string): readonly string[] =>
  [...source.matchAll(/^test\(\s*(?:'((?:[^'\\\n]|\\.)*)'|"((?:[^"\\\n]|\\.)*)")/gm)].map(
    ([, single, double]) => (single ?? double ?? '').replaceAll(/\\(.)/g, '$1'),
  );

const rows = (read('docs/cni-conformance.md').split('\n## ')[0] ?? '')
  .split('\n')
  .filter((line) => line.startsWith('| '))
  .slice(1)
  .map((line) => line.split(' | ').map((cell) => cell.replace(/^\|/, '').replace(/\|$/, '').trim()));

test('the table of CNI requirements names every conformance test, and no other', () => {
  const there = FILES.flatMap((file) => testsOf(read(file)));
  assert.equal(new Set(there).size, there.length, 'two tests have the same name');
  const calls = FILES.map((file) => (read(file).match(/^test\(/gm) ?? []).length);
  assert.equal(
    there.length,
    calls.reduce((sum, count) => sum + count, 0),
    'a name is not written out',
  );
  const named = rows.flatMap(([, , tests]) => (tests ?? '').split('<br>')).filter((name) => name !== NO_TEST);
  assert.deepEqual([...new Set(named)].sort(), [...there].sort());
});

test('each row of the table has section, requirement and test, and says why where there is no test', () => {
  assert.ok(rows.length > 50, `${rows.length} rows`);
  for (const row of rows) {
    const [section, requirement, tests, remark] = row;
    assert.equal(row.length, 4, row.join(' | '));
    assert.ok(section !== '' && requirement !== '' && tests !== '', row.join(' | '));
    assert.equal(tests === NO_TEST && remark === '', false, row.join(' | '));
  }
});
