// What belongs to a network, and what a runtime asks for, over fakes of pool and links.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { hostInterfaceOf } from '../../agent/control/cni/attachments.ts';
import { OperationError } from '../../agent/operation-error.ts';
import { ipv4 } from '../../proto/address.ts';
import { bench } from './attachment-bench.ts';
import { CONFIG } from './attachment-fakes.ts';

test('GC: of another network, or of one that is not known, nothing is removed', async () => {
  const { pool, ask } = bench();
  await ask('ADD', { id: 'ours' });
  await ask('ADD', { id: 'theirs', config: { ...CONFIG, name: 'another' } });
  const unknown = { containerId: 'found', interfaceName: 'eth0', netnsInode: 0, hostInterface: 'vethwe0' };
  await pool.allocate(unknown); // taken over from the kernel
  const left = (): readonly string[] => pool.list().map(({ containerId }) => containerId);
  const gc = (name: string): ReturnType<typeof ask> =>
    ask('GC', { config: { ...CONFIG, name, 'cni.dev/valid-attachments': [] } });
  assert.deepEqual(await gc('third'), {});
  assert.deepEqual(left(), ['ours', 'theirs', 'found']);
  assert.deepEqual(await gc('weft'), {});
  assert.deepEqual(left(), ['theirs', 'found']);
  assert.deepEqual(await gc('another'), {});
  assert.deepEqual(left(), ['found']);
});

test('ADD: what is asked for is recorded; what cannot be given has its own code', async () => {
  const { pool, links, ask } = bench();
  const config = { ...CONFIG, runtimeConfig: { ips: ['10.32.0.5'], mac: 'c2:00:00:00:00:05' } };
  assert.equal((await ask('ADD', { config })).ips?.[0]?.address, '10.32.0.5/32');
  assert.equal(
    links.made.get(hostInterfaceOf({ containerId: 'c1', interfaceName: 'eth0' }))?.alias,
    'weft:c1:eth0:c20000000005:10.32.0.5',
  );
  assert.equal((await ask('ADD', { id: 'c2', config })).code, 101);
  links.failure = new OperationError('Cannot give it', { code: 'MAC_IN_USE' });
  assert.equal((await ask('ADD', { id: 'c2' })).code, 102);
  assert.equal(pool.list().length, 1);
  assert.equal(
    (await ask('ADD', { id: 'c2', config: { ...CONFIG, runtimeConfig: { ips: ['::1'] } } })).code,
    2,
  );
});

test('CHECK: expects the gateway of ADD, also when that of the node has moved', async () => {
  const { links, node, ask } = bench();
  const prevResult = await ask('ADD');
  const added = node.address;
  node.address = ipv4(0x0a200041);
  const gateways: (number | undefined)[] = [];
  links.inspect = ({ gateway, routeTable }) => {
    gateways.push(gateway, routeTable);
    return [];
  };
  assert.deepEqual(await ask('CHECK', { config: { ...CONFIG, prevResult } }), {});
  assert.deepEqual(gateways, [added, 254]);
});

test('STATUS: 51 when running pods may not reach everything, before any other reason', async () => {
  const { node, ask } = bench();
  node.limitation = 'the data plane does not run';
  assert.equal((await ask('STATUS')).code, 51);
  node.reason = 'no block';
  assert.equal((await ask('STATUS')).code, 51);
  node.limitation = undefined;
  assert.equal((await ask('STATUS')).code, 50);
  node.reason = undefined;
  assert.deepEqual(await ask('STATUS'), {});
});
