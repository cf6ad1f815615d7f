// What address-log.test.ts runs in a process of its own: `hold PATH`, `full MOUNTPOINT`, `read-only MOUNTPOINT`.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { openAddressLog } from '../../agent/ipam/address-log.ts';
import { type LoggedAddressPool, createAddressPool } from '../../agent/ipam/address-pool.ts';
import { parseCidr } from '../../proto/address-text.ts';

const scheduled: (() => void)[] = [];

async function openPool(path: string): Promise<LoggedAddressPool> {
  const pool = createAddressPool({
    log: await openAddressLog({ path }),
    bootId: 'boot-1',
    range: parseCidr('10.32.0.0/12'),
    clock: () => 0,
    schedule: (_delayMs, callback) => scheduled.push(callback),
  });
  pool.setBlocks([parseCidr('10.32.4.0/26')]);
  return pool;
}

const request = (
  name: string,
): { containerId: string; interfaceName: string; netnsInode: number; hostInterface: string } => ({
  containerId: name,
  interfaceName: 'eth0',
  netnsInode: 1,
  hostInterface: 'weft0000',
});

const remount = (mountPoint: string, mode: 'ro' | 'rw'): void => {
  execFileSync('mount', ['-o', `remount,${mode}`, mountPoint]);
};

async function unwritable(pool: LoggedAddressPool, code: string): Promise<void> {
  await assert.rejects(
    pool.allocate(request('refused')),
    (error: Error & { code?: string; cause?: { code?: string } }) => {
      assert.equal(error.code, 'LOG_UNWRITABLE');
      assert.equal(error.cause?.code, code);
      return true;
    },
  );
  assert.notEqual(await pool.release(request('kept')), undefined);
  assert.equal(pool.find(request('kept')), undefined);
}

async function recovered(pool: LoggedAddressPool, path: string): Promise<void> {
  await pool.allocate(request('later'));
  await pool.closed();
  const again = await openPool(path);
  assert.equal(again.rebuildReason, undefined);
  assert.deepEqual(
    again.list().map(({ containerId }) => containerId),
    ['later'],
  );
  await again.closed();
}

async function full(mountPoint: string): Promise<void> {
  const path = join(mountPoint, 'allocations.log');
  const pool = await openPool(path);
  await pool.rebuild([]);
  await pool.allocate(request('kept'));
  const ballast = join(mountPoint, 'ballast');
  const { bavail, bsize } = statfsSync(mountPoint);
  writeFileSync(ballast, Buffer.alloc(bavail * bsize));
  // The page that the log ends in has room: the first refusal comes when it is used up.
  for (let round = 0; pool.logFailure() === undefined && round < 100; round++) {
    await pool.allocate(request('filler')).catch(() => undefined);
    await pool.release(request('filler'));
  }
  await unwritable(pool, 'ENOSPC');
  rmSync(ballast);
  await recovered(pool, path);
}

async function readOnly(mountPoint: string): Promise<void> {
  const path = join(mountPoint, 'allocations.log');
  const before = await openPool(path);
  await before.rebuild([]);
  await before.allocate(request('kept'));
  await before.closed();
  remount(mountPoint, 'ro');
  // Started while it is read-only: what is there is read, and locked all the same.
  const pool = await openPool(path);
  assert.equal(pool.list().length, 1);
  await assert.rejects(openAddressLog({ path }), { code: 'LOG_LOCKED' });
  await unwritable(pool, 'EROFS');
  remount(mountPoint, 'rw');
  await recovered(pool, path);
}

const [, , name, path = ''] = process.argv;
if (name === 'hold') {
  await openAddressLog({ path });
  console.log('held');
  setInterval(() => undefined, 60_000);
} else {
  await (name === 'full' ? full(path) : readOnly(path));
  console.log('ok');
}
