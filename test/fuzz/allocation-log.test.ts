// A million allocation logs: damaged in their bytes, and whole ones whose entries say what no entry should. What is believed is held
// against the log's format as a second, slow reading of it, and every tenth is opened as an agent opens it.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createAddressPool } from '../../agent/ipam/address-pool.ts';
import type { LogStorage } from '../../agent/ipam/commit-queue.ts';
import { type LogEntry, decodeLog, encodeLogEntry } from '../../agent/ipam/log-record.ts';
import { parseCidr, parseIpv4 } from '../../proto/address-text.ts';
import { crc32 } from '../../proto/crc32.ts';
import { randomInt } from '../support/random.ts';
import { fuzz } from './fuzzing.ts';
import { ByteMutator, mutateJson, oneOf } from './mutation.ts';

const BOOT = 'boot-1';
const range = parseCidr('10.32.0.0/20');
const block = parseCidr('10.32.0.64/28');
const disk: LogStorage = {
  byteLength: 0,
  append: () => Promise.resolve(),
  replace: () => Promise.resolve(),
  close: () => Promise.resolve(),
};

const opening: LogEntry = { kind: 'void', bootId: BOOT, sequence: 7 };
const allocation: LogEntry = {
  kind: 'allocate',
  sequence: 8,
  containerId: 'c1',
  interfaceName: 'eth0',
  netnsInode: 4_026_532_000,
  hostInterface: 'vethwe1',
  podName: 'default/web',
  atMs: 1_795_302_000_123,
  address: parseIpv4('10.32.0.66'),
};
const release: LogEntry = { kind: 'release', sequence: 9, allocation: 8, address: allocation.address };
const second: LogEntry = { ...allocation, containerId: 'c2', sequence: 10 };
const LOGS: readonly (readonly LogEntry[])[] = [
  [opening],
  [opening, allocation],
  [opening, allocation, release],
  [opening, second, second],
  [release, { ...opening, bootId: 'boot-2' }],
];
const bytes = new ByteMutator(
  LOGS.map((log) => Buffer.concat(log.map(encodeLogEntry))),
  ['\n', '\n\n', ' ', '{}', encodeLogEntry(allocation), encodeLogEntry(release), new Uint8Array(64), '\r\n'],
);

/** Entries as JSON, to be changed and then given their right checksum. */
const fieldsOf = (entry: LogEntry): unknown =>
  JSON.parse(Buffer.from(encodeLogEntry(entry)).toString().slice(9));
const FIELDS = LOGS.map((log) => log.map(fieldsOf));
const VOCABULARY = {
  keys: [
    'kind',
    'sequence',
    'containerId',
    'interfaceName',
    'netnsInode',
    'address',
    'hostInterface',
    'podName',
    'atMs',
    'network',
    'bootId',
  ],
  values: [
    'void',
    'allocate',
    'release',
    'boot-1',
    'boot-2',
    '10.32.0.66',
    '010.32.0.66',
    '10.32.0.66/32',
    'c1',
    8,
    9,
    2 ** 53,
    'c\n1',
    -0,
  ],
};

function checkedLine(fields: unknown, random: () => number): string {
  const whole = JSON.stringify(fields) ?? '';
  const json = random() < 0.02 ? whole.slice(1 + randomInt(random, whole.length)) : whole;
  return `${crc32(Buffer.from(json)).toString(16).padStart(8, '0')} ${json}\n`;
}

function changedLog(random: () => number): Uint8Array {
  const log = oneOf(random, FIELDS);
  const changes = randomInt(random, 3);
  const changed = mutateJson(random, log, { changes, vocabulary: VOCABULARY });
  return Buffer.from(
    Array.isArray(changed)
      ? changed.map((fields) => checkedLine(fields, random)).join('')
      : checkedLine(changed, random),
  );
}

const TEXTS: Readonly<Record<LogEntry['kind'], readonly string[]>> = {
  void: ['bootId'],
  allocate: ['containerId', 'interfaceName', 'hostInterface'],
  release: [],
};
const NUMBERS: Readonly<Record<LogEntry['kind'], readonly string[]>> = {
  void: ['sequence'],
  allocate: ['sequence', 'netnsInode', 'address'],
  release: ['sequence', 'allocation', 'address'],
};

/** What no entry of the format may have. */
function forbidden(entry: LogEntry): string | undefined {
  const fields = new Map<string, unknown>(Object.entries(entry));
  if (!Object.hasOwn(TEXTS, entry.kind)) return 'kind';
  const text = TEXTS[entry.kind].find((name) => typeof fields.get(name) !== 'string');
  const number = NUMBERS[entry.kind].find((name) => {
    const value = fields.get(name);
    return typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0;
  });
  if (text !== undefined || number !== undefined) return text ?? number;
  if (entry.kind !== 'void' && entry.address > 0xffff_ffff) return 'address';
  const atMs = fields.get('atMs') ?? 0;
  if (typeof atMs !== 'number' || !Number.isSafeInteger(atMs) || atMs < 0) return 'atMs';
  return ['podName', 'network'].find((name) => fields.has(name) && typeof fields.get(name) !== 'string');
}

let opened = 0;

function open(content: ReturnType<typeof decodeLog>): void {
  const pool = createAddressPool({
    log: { content, problem: undefined, storage: disk },
    bootId: BOOT,
    range,
    clock: () => 0,
    schedule: () => undefined,
  });
  pool.setBlocks([block]);
  const addresses = pool.list().map(({ address }) => address);
  assert.equal(new Set(addresses).size, addresses.length, 'an address is recorded twice');
  const keys = pool.list().map(({ containerId, interfaceName }) => `${containerId}\n${interfaceName}`);
  assert.equal(new Set(keys).size, keys.length, 'an attachment is recorded twice');
  const inBlock = addresses.filter(
    (address) => pool.usage().total > 0 && address >= block.base && address < block.base + 16,
  );
  assert.ok(pool.usage().free + inBlock.length >= pool.usage().total, 'an address is neither used nor free');
  if (content.damage !== undefined && pool.list().length > 0) assert.notEqual(pool.rebuildReason, undefined);
  opened += 1;
}

function attempt(random: () => number): string {
  const log = random() < 0.5 ? bytes.mutate(random) : changedLog(random);
  const content = decodeLog(log);
  for (const entry of content.entries) {
    const wrong = forbidden(entry);
    if (wrong !== undefined) assert.fail(`${wrong}: ${JSON.stringify(entry)}`);
  }
  const { entries, validBytes, torn, damage } = content;
  let lines = 0;
  for (let at = log.indexOf(10); at >= 0 && at < validBytes; at = log.indexOf(10, at + 1)) lines += 1;
  assert.equal(lines, entries.length);
  assert.ok(validBytes === 0 || log[validBytes - 1] === 10);
  if (damage === undefined) assert.equal(torn, validBytes < log.length);
  if (random() < 0.1) open(content);
  return damage === undefined ? (torn ? 'torn' : 'whole') : `damaged: ${damage.reason}`;
}

test('allocation log: nothing crashes, hangs, or is believed against its format', (t) => {
  fuzz(t, { attempt, outcomes: ['whole', 'torn', 'damaged: checksum', 'damaged: json', 'damaged: fields'] });
  t.diagnostic(`${opened} of them opened as an agent opens them`);
});
