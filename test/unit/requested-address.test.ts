// An address that was asked for: taken out of the middle of the queue, put back to where it was.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createAddressPool } from '../../agent/ipam/address-pool.ts';
import { AddressQueue } from '../../agent/ipam/address-queue.ts';
import { decodeLog } from '../../agent/ipam/log-record.ts';
import { OperationError } from '../../agent/operation-error.ts';
import { type Ipv4, formatIpv4 } from '../../proto/address.ts';
import { parseCidr, parseIpv4 } from '../../proto/address-text.ts';

const range = parseCidr('10.32.0.0/20');
const block = parseCidr('10.32.0.64/28');
const at = (octet: number): Ipv4 => parseIpv4(`10.32.0.${octet}`);

/** What the queue gives until it is empty. */
function drain(queue: AddressQueue, nowMs: number): readonly string[] {
  const taken: string[] = [];
  for (let next = queue.take(nowMs); next !== undefined; next = queue.take(nowMs))
    taken.push(formatIpv4(next.address));
  return taken;
}

test('takeThis: only what is free and ours; put back, the order is as it was, also of addresses that rest', () => {
  const make = (): AddressQueue => {
    const queue = new AddressQueue({ range, restMs: 30_000 });
    queue.setBlocks([block], () => false);
    for (const nowMs of [1000, 2000, 3000]) {
      const taken = queue.take(nowMs);
      assert.ok(taken !== undefined);
      queue.give(taken.address, nowMs);
    }
    return queue;
  };
  const expected = drain(make(), 4000);
  for (const text of expected) {
    const queue = make();
    const taken = queue.takeThis(parseIpv4(text));
    assert.ok(taken !== undefined);
    assert.equal(queue.takeThis(taken.address), undefined);
    assert.equal(queue.free, expected.length - 1);
    queue.putBack(taken);
    const order = drain(queue, 4000);
    assert.deepEqual([...order].sort(), [...expected].sort());
    assert.deepEqual(order.slice(-3), expected.slice(-3), 'what was freed lately stays last');
  }
  const queue = make();
  for (const foreign of [at(63), at(80), at(65)]) {
    assert.deepEqual([queue.has(foreign), queue.takeThis(foreign)], [false, undefined]);
  }
});

test('pool: gives what was asked for, refuses what is taken or not here, and remembers the network', async () => {
  let bytes: Uint8Array = new Uint8Array(0);
  let failure: string | undefined;
  const write = async (next: Uint8Array): Promise<void> => {
    if (failure !== undefined) throw new OperationError('disk', { code: failure });
    bytes = next;
  };
  const pool = createAddressPool({
    log: {
      content: undefined,
      problem: 'it does not exist',
      storage: {
        get byteLength() {
          return bytes.length;
        },
        append: (more) => write(Buffer.concat([bytes, more])),
        replace: write,
        close: async () => undefined,
      },
    },
    bootId: 'boot-1',
    range,
    clock: () => 0,
    schedule: () => undefined,
  });
  await pool.rebuild([]);
  pool.setBlocks([block]);
  const ask = (containerId: string, address: Ipv4): ReturnType<typeof pool.allocate> =>
    pool.allocate({
      containerId,
      interfaceName: 'eth0',
      netnsInode: 1,
      hostInterface: containerId,
      address,
      network: 'n',
    });
  const refusedWith = (code: string) => (error: unknown) =>
    error instanceof OperationError && error.code === code;
  assert.equal((await ask('a', at(70))).address, at(70));
  await assert.rejects(ask('b', at(70)), refusedWith('ADDRESS_IN_USE'));
  for (const address of [at(65), at(80), at(1)])
    await assert.rejects(ask('b', address), refusedWith('ADDRESS_NOT_HERE'));
  failure = 'ENOSPC';
  await assert.rejects(ask('b', at(71)), refusedWith('LOG_UNWRITABLE'));
  failure = undefined;
  await pool.release({ containerId: 'a', interfaceName: 'eth0' });
  assert.equal((await ask('b', at(70))).network, 'n', 'also while it rests');
  const recorded = decodeLog(bytes).entries.findLast((entry) => entry.kind === 'allocate');
  assert.equal(recorded?.kind === 'allocate' && recorded.network, 'n');
});
