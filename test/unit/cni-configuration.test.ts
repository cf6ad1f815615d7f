import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';

import { ensureCniConfiguration } from '../../agent/control/cni/cni-configuration.ts';

let folder: string;
const options = (): { directory: string; pluginDirectory: string; template: string } => ({
  directory: join(folder, 'net.d'),
  pluginDirectory: folder,
  template: join(folder, 'template'),
});

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'weft-cni-'));
  writeFileSync(
    join(folder, 'template'),
    '{"cniVersion":"1.0.0","name":"weft","plugins":[{"type":"weft"},{"type":"portmap","snat":true}]}',
  );
});
afterEach(() => rmSync(folder, { recursive: true }));

const written = (): { plugins: readonly { type: string }[] } =>
  JSON.parse(readFileSync(join(folder, 'net.d/10-weft.conflist'), 'utf8')) as ReturnType<typeof written>; // as: the test's own file

test('ensureCniConfiguration writes once, and leaves no other file', () => {
  writeFileSync(join(folder, 'portmap'), '');
  assert.equal(ensureCniConfiguration(options()).written, true);
  assert.equal(ensureCniConfiguration(options()).written, false);
  assert.deepEqual(
    written().plugins.map(({ type }) => type),
    ['weft', 'portmap'],
  );
  assert.deepEqual(readdirSync(join(folder, 'net.d')), ['10-weft.conflist']);
});

test('ensureCniConfiguration leaves out a plugin that the node does not have, and puts it back when it comes', () => {
  assert.deepEqual(ensureCniConfiguration(options()).leftOut, ['portmap']);
  assert.deepEqual(
    written().plugins.map(({ type }) => type),
    ['weft'],
  );
  writeFileSync(join(folder, 'portmap'), '');
  assert.deepEqual(ensureCniConfiguration(options()), {
    written: true,
    leftOut: [],
    preferred: [],
    unused: [],
  });
});

test('ensureCniConfiguration mends a file that was changed by hand', () => {
  ensureCniConfiguration(options());
  writeFileSync(join(folder, 'net.d/10-weft.conflist'), 'x');
  assert.equal(ensureCniConfiguration(options()).written, true);
});

test("ensureCniConfiguration reports other networks' files in the runtime's order, and leaves them alone", () => {
  ensureCniConfiguration(options());
  const others = [
    '05-other.conflist',
    '05-another.conf',
    '99-later.conflist',
    'B.json',
    'README',
    '00-off.conflist.bak',
  ];
  for (const name of others) writeFileSync(join(folder, 'net.d', name), 'theirs');
  const { preferred, unused } = ensureCniConfiguration(options());
  assert.deepEqual(preferred, ['05-another.conf', '05-other.conflist']);
  assert.deepEqual(unused, ['99-later.conflist', 'B.json']);
  for (const name of others) assert.equal(readFileSync(join(folder, 'net.d', name), 'utf8'), 'theirs');
});

test('ensureCniConfiguration refuses a template that is not ours, with the remedy', () => {
  for (const text of [
    '{',
    '{}',
    '{"plugins":[]}',
    '{"plugins":[{"type":"bridge"}]}',
    '{"plugins":[{"type":"weft"},{"type":"../x"}]}',
  ]) {
    writeFileSync(join(folder, 'template'), text);
    assert.throws(() => ensureCniConfiguration(options()), {
      code: 'CNI_TEMPLATE_INVALID',
      message: /ConfigMap weft-cni/,
    });
  }
});
