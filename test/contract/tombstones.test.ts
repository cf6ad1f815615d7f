import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, readdirSync, renameSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';

import { createTombstones } from '../../agent/control/cni/tombstones.ts';
import { decodeRequest, encodeResponse } from '../../proto/shim-codec.ts';
import { shimRequest } from '../unit/attachment-fakes.ts';

function bench(context: TestContext) {
  const directory = mkdtempSync(join(tmpdir(), 'weft-tombstones-'));
  context.after(() => rmSync(directory, { recursive: true, force: true }));
  const asked: string[] = [];
  const failures: string[] = [];
  const refusing = new Set<string>();
  const meanwhile = { run: (): void => undefined };
  const tombstones = createTombstones({
    directory,
    answer: async ({ bytes }) => {
      const request = decodeRequest(bytes);
      const id = (request.ok && request.value.environment.get('CNI_CONTAINERID')) || '';
      asked.push(id);
      meanwhile.run();
      return encodeResponse({ status: refusing.has(id) ? 1 : 0, json: '' });
    },
    failed: (file, reason) => failures.push(`${file.slice(directory.length)}: ${reason}`),
  });
  const leave = (name: string, bytes: Uint8Array): void => writeFileSync(join(directory, name), bytes);
  const deletion = (id: string): Uint8Array => shimRequest('DEL', { id, descriptors: [] }).bytes;
  return { directory, asked, failures, refusing, tombstones, leave, deletion, meanwhile };
}

test('replay: each deletion once, removed after success; what failed stays for the next time', async (context) => {
  const { directory, asked, failures, refusing, tombstones, leave, deletion } = bench(context);
  for (const id of ['a', 'b', 'c']) leave(`${id}-eth0.del`, deletion(id));
  leave('.d-eth0.4711', deletion('d').subarray(0, 20));
  refusing.add('b');
  assert.equal(await tombstones.replay(), 2);
  assert.deepEqual(asked, ['a', 'b', 'c']);
  assert.equal(failures.length, 1);
  refusing.clear();
  assert.equal(await tombstones.replay(), 1);
  assert.equal(await tombstones.replay(), 0);
  assert.deepEqual(readdirSync(directory), ['.d-eth0.4711']);
});

test('replay: what a shim that was killed has not finished is removed once it is old', async (context) => {
  const { directory, asked, failures, tombstones, leave, deletion } = bench(context);
  for (const name of ['.old-eth0.4711', '.young-eth0.4712']) leave(name, deletion('d').subarray(0, 20));
  utimesSync(join(directory, '.old-eth0.4711'), 0, 0);
  assert.equal(await tombstones.replay(), 0);
  assert.deepEqual([asked, failures, readdirSync(directory)], [[], [], ['.young-eth0.4712']]);
});

test('replay: what is no deletion is put aside and never asked', async (context) => {
  const { directory, asked, failures, tombstones, leave, deletion } = bench(context);
  leave('torn-eth0.del', deletion('torn').subarray(0, 30));
  leave('empty-eth0.del', new Uint8Array(0));
  leave('add-eth0.del', shimRequest('ADD', { id: 'add' }).bytes);
  assert.equal(await tombstones.replay(), 0);
  assert.equal(await tombstones.replay(), 0);
  assert.deepEqual(asked, []);
  assert.equal(failures.length, 3);
  assert.deepEqual(readdirSync(directory).sort(), [
    'add-eth0.del.refused',
    'empty-eth0.del.refused',
    'torn-eth0.del.refused',
  ]);
});

test('replay: a deletion whose file cannot be removed is not carried out again, the id may be in use', async (context) => {
  const { directory, asked, failures, tombstones, leave, deletion, meanwhile } = bench(context);
  leave('a-eth0.del', deletion('a'));
  meanwhile.run = () => {
    renameSync(directory, `${directory}.away`);
    writeFileSync(directory, ''); // ENOTDIR, as good as a folder that became read-only
  };
  assert.equal(await tombstones.replay(), 0);
  rmSync(directory);
  renameSync(`${directory}.away`, directory);
  meanwhile.run = () => undefined;
  assert.deepEqual([asked, failures.length, readdirSync(directory)], [['a'], 1, ['a-eth0.del']]);
  assert.equal(await tombstones.replay(), 1);
  assert.deepEqual([asked, readdirSync(directory)], [['a'], []]);
  leave('a-eth0.del', deletion('a'));
  assert.equal(await tombstones.replay(), 1);
  assert.deepEqual(asked, ['a', 'a']);
});

test('replay: calls at the same time do not replay twice; a missing directory is an empty one', async (context) => {
  const { directory, asked, failures, tombstones, leave, deletion } = bench(context);
  leave('a-eth0.del', deletion('a'));
  assert.deepEqual(await Promise.all([tombstones.replay(), tombstones.replay()]), [1, 0]);
  assert.deepEqual(asked, ['a']);
  chmodSync(directory, 0o700);
  rmSync(directory, { recursive: true });
  assert.equal(await tombstones.replay(), 0);
  assert.deepEqual(failures, []);
});
