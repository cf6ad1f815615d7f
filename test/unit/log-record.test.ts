import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crc32 as zlibCrc32 } from 'node:zlib';

import { crc32 } from '../../proto/crc32.ts';
import { type LogEntry, decodeLog, decodeLogLine, encodeLogEntry } from '../../agent/ipam/log-record.ts';
import { parseIpv4 } from '../../proto/address-text.ts';
import { randomBytes, randomInt, seededRandom, testSeed } from '../support/random.ts';

const entries: readonly LogEntry[] = [
  { kind: 'void', bootId: '0b5c8e2e-6a34-4a55-9d0b-3f1d2a7c9e11', sequence: 7 },
  {
    kind: 'allocate',
    sequence: 8,
    containerId: 'c0ffee',
    interfaceName: 'eth0',
    netnsInode: 4026532461,
    address: parseIpv4('10.32.4.2'),
    hostInterface: 'weft1a2b3c4d',
    podName: 'default/wéb-0',
  },
  { kind: 'release', sequence: 9, allocation: 8, address: parseIpv4('10.32.4.2') },
];
const bytes = Buffer.concat(entries.map(encodeLogEntry));

test('crc32: the same as zlib', () => {
  const random = seededRandom(testSeed());
  for (let round = 0; round < 200; round++) {
    const input = randomBytes(random, randomInt(random, 300));
    assert.equal(crc32(input), zlibCrc32(input));
  }
});

test('decodeLog: gives back what was encoded', () => {
  assert.deepEqual(decodeLog(bytes), { entries, validBytes: bytes.length, torn: false, damage: undefined });
});

test('encodeLogEntry: the format on disk stays as it is', () => {
  assert.equal(
    Buffer.from(encodeLogEntry(entries[2]!)).toString(),
    '70c83bfc {"kind":"release","sequence":9,"allocation":8,"address":"10.32.4.2"}\n',
  );
});

test('decodeLog: entries with the time, and ones with fields of a later release', () => {
  const timed = entries.map((entry) =>
    entry.kind === 'void' ? entry : { ...entry, atMs: 1_795_302_000_123 },
  );
  const later = timed.map((entry): LogEntry => Object.assign({ zone: 'later' }, entry)); // as an agent that knows more writes it
  assert.deepEqual(decodeLog(Buffer.concat(timed.map(encodeLogEntry))).entries, timed);
  assert.deepEqual(decodeLog(Buffer.concat(later.map(encodeLogEntry))).entries, timed);
});

test('decodeLog: what is left of an append that failed, behind the one that was written over it, is ignored', () => {
  const allocation = (sequence: number, address: string): Uint8Array =>
    encodeLogEntry({
      kind: 'allocate',
      sequence,
      containerId: 'ab'.repeat(32),
      interfaceName: 'eth0',
      netnsInode: 1,
      hostInterface: 'vethwe1',
      address: parseIpv4(address),
    });
  const log = Buffer.concat([bytes, allocation(12, '10.32.4.5'), allocation(11, '10.32.4.4')]);
  const content = decodeLog(log);
  assert.equal(content.entries.at(-1)?.sequence, 12);
  assert.deepEqual([content.torn, content.damage], [true, undefined]);
  assert.equal(content.validBytes, log.length - allocation(11, '10.32.4.4').length);
});

test('decodeLog: cut at every byte gives the whole lines before the cut', () => {
  const ends = entries.map((_, at) => Buffer.concat(entries.slice(0, at + 1).map(encodeLogEntry)).length);
  for (let length = 0; length <= bytes.length; length++) {
    const whole = ends.filter((end) => end <= length).length;
    const content = decodeLog(bytes.subarray(0, length));
    assert.equal(content.entries.length, whole, `cut at ${length}`);
    assert.equal(content.damage, undefined);
    assert.equal(content.torn, length !== (ends[whole - 1] ?? 0));
    assert.equal(content.validBytes, ends[whole - 1] ?? 0);
  }
});

test('decodeLog: every flipped bit is found; damage before a whole line is told from a torn tail', () => {
  const lastLine = bytes.length - encodeLogEntry(entries[2]!).length;
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const flipped = Buffer.from(bytes);
    flipped[bit >> 3]! ^= 1 << (bit & 7);
    const content = decodeLog(flipped);
    assert.ok(content.entries.length < entries.length, `bit ${bit} went unnoticed`);
    assert.deepEqual(content.entries, entries.slice(0, content.entries.length));
    // The newline before the last line glues it to the damage: then nothing whole follows.
    if (bit >> 3 < lastLine - 1) assert.notEqual(content.damage, undefined, `bit ${bit}`);
    else assert.ok(content.torn, `bit ${bit}`);
  }
});

test('decodeLog: a tail of zeros is torn, not damaged', () => {
  const content = decodeLog(Buffer.concat([bytes, Buffer.alloc(4096)]));
  assert.deepEqual([content.entries.length, content.torn, content.damage], [3, true, undefined]);
});

test('decodeLogLine: a right checksum does not make foreign JSON an entry', () => {
  const line = (json: string): Buffer =>
    Buffer.from(`${zlibCrc32(json).toString(16).padStart(8, '0')} ${json}`);
  const reasonOf = (json: string): string => {
    const entry = decodeLogLine(line(json));
    return entry.ok ? 'accepted' : entry.reason;
  };
  assert.equal(reasonOf('{'), 'json');
  assert.equal(reasonOf('[]'), 'fields');
  assert.equal(reasonOf('{"kind":"void","bootId":"x","sequence":1.5}'), 'fields');
  assert.equal(reasonOf('{"kind":"void","bootId":3,"sequence":1}'), 'fields');
  assert.equal(reasonOf('{"kind":"release","sequence":1,"allocation":1,"address":"10.1"}'), 'fields');
  assert.equal(reasonOf('{"kind":"other","sequence":1}'), 'fields');
  assert.equal(reasonOf('{"kind":"void","bootId":"x","sequence":1}'), 'accepted');
});
