import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, test } from 'node:test';

import { openStateIdentity, parseStateIdentity } from '../../agent/control/state-identity.ts';

const directory = mkdtempSync(join(tmpdir(), 'weft-identity-'));
const path = join(directory, 'identity.json');
const said: string[] = [];
const log = { info: () => undefined, warn: (_event: string, message: string) => void said.push(message) };
const open = (stateDirectory = directory): Promise<string> => openStateIdentity({ stateDirectory }, log);

afterEach(() => {
  rmSync(directory, { recursive: true, force: true });
  said.length = 0;
});

test('made with the first start, and the same from then on', async () => {
  const first = await open();
  assert.match(first, /^[0-9a-f]{32}$/);
  assert.equal(await open(), first);
  assert.deepEqual(said, []);
});

test('a copy on another machine is another one, and it is said', async () => {
  const first = await open();
  const kept = parseStateIdentity(readFileSync(path, 'utf8'));
  assert.ok(kept !== undefined);
  writeFileSync(path, JSON.stringify({ ...kept, machine: 'another' }));
  const copy = await open();
  assert.notEqual(copy, first);
  assert.equal(await open(), copy);
  assert.match(
    said.join(),
    /is of another machine \(another; this one is .*\): its address blocks are left alone/,
  );
});

test('what is no identity is made anew; one that cannot be kept is said', async () => {
  const first = await open();
  for (const text of ['', '{', '{"stateId":"x","machine":""}', '{"stateId":1,"machine":""}', 'null']) {
    writeFileSync(path, text);
    assert.notEqual(await open(), first, text);
  }
  writeFileSync(path, 'x');
  assert.match(await open(path), /^[0-9a-f]{32}$/);
  assert.match(said.join(), /Cannot keep this node's identity in .*free space there or make it writable/);
});
