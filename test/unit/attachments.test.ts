// ADD and DEL over fakes of pool and links, asked as the shim asks, and the turns that requests take.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createAttachments, hostInterfaceOf } from '../../agent/control/cni/attachments.ts';
import { createCniServer } from '../../agent/control/cni/cni-server.ts';
import { OperationError } from '../../agent/operation-error.ts';
import { refused } from '../../proto/decoded.ts';
import { randomInt, seededRandom, testSeed } from '../support/random.ts';
import { bench, printed } from './attachment-bench.ts';
import { CONFIG, FakeLinks, FakeNode, FakePool, shimRequest, trustingCheck } from './attachment-fakes.ts';

const C1 = { containerId: 'c1', interfaceName: 'eth0' };

test('ADD: allocates, attaches, answers the full result; the pod is named in the outcome', async () => {
  const { pool, links, outcomes, ask } = bench();
  const args = 'IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0';
  const result = await ask('ADD', { variables: { CNI_ARGS: args } });
  const name = hostInterfaceOf({ containerId: 'c1', interfaceName: 'eth0' });
  assert.deepEqual(
    result.interfaces?.map((entry) => entry.name),
    [name, 'eth0'],
  );
  assert.deepEqual(result.ips, [{ address: '10.32.0.2/32', gateway: '10.32.0.1', interface: 1 }]);
  assert.equal(links.made.get(name)?.alias, 'weft:c1:eth0:10.32.0.2');
  assert.deepEqual([links.made.get(name)?.netlinkFd, links.made.get(name)?.netnsFd], [100, 101]);
  assert.deepEqual(
    pool.list().map(({ netnsInode, podName, hostInterface }) => ({ netnsInode, podName, hostInterface })),
    [{ netnsInode: 101, podName: 'default/web-0', hostInterface: name }],
  );
  assert.deepEqual(outcomes, [
    {
      command: 'ADD',
      containerId: 'c1',
      interfaceName: 'eth0',
      podName: 'default/web-0',
      attachment: { address: pool.list()[0]?.address, hostInterface: name },
    },
  ]);
});

test('DEL: the outcome names pod, address and interface by the record, and has none the second time', async () => {
  const { outcomes, ask } = bench();
  await ask('ADD', { variables: { CNI_ARGS: 'K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0' } });
  await ask('DEL');
  await ask('DEL');
  const [added, removed, repeated] = outcomes;
  assert.equal(removed?.podName, 'default/web-0');
  assert.equal(removed.attachment?.address, added?.attachment?.address);
  assert.equal(removed.attachment?.hostInterface, hostInterfaceOf(C1));
  assert.deepEqual(repeated, { command: 'DEL', containerId: 'c1', interfaceName: 'eth0' });
});

test('ADD twice: an error that names CNI_IFNAME, and the first stays', async () => {
  const { pool, links, ask } = bench();
  await ask('ADD');
  const again = await ask('ADD');
  assert.equal(again.code, 4);
  assert.match(again.msg ?? '', /CNI_IFNAME "eth0"/);
  assert.equal(pool.list().length, 1);
  assert.equal(links.made.size, 1);
});

test('ADD: a failure of the link frees the address, and the code tells what to do', async () => {
  const { pool, links, ask } = bench();
  const cases: readonly (readonly [string, number])[] = [
    ['EEXIST', 4],
    ['ENOBUFS', 5],
    ['NO_BRIDGE', 11],
    ['NO_POD_SET', 11],
  ];
  for (const [code, expected] of cases) {
    links.failure = new OperationError('Cannot make the link', { code });
    const answer = await ask('ADD');
    assert.deepEqual([answer.code, answer.details], [expected, code]);
    assert.equal(pool.list().length, 0);
  }
  assert.equal((await ask('ADD')).code, undefined);
});

test('each request goes through its steps; the one that it failed in is told', async () => {
  const { links, node, steps, ask } = bench();
  assert.equal((await ask('ADD')).code, undefined);
  assert.deepEqual(steps.splice(0), ['ADD wait', 'ADD check', 'ADD allocate', 'ADD link']);
  await ask('ADD');
  assert.deepEqual(steps.splice(0), ['ADD wait', 'ADD check failed']);
  await ask('DEL');
  assert.deepEqual(steps.splice(0), ['DEL wait', 'DEL detach', 'DEL release']);
  links.failure = new OperationError('Cannot make the link', { code: 'ENOBUFS' });
  await ask('ADD');
  assert.deepEqual(steps.splice(0), ['ADD wait', 'ADD check', 'ADD allocate', 'ADD link failed']);
  node.address = undefined;
  await ask('ADD');
  assert.deepEqual(steps.splice(0), ['ADD wait', 'ADD check failed']);
});

test('ADD: no block, a full pool, an unwritable log', async () => {
  const { pool, node, links, ask } = bench(0);
  assert.equal((await ask('ADD')).code, 11);
  pool.failure = new OperationError('Cannot write the log', { code: 'LOG_UNWRITABLE' });
  assert.equal((await ask('ADD')).code, 11);
  node.address = undefined;
  const answer = await ask('ADD');
  assert.equal(answer.code, 11);
  assert.match(answer.msg ?? '', /the node's network is being made; try again/);
  pool.blocks = 0;
  assert.match((await ask('ADD')).msg ?? '', /no block of pod addresses/);
  assert.equal(links.made.size, 0);
});

test('ADD: an undo that fails is told, the first error is the answer', async () => {
  const { pool, links, undone, ask } = bench();
  links.failure = new OperationError('Cannot make the link', { code: 'ENODEV' });
  pool.release = async () => {
    throw new OperationError('Cannot release', { code: 'EIO' });
  };
  assert.equal((await ask('ADD')).details, 'ENODEV');
  assert.equal(undone.length, 1);
});

test("ADD: descriptors that are not a pod's, or are missing, or an id that the kernel cannot keep", async () => {
  const pool = new FakePool();
  const handler = createAttachments({
    pool,
    links: new FakeLinks(),
    node: new FakeNode(),
    checkDescriptors: () => refused('own-network-namespace'),
    undoFailed: () => {},
  });
  const server = createCniServer({ handler, observe: () => {} });
  const answer = await printed(server, shimRequest('ADD'));
  assert.equal(answer.code, 4);
  assert.match(answer.msg ?? '', /the node's own network namespace/);
  assert.equal((await printed(server, shimRequest('ADD', { descriptors: [] }))).code, 5);
  assert.equal((await printed(server, shimRequest('ADD', { id: 'a'.repeat(201) }))).code, 4);
  assert.equal(pool.list().length, 0);
});

test('DEL: unknown, twice, without namespace, with any configuration', async () => {
  const { pool, links, ask } = bench();
  const forms = [
    {},
    { variables: { CNI_NETNS: '' }, descriptors: [] },
    { config: 'no JSON' },
    { config: { cniVersion: '9.9' } },
  ];
  for (const form of forms) {
    assert.deepEqual(await ask('DEL', form), {});
    await ask('ADD');
    assert.equal(links.made.size, 1);
    assert.deepEqual(await ask('DEL', form), {});
    assert.deepEqual(await ask('DEL', form), {});
    assert.equal(links.made.size, 0);
    assert.equal(pool.list().length, 0);
  }
});

test('DEL: a link that cannot be removed keeps its address', async () => {
  const { pool, links, ask } = bench();
  await ask('ADD');
  links.failure = new OperationError('Cannot remove the link', { code: 'EBUSY' });
  assert.equal((await ask('DEL')).code, 5);
  assert.equal(pool.list().length, 1);
  assert.deepEqual(await ask('DEL'), {});
});

test('ADD in every version: the result and the errors speak it', async () => {
  for (const cniVersion of ['0.3.1', '0.4.0', '1.0.0', '1.1.0']) {
    const { ask } = bench();
    const config = { ...CONFIG, cniVersion };
    const result = await ask('ADD', { config });
    assert.equal(result.cniVersion, cniVersion);
    assert.equal(result.ips?.[0]?.version, cniVersion.startsWith('0.') ? '4' : undefined);
    assert.equal((await ask('ADD', { config })).cniVersion, cniVersion);
  }
});

test('our own bug is not an answer', async () => {
  const { links, server } = bench();
  links.attach = () => {
    throw new TypeError('own bug');
  };
  await assert.rejects(server.answer(shimRequest('ADD')), TypeError);
});

test('operations of one container take turns, those of others do not wait', async () => {
  const { pool, ask } = bench();
  const seed = testSeed();
  console.log(`seed ${seed}`);
  const random = seededRandom(seed);
  const answers = await Promise.all(
    Array.from({ length: 200 }, () => {
      const id = `c${randomInt(random, 4)}`;
      return ask(random() < 0.5 ? 'ADD' : 'DEL', { id });
    }),
  );
  for (const { code } of answers) assert.ok(code === undefined || code === 4, `code ${code}`);
  const addresses = pool.list().map(({ address }) => address);
  assert.equal(new Set(addresses).size, addresses.length);

  const { promise, resolve } = Promise.withResolvers<void>();
  const slow = bench();
  const allocate = slow.pool.allocate.bind(slow.pool);
  slow.pool.allocate = async (request) => {
    if (request.containerId === 'slow') await promise;
    return allocate(request);
  };
  const first = slow.ask('ADD', { id: 'slow' });
  const second = slow.ask('DEL', { id: 'slow' });
  assert.equal((await slow.ask('ADD', { id: 'quick' })).code, undefined);
  resolve();
  assert.equal((await first).code, undefined);
  assert.deepEqual(await second, {});
  assert.deepEqual(
    slow.pool.list().map(({ containerId }) => containerId),
    ['quick'],
  );
});

test('a deletion left on disk is replayed before an ADD of the same container, in the order of arrival', async () => {
  const pool = new FakePool();
  const handler = createAttachments({
    pool,
    links: new FakeLinks(),
    node: new FakeNode(),
    checkDescriptors: trustingCheck,
    undoFailed: () => {},
  });
  let left: Uint8Array | undefined = shimRequest('DEL', { descriptors: [] }).bytes;
  const server = createCniServer({
    handler,
    observe: () => {},
    beforeAdd: async () => {
      const bytes = left;
      left = undefined;
      if (bytes !== undefined) await server.replay({ bytes });
    },
  });
  await pool.allocate({ ...C1, netnsInode: 1, hostInterface: hostInterfaceOf(C1) });
  const [added, , again] = await Promise.all([
    printed(server, shimRequest('ADD')),
    printed(server, shimRequest('DEL')),
    printed(server, shimRequest('ADD')),
  ]);
  assert.equal(added.ips?.[0]?.address, '10.32.0.3/32');
  assert.equal(again.ips?.[0]?.address, '10.32.0.4/32');
  assert.equal(pool.list().length, 1);
});

test('hostInterfaceOf: 15 characters, stable, different for each attachment', () => {
  const names = new Set<string>();
  for (let index = 0; index < 2000; index += 1) {
    const name = hostInterfaceOf({ containerId: `c${index >> 1}`, interfaceName: `eth${index & 1}` });
    assert.match(name, /^vethwe[0-9a-v]{9}$/);
    names.add(name);
  }
  assert.equal(names.size, 2000);
  assert.equal(
    hostInterfaceOf({ containerId: 'c1', interfaceName: 'eth0' }),
    hostInterfaceOf({ containerId: 'c1', interfaceName: 'eth0' }),
  );
});

test('ADD: a hostile pod name is left out, a "dns" that no answer can hold is refused before anything is made', async () => {
  const { pool, outcomes, ask } = bench();
  const names = ['x'.repeat(100_000), 'a b', 'a\nlevel=error', '../../etc', ''];
  for (const [at, name] of names.entries()) {
    const id = `c${at}`;
    const args = `K8S_POD_NAMESPACE=default;K8S_POD_NAME=${name}`;
    assert.equal((await ask('ADD', { id, variables: { CNI_ARGS: args } })).code, undefined);
    assert.equal(outcomes.at(-1)?.podName, undefined);
    assert.equal(pool.find({ containerId: id, interfaceName: 'eth0' })?.podName, undefined);
  }
  const config = { ...CONFIG, dns: { search: ['x'.repeat(600_000)] } };
  assert.equal((await ask('ADD', { id: 'dns', config })).code, 7);
  assert.equal(pool.list().length, names.length);
});
