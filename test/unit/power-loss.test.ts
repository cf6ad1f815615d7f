// The power fails at every byte of every write of the allocation log, in a history of 1,000 operations with writes that fail. What is
// then on the disk (test/support/crash-storage.ts) is opened as an agent opens it: with the log alone, with what the kernel has, and
// after a boot. The outcome is a function of the decoded content and the kernel, so equal ones are opened once; each state is decoded.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { unknownAttachments } from '../../agent/control/restore.ts';
import {
  type KernelAttachment,
  type LoggedAddressPool,
  createAddressPool,
} from '../../agent/ipam/address-pool.ts';
import type { LogStorage } from '../../agent/ipam/commit-queue.ts';
import { type LogContent, decodeLog } from '../../agent/ipam/log-record.ts';
import { codeOf } from '../../agent/operation-error.ts';
import type { Ipv4 } from '../../proto/address.ts';
import { formatIpv4 } from '../../proto/address.ts';
import { parseCidr } from '../../proto/address-text.ts';
import { CrashStorage, type CrashState, type WriteOutcome } from '../support/crash-storage.ts';
import { randomInt, seededRandom, testSeed } from '../support/random.ts';

const OPERATIONS = 1000;
const MOST_AT_ONCE = 8;
const CONTAINERS = 60;
const BOOT = 'ab5b9f16-6fb2-4fa5-b0c5-5d2a80e5c9c6';
const range = parseCidr('10.32.0.0/20');
const blocks = [parseCidr('10.32.0.64/27'), parseCidr('10.32.0.128/27')];

/** What runs at a moment: live ones were answered to the runtime and nobody asked to end them. */
interface Moment {
  readonly live: ReadonlyMap<string, Ipv4>;
  readonly kernel: readonly KernelAttachment[];
}

interface History {
  readonly disk: CrashStorage;
  readonly moments: readonly Moment[];
}

const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

const requestOf = (
  number: number,
): Omit<KernelAttachment, 'address'> & { readonly netnsInode: number; readonly podName: string } => ({
  containerId: number.toString(16).padStart(2, '0').repeat(32),
  interfaceName: 'eth0',
  netnsInode: 4_026_532_000 + number,
  hostInterface: `vethwe${number}`,
  podName: `default/pod-${number}`,
});

async function makeHistory(random: () => number, { answersEarly = false } = {}): Promise<History> {
  const moments: Moment[] = [{ live: new Map(), kernel: [] }];
  const live = new Map<string, Ipv4>();
  const kernel = new Map<string, KernelAttachment>();
  const note = (): void => void moments.push({ live: new Map(live), kernel: [...kernel.values()] });
  const disk = new CrashStorage({ moment: () => moments.length - 1, answersEarly });
  const retries: (() => void)[] = [];
  const time = { now: 0 };
  const pool = createAddressPool({
    log: { content: undefined, problem: 'it does not exist', storage: disk },
    bootId: BOOT,
    range,
    clock: () => time.now,
    schedule: (_delayMs, callback) => retries.push(callback),
  });
  pool.setBlocks(blocks);
  const rebuilt = pool.rebuild([]);
  await settle();
  disk.proceed({ kind: 'done' });
  await rebuilt;

  const add = async (number: number): Promise<void> => {
    const { netnsInode, podName, ...attachment } = requestOf(number);
    try {
      const { address } = await pool.allocate({ ...attachment, netnsInode, podName });
      kernel.set(attachment.containerId, { ...attachment, address });
      note();
      if (random() < 0.3) await settle();
      live.set(attachment.containerId, address);
      note();
    } catch (error) {
      assert.ok(['LOG_UNWRITABLE', 'POOL_EXHAUSTED'].includes(codeOf(error)), String(error));
    }
  };
  const del = async (number: number): Promise<void> => {
    const attachment = requestOf(number);
    live.delete(attachment.containerId);
    note();
    kernel.delete(attachment.containerId);
    note();
    await pool.release(attachment);
  };

  const busy = new Set<number>();
  const start = (number: number): void => {
    if (busy.has(number)) return;
    busy.add(number);
    const work = pool.find(requestOf(number)) === undefined ? add(number) : del(number);
    void work.finally(() => busy.delete(number));
  };
  for (let started = 0; started < OPERATIONS || busy.size > 0 || disk.underWay !== undefined;) {
    time.now += randomInt(random, 4000);
    const number = randomInt(random, CONTAINERS);
    if (started < OPERATIONS && busy.size < MOST_AT_ONCE && !busy.has(number) && random() < 0.5) {
      start(number);
      started += 1;
    } else if (disk.underWay !== undefined) disk.proceed(randomOutcome(random, disk.underWay));
    else retries.shift()?.();
    await settle();
  }
  const closed = pool.closed();
  await settle();
  disk.proceed({ kind: 'done' });
  await closed;
  return { disk, moments };
}

/** Of the few replacements every other fails, mostly with its new content in place. */
function randomOutcome(random: () => number, write: 'append' | 'replace'): WriteOutcome {
  if (random() < (write === 'append' ? 0.95 : 0.5)) return { kind: 'done' };
  return { kind: 'failed', part: random() < (write === 'append' ? 0.4 : 0.8) ? 1 : random() };
}

/** A disk that always works. */
class PlainStorage implements LogStorage {
  bytes: Uint8Array;
  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }
  get byteLength(): number {
    return this.bytes.length;
  }
  async append(bytes: Uint8Array): Promise<void> {
    this.bytes = Buffer.concat([this.bytes, bytes]);
  }
  async replace(bytes: Uint8Array): Promise<void> {
    this.bytes = bytes;
  }
  async close(): Promise<void> {}
}

interface Found {
  readonly content: LogContent | undefined;
  readonly bytes: Uint8Array;
}

function open({ content, bytes }: Found, bootId: string): { pool: LoggedAddressPool; storage: PlainStorage } {
  const storage = new PlainStorage(bytes.subarray(0, content?.validBytes ?? 0));
  const pool = createAddressPool({
    log: { content, problem: 'it does not exist', storage },
    bootId,
    range,
    clock: () => 0,
    schedule: () => assert.fail('nothing is to be tried again'),
  });
  pool.setBlocks(blocks);
  return { pool, storage };
}

/** As agent/control/restore.ts does it. */
async function takeOver(pool: LoggedAddressPool, kernel: readonly KernelAttachment[]): Promise<void> {
  const found = pool.rebuildReason === undefined ? unknownAttachments(kernel, pool) : kernel;
  if (pool.rebuildReason !== undefined || found.length > 0) await pool.rebuild(found);
}

/** Everything that is free is given out: to nobody twice, and the log then says so. */
async function giveOutAll({ pool, storage }: ReturnType<typeof open>): Promise<ReadonlySet<Ipv4>> {
  const { free } = pool.usage();
  const given = await Promise.all(
    Array.from({ length: free }, (_, number) =>
      pool.allocate({ ...requestOf(number), interfaceName: 'new' }),
    ),
  );
  const again = decodeLog(storage.bytes);
  assert.ok(!again.torn && again.damage === undefined, 'what is written after the failure is whole');
  const reopened = open({ content: again, bytes: storage.bytes }, BOOT).pool;
  assert.equal(reopened.rebuildReason, undefined);
  const facts = (of: LoggedAddressPool): readonly string[] =>
    of
      .list()
      .map((each) => `${formatIpv4(each.address)} ${each.containerId} ${each.interfaceName}`)
      .toSorted();
  assert.deepEqual(facts(reopened), facts(pool));
  return new Set(given.map(({ address }) => address));
}

function assertNoLoss(pool: LoggedAddressPool, live: Moment['live']): void {
  for (const [containerId, address] of live) {
    const kept = pool.find({ containerId, interfaceName: 'eth0' })?.address;
    assert.equal(kept, address, `${formatIpv4(address)} of ${containerId.slice(0, 2)}… is lost`);
  }
}

function assertNoDuplicate(given: ReadonlySet<Ipv4>, live: Moment['live']): void {
  for (const address of live.values()) {
    assert.ok(!given.has(address), `${formatIpv4(address)} is given out a second time`);
  }
}

/** The state of a disk, opened: what it says to a moment. */
async function judge(found: Found, nothingRuns: boolean): Promise<(moment: Moment) => Promise<void>> {
  const alone = open(found, BOOT);
  const isWhole = alone.pool.rebuildReason === undefined;
  if (found.content !== undefined && found.content.damage === undefined) {
    assert.equal(alone.pool.rebuildReason, undefined, 'nothing but damage makes the log unbelievable');
  }
  const booted = open(found, 'another boot');
  assert.deepEqual(booted.pool.list(), [], 'after a boot nothing runs');
  assert.equal(booted.pool.rebuildReason === undefined, found.content !== undefined);
  const listed = isWhole ? open(found, BOOT).pool : undefined;
  const given = isWhole ? await giveOutAll(alone) : new Set<Ipv4>();
  return async ({ live, kernel }) => {
    if (nothingRuns) assert.equal(live.size, 0);
    if (listed !== undefined) {
      assertNoLoss(listed, live);
      assertNoDuplicate(given, live);
      // The log is ahead of the kernel, so there is nothing to take over, and what was judged stays as it is.
      if (unknownAttachments(kernel, listed).length === 0) return;
    }
    const restored = open(found, BOOT);
    await takeOver(restored.pool, kernel);
    assertNoLoss(restored.pool, live);
    assertNoDuplicate(await giveOutAll(restored), live);
  };
}

interface Tried {
  states: number;
  opened: number;
  damaged: number;
  readonly writes: Map<string, number>;
}

/** Every state of the history, with every moment that it can meet. */
async function failEverywhere({ disk, moments }: History): Promise<Tried> {
  const tried: Tried = { states: 0, opened: 0, damaged: 0, writes: new Map() };
  const bases = new Map<Uint8Array | undefined, LogContent | undefined>();
  for (const [at, { what, from, to, states }] of disk.history.entries()) {
    tried.writes.set(what, (tried.writes.get(what) ?? 0) + 1);
    const judged = new Map<Uint8Array | undefined, Set<string>>();
    for (const state of states()) {
      tried.states += 1;
      const { base, tail } = state;
      if (!bases.has(base)) bases.set(base, base === undefined ? undefined : decodeLog(base));
      const start = bases.get(base);
      const end = decodeLog(tail);
      const believed = tail.subarray(0, end.validBytes);
      const key = `${Buffer.from(believed).toString('latin1')} ${end.damage?.line}`;
      const known = judged.get(base) ?? new Set<string>();
      judged.set(base, known);
      if (known.has(key)) continue;
      known.add(key);
      tried.opened += 1;
      if (end.damage !== undefined) tried.damaged += 1;
      const found = foundIn(state, start, end);
      try {
        const check = await judge(found, base === undefined);
        for (let moment = from; moment <= to; moment++) await check(moments[moment]!); // !: from and to are of this list
      } catch (error) {
        const where = `write ${at} (${what}), ${base?.length} + ${tail.length} B`;
        throw new Error(`${where}: ${String(error)}`, { cause: error });
      }
    }
    if (bases.size > 8) bases.delete(bases.keys().next().value);
  }
  return tried;
}

/** A log is read line by line, so the content is that of the synced part and then that of the tail; the two ways are compared here. */
function foundIn({ base, tail }: CrashState, start: LogContent | undefined, end: LogContent): Found {
  if (base === undefined) return { content: undefined, bytes: new Uint8Array(0) };
  assert.ok(start !== undefined && start.damage === undefined && start.validBytes === base.length);
  const bytes = Buffer.concat([base, tail]);
  const content = decodeLog(bytes);
  assert.equal(content.entries.length, start.entries.length + end.entries.length);
  assert.deepEqual(content.entries.slice(start.entries.length), end.entries);
  assert.equal(content.validBytes, base.length + end.validBytes);
  assert.equal(content.torn, end.torn);
  assert.equal(content.damage?.reason, end.damage?.reason);
  return { content, bytes };
}

test(`power loss at every byte of every write in ${OPERATIONS} operations: no duplicate, no lost address`, async (t) => {
  const seed = testSeed();
  t.diagnostic(`WEFT_TEST_SEED=${seed}`);
  const { states, opened, damaged, writes } = await failEverywhere(await makeHistory(seededRandom(seed)));
  const [appends = 0, replacements = 0] = ['append', 'replace'].map((what) => writes.get(what));
  t.diagnostic(
    `${appends} appends, ${replacements} replacements, ${states} states, of them ${opened} of different content, ${damaged} damaged`,
  );
  assert.ok(appends > 100 && replacements > 1 && states > 100_000 && damaged > 0);
});

test('power loss: a disk that answers before it has written is found', async () => {
  const history = await makeHistory(seededRandom(1), { answersEarly: true });
  await assert.rejects(failEverywhere(history), /is lost/);
});
