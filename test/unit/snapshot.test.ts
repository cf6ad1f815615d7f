// The snapshot: what was written comes back, everything else is refused with a reason; the writer coalesces, survives a bad disk.
import assert from 'node:assert/strict';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import type { AddressBlock, Peer } from '../../proto/api-kinds.ts';
import { type Decoded, decoded, refused } from '../../proto/decoded.ts';
import {
  SNAPSHOT_FILE,
  type Snapshot,
  decodeSnapshot,
  encodeSnapshot,
  readSnapshot,
} from '../../agent/control/cluster/snapshot.ts';
import { createSnapshotWriter, writeSnapshot } from '../../agent/control/cluster/snapshot-writer.ts';
import { isRecord } from '../../agent/kube/api-status.ts';
import { FakeClock, block, peer, settle } from './kube-fakes.ts';

const ofKind =
  <T extends Peer | AddressBlock>(kind: T['kind']) =>
  (value: unknown): Decoded<T> =>
    isRecord(value) && value['kind'] === kind ? decoded(value as unknown as T) : refused('kind'); // as: enough for these tests

const decoders = {
  decodePeer: ofKind<Peer>('Peer'),
  decodeAddressBlock: ofKind<AddressBlock>('AddressBlock'),
};
const owner = { nodeName: 'self', range: '10.32.0.0/12', blockPrefixLength: 26 };
const options = { owner, ...decoders };

const snapshot: Snapshot = {
  ...owner,
  nodeUid: 'uid-1',
  vni: 1,
  resourceVersions: { peers: '17', blocks: '18' },
  peers: [peer('a'), peer('ä€𝄞')],
  blocks: [block('10.32.0.0/26', 'a')],
  slots: { a: 0 },
  freedBlocks: { '10.32.0.64-26': 1234 },
};

function directory(t: { after(run: () => void): void }): string {
  const path = mkdtempSync(join(tmpdir(), 'weft-snapshot-'));
  t.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

test('decodeSnapshot gives back what encodeSnapshot was given', () => {
  const bytes = encodeSnapshot(snapshot);
  assert.deepEqual(decodeSnapshot(bytes, options), { ok: true, value: snapshot });
  assert.doesNotThrow(() => JSON.parse(Buffer.from(bytes).toString()) as unknown);
});

test('decodeSnapshot refuses every prefix', () => {
  const bytes = encodeSnapshot(snapshot);
  for (let length = 0; length < bytes.length; length++) {
    assert.equal(decodeSnapshot(bytes.subarray(0, length), options).ok, false, `${length} bytes`);
  }
  const torn = decodeSnapshot(bytes.subarray(0, 700), options);
  assert.deepEqual(torn, { ok: false, reason: 'torn' });
});

test('decodeSnapshot refuses every change of one byte', () => {
  const bytes = encodeSnapshot(snapshot);
  const damaged = Uint8Array.from(bytes);
  for (let at = 0; at < bytes.length; at++) {
    for (const flip of [1, 0x20, 0x80, 0xff]) {
      damaged[at] = bytes[at]! ^ flip;
      assert.equal(decodeSnapshot(damaged, options).ok, false, `byte ${at} ^ ${flip}`);
    }
    damaged[at] = bytes[at]!;
  }
  assert.ok(decodeSnapshot(damaged, options).ok);
  assert.equal(decodeSnapshot(Buffer.concat([bytes, Buffer.from('\n')]), options).ok, false);
});

for (const [reason, change] of [
  ['other-node', { nodeName: 'other' }],
  ['other-range', { range: '10.40.0.0/13' }],
  ['other-range', { blockPrefixLength: 27 }],
  ['malformed', { peers: [block('10.32.0.0/26', 'a')] }],
  ['malformed', { blocks: 'none' }],
  ['malformed', { slots: { a: -1 } }],
  ['malformed', { freedBlocks: { a: 'long ago' } }],
  ['malformed', { vni: '1' }],
  ['malformed', { resourceVersions: { peers: 7 } }],
] as const) {
  test(`decodeSnapshot refuses ${JSON.stringify(change).slice(0, 40)} as ${reason}`, () => {
    const bytes = encodeSnapshot({ ...snapshot, ...change } as unknown as Snapshot); // as: wrong on purpose
    assert.deepEqual(decodeSnapshot(bytes, options), { ok: false, reason });
  });
}

test('decodeSnapshot refuses another version by its number', () => {
  const text = Buffer.from(encodeSnapshot(snapshot))
    .toString()
    .replace('"weftSnapshot":1', '"weftSnapshot":2');
  assert.deepEqual(decodeSnapshot(Buffer.from(text), options), { ok: false, reason: 'other-version' });
});

test('writeSnapshot makes 0600 in 0700, over what an earlier crash left, and leaves nothing beside it', async (t) => {
  const path = join(directory(t), 'state');
  mkdirSync(path, { mode: 0o755 });
  writeFileSync(join(path, `${SNAPSHOT_FILE}.new`), 'half', { mode: 0o644 });
  await writeSnapshot(path, snapshot);
  assert.deepEqual(readdirSync(path), [SNAPSHOT_FILE]);
  assert.equal(statSync(path).mode & 0o777, 0o700);
  assert.equal(statSync(join(path, SNAPSHOT_FILE)).mode & 0o777, 0o600);
  assert.deepEqual(await readSnapshot({ directory: path, ...options }), { ok: true, value: snapshot });
});

test('readSnapshot answers a reason where there is no file', async (t) => {
  const path = directory(t);
  assert.deepEqual(await readSnapshot({ directory: path, ...options }), { ok: false, reason: 'missing' });
  mkdirSync(join(path, SNAPSHOT_FILE));
  assert.deepEqual(await readSnapshot({ directory: path, ...options }), { ok: false, reason: 'unreadable' });
});

test('SnapshotWriter.save returns at once, makes one file of many calls, and close flushes the last', async (t) => {
  const path = directory(t);
  const clock = new FakeClock();
  const writer = createSnapshotWriter({ directory: path, clock, failed: assert.fail });
  let taken = 0;
  const save = (vni: number): void =>
    writer.save(() => {
      taken++;
      return { ...snapshot, vni };
    });
  const written = async (): Promise<number> => {
    const answer = await readSnapshot({ directory: path, ...options });
    return answer.ok ? answer.value.vni : -1;
  };
  for (let at = 1; at <= 9; at++) save(at);
  assert.equal(taken, 0);
  assert.equal(await written(), -1);
  await clock.advance(500);
  await writer.flush();
  assert.equal(taken, 1);
  assert.equal(await written(), 9);
  save(10);
  await writer.close();
  assert.equal(await written(), 10);
  save(11);
  await writer.flush();
  assert.equal(await written(), 10);
  assert.equal(clock.pending, 0);
});

test('SnapshotWriter reports a disk that fails and tries again by itself', async (t) => {
  const path = directory(t);
  const blocked = join(path, 'state');
  writeFileSync(blocked, 'not a directory');
  const clock = new FakeClock();
  const codes: string[] = [];
  const writer = createSnapshotWriter({ directory: blocked, clock, failed: ({ code }) => codes.push(code) });
  writer.save(() => snapshot);
  await writer.flush();
  assert.deepEqual(codes, ['SNAPSHOT_UNWRITABLE']);
  rmSync(blocked);
  await clock.advance(30_000);
  await settle();
  await writer.close();
  assert.ok((await readSnapshot({ directory: blocked, ...options })).ok);
  chmodSync(blocked, 0o700);
  assert.ok(readFileSync(join(blocked, SNAPSHOT_FILE)).length > 0);
});
