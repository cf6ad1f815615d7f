import assert from 'node:assert/strict';
import { test } from 'node:test';

import { type LoggedAddressPool, createAddressPool } from '../../agent/ipam/address-pool.ts';
import { type LogStorage, REPLACED_UNSYNCED } from '../../agent/ipam/commit-queue.ts';
import { type LogEntry, decodeLog, encodeLogEntry } from '../../agent/ipam/log-record.ts';
import { OperationError } from '../../agent/operation-error.ts';
import { formatIpv4 } from '../../proto/address.ts';
import { parseCidr, parseIpv4 } from '../../proto/address-text.ts';

const range = parseCidr('10.32.0.0/20');
const blocks = [parseCidr('10.32.0.64/28'), parseCidr('10.32.0.80/28')];

/** A disk whose writes can fail, hang until let go, and be counted. */
class SimulatedDisk implements LogStorage {
  bytes: Uint8Array = new Uint8Array(0);
  appends = 0;
  replacements = 0;
  failure: string | undefined;
  failReplaceOnly = false;
  gate: Promise<void> | undefined;
  isClosed = false;
  /** After every durable change. */
  changed: (kind: 'append' | 'replace') => void = () => undefined;

  get byteLength(): number {
    return this.bytes.length;
  }
  async append(bytes: Uint8Array): Promise<void> {
    await this.gate;
    if (this.failure !== undefined && !this.failReplaceOnly) this.#fail();
    this.bytes = Buffer.concat([this.bytes, bytes]);
    this.appends += 1;
    this.changed('append');
  }
  async replace(bytes: Uint8Array): Promise<void> {
    await this.gate;
    if (this.failure !== undefined && this.failure !== REPLACED_UNSYNCED) this.#fail();
    this.bytes = bytes;
    this.replacements += 1;
    this.changed('replace');
    if (this.failure !== undefined) this.#fail();
  }
  async close(): Promise<void> {
    this.isClosed = true;
  }
  #fail(): never {
    throw new OperationError(`disk: ${this.failure}`, { code: this.failure ?? '' });
  }
}

const EPOCH_MS = 1_795_302_000_000;

interface Opened {
  readonly pool: LoggedAddressPool;
  readonly scheduled: (() => void)[];
  readonly time: { now: number };
  readonly changes: { count: number };
}

function openPool(disk: SimulatedDisk, options: { bootId?: string; missing?: boolean } = {}): Opened {
  const scheduled: (() => void)[] = [];
  const time = { now: 0 };
  const changes = { count: 0 };
  const pool = createAddressPool({
    log: {
      content: options.missing === true ? undefined : decodeLog(disk.bytes),
      problem: options.missing === true ? 'it does not exist' : undefined,
      storage: disk,
    },
    bootId: options.bootId ?? 'boot-1',
    range,
    clock: () => time.now,
    wallClock: () => EPOCH_MS + time.now,
    schedule: (_delayMs, callback) => scheduled.push(callback),
    changed: () => void (changes.count += 1),
  });
  pool.setBlocks(blocks);
  return { pool, scheduled, time, changes };
}

async function freshPool(disk = new SimulatedDisk()): Promise<Opened> {
  const opened = openPool(disk, { missing: true });
  await opened.pool.rebuild([]);
  return opened;
}

const request = (
  name: string | number,
): { containerId: string; interfaceName: string; netnsInode: number; hostInterface: string } => ({
  containerId: `c${name}`,
  interfaceName: 'eth0',
  netnsInode: 4_026_530_000,
  hostInterface: `weft${name}`,
});
const coded = (code: string): { code: string } => ({ code });

test('allocate, find, list, release: and the log agrees after a restart', async () => {
  const disk = new SimulatedDisk();
  const { pool, changes } = await freshPool(disk);
  changes.count = 0;
  const first = await pool.allocate({ ...request(1), podName: 'default/web' });
  const second = await pool.allocate(request(2));
  assert.deepEqual([formatIpv4(first.address), formatIpv4(second.address)], ['10.32.0.64', '10.32.0.66']);
  assert.deepEqual(pool.find(request(1)), first);
  assert.deepEqual(await pool.release(request(1)), first);
  assert.equal(await pool.release(request(1)), undefined);
  assert.equal(changes.count, 3, 'told of two allocations and one release');
  assert.deepEqual(pool.usage(), { blocks: 2, total: 30, used: 1, free: 29 });

  const again = openPool(disk).pool;
  assert.equal(again.rebuildReason, undefined);
  assert.deepEqual(again.list(), [second]);
  assert.equal(
    formatIpv4((await again.allocate(request(3))).address),
    '10.32.0.67',
    'what was freed lately rests',
  );
});

test('what was freed lately rests also when its block comes later than the others', async () => {
  const disk = new SimulatedDisk();
  const { pool } = await freshPool(disk);
  const freed = await pool.allocate(request(1));
  await pool.release(request(1));
  const again = openPool(disk).pool;
  const [first, second] = blocks;
  again.setBlocks([second!], blocks); // !: there are two
  again.setBlocks([first!, second!], blocks);
  const next = await again.allocate(request(2));
  assert.notEqual(next.address, freed.address);
  assert.deepEqual(
    again.freed().map(({ address }) => address),
    [freed.address],
  );
});

test('since when an address is used, or free: told, and kept over a restart and a compaction', async () => {
  const disk = new SimulatedDisk();
  const { pool, time } = await freshPool(disk);
  time.now = 1000;
  const kept = await pool.allocate(request('kept'));
  const ended = await pool.allocate(request('ended'));
  time.now = 2500.7;
  await pool.release(request('ended'));
  const told = (from: LoggedAddressPool): unknown => [
    from.list().map(({ address, atMs }) => [address, atMs]),
    from.freed().map(({ address, atMs }) => [address, atMs]),
  ];
  const expected = [[[kept.address, EPOCH_MS + 1000]], [[ended.address, EPOCH_MS + 2500]]];
  assert.deepEqual(told(pool), expected);
  const restarted = openPool(disk).pool;
  assert.deepEqual(told(restarted), expected);
  await restarted.rebuild([]); // writes the log anew
  assert.deepEqual(told(openPool(disk).pool), [expected[0], []]);
});

test('allocate: its refusals have codes', async () => {
  const { pool } = await freshPool();
  await pool.allocate(request(1));
  await assert.rejects(pool.allocate(request(1)), coded('ALREADY_ALLOCATED'));
  for (let name = 2; name <= 30; name++) await pool.allocate(request(name));
  await assert.rejects(pool.allocate(request(31)), coded('POOL_EXHAUSTED'));
  pool.setBlocks([]);
  await assert.rejects(pool.allocate(request(31)), coded('NO_BLOCK'));
});

test('allocate: those that wait for one sync share the next', async () => {
  const disk = new SimulatedDisk();
  const { pool } = await freshPool(disk);
  let open: () => void = () => undefined;
  disk.gate = new Promise((resolve) => (open = resolve));
  const first = pool.allocate(request(0));
  await Promise.resolve();
  await Promise.resolve();
  const others = Array.from({ length: 20 }, (_, name) => pool.allocate(request(name + 1)));
  assert.equal(pool.pendingAllocations(), 21);
  open();
  const addresses = (await Promise.all([first, ...others])).map(({ address }) => address);
  assert.equal(new Set(addresses).size, 21);
  assert.equal(disk.appends, 2);
  assert.equal(pool.pendingAllocations(), 0);
});

test('allocate: nothing is given out before it is durable; a full disk takes it back', async () => {
  const disk = new SimulatedDisk();
  const { pool, scheduled } = await freshPool(disk);
  const kept = await pool.allocate(request(1));
  disk.failure = 'ENOSPC';
  await assert.rejects(pool.allocate(request(2)), coded('LOG_UNWRITABLE'));
  assert.equal(pool.find(request(2)), undefined);
  assert.equal(pool.usage().used, 1);
  assert.match(pool.logFailure()?.message ?? '', /disk: ENOSPC/);

  // Release works in memory and follows on disk when there is room again.
  assert.deepEqual(await pool.release(request(1)), kept);
  assert.equal(pool.find(request(1)), undefined);
  assert.equal(openPool(disk).pool.list().length, 1);
  disk.failure = undefined;
  for (const callback of scheduled.splice(0)) callback();
  await pool.closed();
  assert.equal(openPool(disk).pool.list().length, 0);
  assert.equal(pool.logFailure(), undefined);
});

test('release of an allocation that is being written, and whose write then fails', async () => {
  const disk = new SimulatedDisk();
  const { pool } = await freshPool(disk);
  disk.failure = 'ENOSPC';
  const allocating = pool.allocate(request(1));
  const releasing = pool.release(request(1));
  await assert.rejects(allocating, coded('LOG_UNWRITABLE'));
  assert.equal(formatIpv4((await releasing)!.address), '10.32.0.64');
  disk.failure = undefined;
  for (let name = 2; name < 32; name++) await pool.allocate(request(name));
  assert.equal(pool.usage().free, 0, 'no address is free twice or lost');
  assert.deepEqual(openPool(disk).pool.list(), pool.list());
});

test('another boot id voids everything at once, also when the log is damaged', async () => {
  const disk = new SimulatedDisk();
  const { pool } = await freshPool(disk);
  for (let name = 0; name < 10; name++) await pool.allocate(request(name));
  disk.bytes[disk.bytes.length - 200]! ^= 1;
  const after = openPool(disk, { bootId: 'boot-2' }).pool;
  assert.equal(after.rebuildReason, undefined);
  assert.ok(after.voided > 0);
  assert.deepEqual(after.list(), []);
  await after.allocate(request(1));
  assert.equal(openPool(disk, { bootId: 'boot-2' }).pool.list().length, 1);
  assert.equal(openPool(disk, { bootId: 'boot-1' }).pool.voided, 1);
});

test('a damaged log: nothing is given out until it is rebuilt from the kernel', async () => {
  const disk = new SimulatedDisk();
  const { pool } = await freshPool(disk);
  const allocations = [];
  for (let name = 0; name < 8; name++) allocations.push(await pool.allocate(request(name)));
  const third = disk.bytes.indexOf(0x0a, disk.bytes.length / 2);
  disk.bytes[third - 3]! ^= 1;
  const before = Buffer.from(disk.bytes);

  const damaged = openPool(disk).pool;
  assert.match(damaged.rebuildReason ?? '', /line \d of the log is damaged: checksum/);
  await assert.rejects(damaged.allocate(request(9)), coded('LOG_UNWRITABLE'));
  await damaged.release(request(0));
  assert.deepEqual(Buffer.from(disk.bytes), before, 'a release does not make the rest look whole');

  // c0 was deleted, c1 has a record but no veth (its ADD is under way), of the later ones the log says nothing any more.
  const inKernel = allocations.slice(2).map(({ containerId, interfaceName, address, hostInterface }) => ({
    containerId,
    interfaceName,
    address,
    hostInterface,
  }));
  await damaged.rebuild(inKernel);
  assert.equal(damaged.rebuildReason, undefined);
  assert.deepEqual(damaged.find(request(1)), allocations[1], 'a record without a veth stays');
  assert.deepEqual(damaged.find(request(2)), allocations[2], 'what both know is as recorded');
  const { atMs, ...seventh } = { ...allocations[7] };
  assert.equal(atMs, EPOCH_MS);
  assert.deepEqual(
    { ...damaged.find(request(7)), sequence: 0 },
    { ...seventh, netnsInode: 0, sequence: 0 },
    'the rest is as the kernel has it',
  );
  for (let name = 10; name < 33; name++) {
    const { address } = await damaged.allocate(request(name));
    assert.ok(!allocations.slice(1).some((found) => found.address === address), 'duplicate');
  }
  assert.equal(damaged.usage().free, 0);
  assert.deepEqual(byContainer(openPool(disk).pool), byContainer(damaged));
});

test('a log that contradicts itself is rebuilt', () => {
  const disk = new SimulatedDisk();
  const entry = (name: number): LogEntry => ({
    kind: 'allocate',
    ...request(name),
    sequence: name,
    address: parseIpv4('10.32.0.66'),
  });
  const opening: LogEntry = { kind: 'void', bootId: 'boot-1', sequence: 0 };
  disk.bytes = Buffer.concat([opening, entry(1), entry(2)].map(encodeLogEntry));
  assert.match(openPool(disk).pool.rebuildReason ?? '', /address_in_use at sequence 2/);
});

test('compaction: the log stays small, and a failed one harms nothing', async () => {
  const disk = new SimulatedDisk();
  const { pool } = await freshPool(disk);
  await pool.allocate(request('keep'));
  const { replacements } = disk;
  for (let round = 0; round < 1500; round++) {
    if (round === 400) [disk.failure, disk.failReplaceOnly] = ['ENOSPC', true];
    if (round === 1000) disk.failure = undefined;
    await pool.allocate(request(round));
    await pool.release(request(round));
  }
  assert.ok(disk.replacements > replacements);
  assert.ok(disk.bytes.length < 400_000, `${disk.bytes.length} B`);
});

test('compaction that was in place but not known to be synced: what was undone does not come back', async () => {
  const disk = new SimulatedDisk();
  const { pool } = await freshPool(disk);
  while (disk.bytes.length <= 65_536) {
    await pool.allocate(request('grow'));
    await pool.release(request('grow'));
  }
  disk.failure = REPLACED_UNSYNCED;
  await assert.rejects(pool.allocate(request(1)), coded('LOG_UNWRITABLE'));
  assert.equal(openPool(disk).pool.list().length, 1, 'it is in the file');
  disk.failure = undefined;
  await pool.allocate(request(2));
  assert.deepEqual(openPool(disk).pool.list(), pool.list());
});

test('close: what is under way is written first, later requests are refused', async () => {
  const disk = new SimulatedDisk();
  const { pool } = await freshPool(disk);
  const allocating = pool.allocate(request(1));
  const closed = pool.closed();
  await allocating;
  await closed;
  assert.ok(disk.isClosed);
  await assert.rejects(pool.allocate(request(2)), coded('LOG_UNWRITABLE'));
});

const byContainer = (pool: LoggedAddressPool): readonly unknown[] =>
  pool.list().toSorted((a, b) => a.containerId.localeCompare(b.containerId));
