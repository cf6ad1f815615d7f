// The allocation log on real file systems. The full and the read-only one are mounted in a mount namespace of a child's own
// (address-log-scenario.ts), so nothing of the machine is touched.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { openAddressLog } from '../../agent/ipam/address-log.ts';
import { createAddressPool } from '../../agent/ipam/address-pool.ts';
import type { LoggedAddressPool } from '../../agent/ipam/address-pool.ts';
import { decodeLog, encodeLogEntry } from '../../agent/ipam/log-record.ts';
import { parseCidr } from '../../proto/address-text.ts';

const directory = mkdtempSync(join(tmpdir(), `weft-test-${process.pid}-log-`));
after(() => rmSync(directory, { recursive: true }));

const scenario = join(import.meta.dirname, 'address-log-scenario.ts');

async function openPool(path: string): Promise<LoggedAddressPool> {
  const pool = createAddressPool({
    log: await openAddressLog({ path }),
    bootId: 'boot-1',
    range: parseCidr('10.32.0.0/12'),
    clock: () => 0,
    schedule: () => undefined,
  });
  pool.setBlocks([parseCidr('10.32.4.0/26')]);
  return pool;
}

const request = (
  name: number,
): { containerId: string; interfaceName: string; netnsInode: number; hostInterface: string } => ({
  containerId: `c${name}`,
  interfaceName: 'eth0',
  netnsInode: 1,
  hostInterface: `weft${name}`,
});

test('openAddressLog: the file is made, private, and read again', async () => {
  const path = join(directory, 'made/allocations.log');
  const pool = await openPool(path);
  assert.match(pool.rebuildReason ?? '', /does not exist/);
  await pool.rebuild([]);
  const allocations = await Promise.all(
    Array.from({ length: 40 }, (_, name) => pool.allocate(request(name))),
  );
  await pool.release(request(3));
  await pool.closed();
  assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.ok(!existsSync(`${path}.new`));

  // A torn tail is ignored, and cut off before the log goes on.
  appendFileSync(path, '0bad');
  const again = await openPool(path);
  assert.equal(again.rebuildReason, undefined);
  assert.deepEqual(
    again.list(),
    allocations.filter(({ containerId }) => containerId !== 'c3'),
  );
  const next = await again.allocate(request(100));
  await again.closed();
  assert.deepEqual(
    readFileSync(path).subarray(-encodeLogEntry({ kind: 'allocate', ...next }).length),
    Buffer.from(encodeLogEntry({ kind: 'allocate', ...next })),
  );
  assert.equal(decodeLog(readFileSync(path)).torn, false);
});

test('openAddressLog: a log that cannot be read is a problem, not a crash', async () => {
  const path = join(directory, 'unreadable/allocations.log');
  mkdirSync(path, { recursive: true });
  const log = await openAddressLog({ path });
  assert.equal(log.content, undefined);
  assert.match(log.problem ?? '', /EISDIR/);
  await log.storage.close();
});

test('openAddressLog: one writer; the lock goes with the process that held it', async () => {
  const path = join(directory, 'locked.log');
  const holder = spawn(process.execPath, [scenario, 'hold', path], { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(holder.stdout, 'data');
  await assert.rejects(openAddressLog({ path }), { code: 'LOG_LOCKED' });
  holder.kill('SIGKILL');
  await once(holder, 'exit');
  const log = await openAddressLog({ path });
  await log.storage.close();
});

for (const [name, option] of [
  ['full', 'size=16k'],
  ['read-only', 'size=1m'],
] as const) {
  test(`allocate and release on a ${name} file system`, () => {
    const mountPoint = join(directory, name);
    mkdirSync(mountPoint);
    const shell = `mount -t tmpfs -o ${option} weft-test "$1" && exec "$2" "$3" "$4" "$1"`;
    const out = execFileSync(
      'unshare',
      ['-m', 'sh', '-c', shell, 'sh', mountPoint, process.execPath, scenario, name],
      {
        encoding: 'utf8',
        timeout: 60_000,
      },
    );
    assert.equal(out.trim(), 'ok');
  });
}
