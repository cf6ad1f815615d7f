import assert from 'node:assert/strict';
import { test } from 'node:test';

import { AllocationRecords } from '../../agent/ipam/allocation-records.ts';
import type { LogEntry } from '../../agent/ipam/log-record.ts';
import { ipv4 } from '../../proto/address.ts';
import { randomInt, seededRandom, testSeed } from '../support/random.ts';

const allocate = (sequence: number, container: number, address: number): LogEntry => ({
  kind: 'allocate',
  sequence,
  containerId: `c${container}`,
  interfaceName: 'eth0',
  netnsInode: 1,
  address: ipv4(address),
  hostInterface: 'weft0000',
});

test('apply: nothing is believed before a boot is named', () => {
  assert.equal(new AllocationRecords().apply(allocate(1, 1, 1)), 'no_boot');
});

test('apply: a late release does not free what was given out again', () => {
  const records = new AllocationRecords();
  records.apply({ kind: 'void', bootId: 'b', sequence: 0 });
  records.apply(allocate(1, 1, 9));
  records.apply({ kind: 'release', sequence: 2, allocation: 1, address: ipv4(9) });
  records.apply(allocate(3, 2, 9));
  records.apply({ kind: 'release', sequence: 4, allocation: 1, address: ipv4(9) });
  assert.equal(records.at(ipv4(9))?.containerId, 'c2');
});

test('AllocationRecords: random entries agree with a naive oracle, and so does a replayed snapshot', (t) => {
  const seed = testSeed();
  t.diagnostic(`seed ${seed}`);
  const random = seededRandom(seed);
  let records = new AllocationRecords();
  records.apply({ kind: 'void', bootId: 'b0', sequence: 0 });
  let oracle: { container: number; address: number; sequence: number }[] = [];
  let freed: number[] = [];
  for (let sequence = 1; sequence < 8000; sequence++) {
    const container = randomInt(random, 30);
    const address = randomInt(random, 25);
    const at = oracle.find((one) => one.address === address);
    const of = oracle.find((one) => one.container === container);
    const kind = random();
    if (kind < 0.55) {
      const expected =
        at !== undefined ? 'address_in_use' : of !== undefined ? 'attachment_in_use' : undefined;
      assert.equal(records.apply(allocate(sequence, container, address)), expected);
      if (expected === undefined) {
        oracle.push({ container, address, sequence });
        freed = freed.filter((one) => one !== address);
      }
    } else if (kind < 0.99) {
      const allocation = random() < 0.2 ? sequence - 1 : (at?.sequence ?? 0);
      records.apply({ kind: 'release', sequence, allocation, address: ipv4(address) });
      if (at === undefined || at.sequence === allocation) {
        oracle = oracle.filter((one) => one !== at);
        freed = [...freed.filter((one) => one !== address), address];
      }
    } else if (kind < 0.992) {
      records.apply({ kind: 'void', bootId: `b${sequence}`, sequence });
      oracle = [];
      freed = [];
    } else {
      const replayed = new AllocationRecords();
      for (const entry of records.snapshot()) assert.equal(replayed.apply(entry), undefined);
      assert.equal(replayed.bootId, records.bootId);
      assert.equal(replayed.sequence, records.sequence);
      records = replayed;
    }
    assert.deepEqual(
      records.list().map((one) => [one.containerId, one.address, one.sequence]),
      oracle.map((one) => [`c${one.container}`, one.address, one.sequence]),
    );
    assert.deepEqual(
      records.freed().map(({ address }) => address),
      freed,
    );
  }
});
