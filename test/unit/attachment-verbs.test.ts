// The verbs beside ADD and DEL over fakes of pool and links, and requests that are none.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { OperationError } from '../../agent/operation-error.ts';
import { decodeResponse, encodeRequest } from '../../proto/shim-codec.ts';
import { bench, printed } from './attachment-bench.ts';
import { CONFIG } from './attachment-fakes.ts';

test('CHECK: as it was made; then every difference in words', async () => {
  const { links, node, ask } = bench();
  const prevResult = await ask('ADD');
  const config = { ...CONFIG, prevResult };
  assert.deepEqual(await ask('CHECK', { config }), {});
  node.bytes = 1400; // the setting changed: the pod keeps what ADD told
  assert.deepEqual(await ask('CHECK', { config }), {});
  links.differences = ['eth0 is down'];
  const down = await ask('CHECK', { config });
  assert.deepEqual([down.code, down.details], [100, 'eth0 is down']);
  links.differences = [];
  const moved = await ask('CHECK', { config, descriptors: [100, 102] });
  assert.match(moved.details ?? '', /namespace is 102, ADD was done in 101/);
  const foreign = { ...prevResult, ips: [{ address: '10.32.0.99/32' }], interfaces: [] };
  const other = await ask('CHECK', { config: { ...CONFIG, prevResult: foreign } });
  assert.match(other.details ?? '', /record has address 10\.32\.0\.2\/32, prevResult has 10\.32\.0\.99\/32/);
  assert.match(other.details ?? '', /no interface "eth0"/);
});

test('CHECK: unknown container, no previous result, version without CHECK', async () => {
  const { ask } = bench();
  assert.equal((await ask('CHECK', { config: { ...CONFIG, prevResult: {} } })).code, 3);
  assert.equal((await ask('CHECK')).code, 7);
  const old = await ask('CHECK', { config: { ...CONFIG, cniVersion: '0.3.1', prevResult: {} } });
  assert.deepEqual([old.code, old.cniVersion], [1, '0.3.1']);
});

test('GC: releases all that is not listed, keeps going after a failure, never without a list', async () => {
  const { pool, links, ask } = bench();
  for (const id of ['a', 'b', 'c', 'd']) await ask('ADD', { id });
  assert.deepEqual(await ask('GC'), {}); // without a list
  assert.equal(pool.list().length, 4);
  const valid = [
    { containerID: 'b', ifname: 'eth0' },
    { containerID: 'a', ifname: 'eth1' },
  ];
  const config = { ...CONFIG, 'cni.dev/valid-attachments': valid };
  links.failure = new OperationError('Cannot remove the link', { code: 'EBUSY' });
  const partly = await ask('GC', { config });
  assert.equal(partly.code, 5);
  assert.match(partly.msg ?? '', /1 of 3/);
  assert.equal(pool.list().length, 2);
  assert.deepEqual(await ask('GC', { config }), {});
  assert.deepEqual(
    pool.list().map(({ containerId }) => containerId),
    ['b'],
  );
  assert.equal(links.made.size, 1);
});

test('GC: an ADD that is under way is no garbage', async () => {
  const { pool, ask } = bench();
  const config = { ...CONFIG, 'cni.dev/valid-attachments': [] };
  await ask('ADD', { id: 'old' });
  const [added, collected] = await Promise.all([ask('ADD', { id: 'new' }), ask('GC', { config })]);
  assert.equal(added.code, undefined);
  assert.deepEqual(collected, {});
  assert.deepEqual(
    pool.list().map(({ containerId }) => containerId),
    ['new'],
  );
});

test('STATUS: 50 with the reason while ADD cannot be served; a full pool is no reason', async () => {
  const { pool, node, ask } = bench(1);
  assert.deepEqual(await ask('STATUS'), {});
  await ask('ADD');
  assert.deepEqual(await ask('STATUS'), {});
  node.reason = 'Cannot write /var/lib/weft/allocations.log: make room on its disk';
  assert.deepEqual(await ask('STATUS'), { cniVersion: '1.1.0', code: 50, msg: node.reason });
  node.reason = undefined;
  pool.setBlocks([]);
  assert.equal((await ask('STATUS')).code, 50);
  assert.equal((await ask('STATUS', { config: { ...CONFIG, cniVersion: '1.0.0' } })).code, 1);
});

test('VERSION: with and without a configuration, in its version where we speak it', async () => {
  const { ask } = bench();
  const supportedVersions = ['0.3.1', '0.4.0', '1.0.0', '1.1.0'];
  assert.deepEqual(await ask('VERSION', { config: '' }), { cniVersion: '1.1.0', supportedVersions });
  const old = await ask('VERSION', { config: { cniVersion: '0.4.0' } });
  assert.deepEqual(old, { cniVersion: '0.4.0', supportedVersions });
  assert.equal((await ask('VERSION', { config: { cniVersion: '0.2.0' } })).cniVersion, '1.1.0');
});

test('refused requests: every one gets an answer with a code', async () => {
  const { server, outcomes, ask } = bench();
  assert.equal((await printed(server, { bytes: new Uint8Array(3), descriptors: [] })).code, 6);
  const none = encodeRequest({ descriptors: 0, environment: [], stdin: new Uint8Array(0) });
  assert.equal((await printed(server, { bytes: none, descriptors: [] })).code, 4);
  assert.equal((await ask('ADD', { id: '../x' })).code, 4);
  assert.equal((await ask('ADD', { variables: { CNI_ARGS: 'GATEWAY=10.0.0.1' } })).code, 4);
  assert.equal((await ask('ADD', { config: 'no JSON' })).code, 6);
  assert.equal((await ask('ADD', { config: { ...CONFIG, name: '' } })).code, 7);
  assert.equal((await ask('ADD', { config: { ...CONFIG, cniVersion: '0.2.0' } })).code, 1);
  const response = decodeResponse(server.refuse('too-large'));
  assert.ok(response.ok && response.value.status === 1);
  assert.ok(outcomes.every(({ error }) => error !== undefined));
  assert.equal(outcomes.length, 8);
});

test('refuse: says who ended what, and asks for another plugin only when that helps', async () => {
  const { server } = bench();
  const said = (reason: string): string => {
    const response = decodeResponse(server.refuse(reason));
    return response.ok ? response.value.json : response.reason;
  };
  for (const reason of ['hung-up', 'reply-undelivered', 'deadline', 'peer-not-root']) {
    assert.doesNotMatch(said(reason), /install|cannot read/, reason);
  }
  assert.match(said('not-weft'), /install the weft CNI plugin/);
});

test('CHECK: an allocation that was taken over from the kernel does not know its namespace, which is no difference', async () => {
  const { pool, ask } = bench();
  const prevResult = await ask('ADD');
  const [allocation] = pool.list();
  assert.ok(allocation !== undefined);
  await pool.release(allocation);
  await pool.allocate({ ...allocation, netnsInode: 0 });
  assert.equal((await ask('CHECK', { config: { ...CONFIG, prevResult } })).code, undefined);
});
