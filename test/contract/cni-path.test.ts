// The whole path of a CNI call but the network itself: shim, listener, server, recipes, tombstones, with fakes of pool and links.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readdirSync, statSync } from 'node:fs';
import { after, before, test } from 'node:test';

import { createAttachments } from '../../agent/control/cni/attachments.ts';
import { createCniServer } from '../../agent/control/cni/cni-server.ts';
import { createTombstones } from '../../agent/control/cni/tombstones.ts';
import { createPodDescriptorsCheck } from '../../agent/linux/pod-descriptors.ts';
import { FakeLinks, FakeNode, FakePool } from '../unit/attachment-fakes.ts';
import { type Finished, ShimBench, buildShim } from './shim-bench.ts';

const POD = `weft-test-${process.pid}-path`;
const NETNS = `/run/netns/${POD}`;

before(() => execFileSync('ip', ['netns', 'add', POD]));
after(() => execFileSync('ip', ['netns', 'del', POD]));

test('ADD, CHECK, DEL; DEL while no agent runs is replayed before the id is used again', async (context) => {
  const bench = new ShimBench(context, buildShim().shim);
  const pool = new FakePool();
  const links = new FakeLinks();
  const handler = createAttachments({
    pool,
    links,
    node: new FakeNode(),
    checkDescriptors: createPodDescriptorsCheck(),
    undoFailed: () => {},
  });
  const failures: string[] = [];
  const server = createCniServer({
    handler,
    observe: () => {},
    beforeAdd: async () => void (await tombstones.replay()),
  });
  const tombstones = createTombstones({
    directory: bench.tombstones,
    answer: server.replay,
    failed: (file, reason) => failures.push(`${file}: ${reason}`),
  });
  const run = (command: string, more: object = {}, netns: string = NETNS): Promise<Finished> =>
    bench.run({
      variables: {
        CNI_COMMAND: command,
        CNI_CONTAINERID: 'c1',
        CNI_IFNAME: 'eth0',
        CNI_NETNS: netns,
        WEFT_CNI_DEADLINE_MS: command === 'DEL' ? '250' : '20000',
      },
      stdin: JSON.stringify({ cniVersion: '1.0.0', name: 'weft', type: 'weft', ...more }),
    });

  let listener = bench.listen(server.answer);
  const prevResult = (await run('ADD')).json;
  assert.deepEqual(prevResult['ips'], [{ address: '10.32.0.2/32', gateway: '10.32.0.1', interface: 1 }]);
  assert.equal(pool.list()[0]?.netnsInode, statSync(NETNS).ino);
  assert.equal((await run('CHECK', { prevResult })).stdout, '');
  assert.equal((await run('ADD')).json.code, 4);
  const own = await run('ADD', {}, '/proc/self/ns/net');
  assert.equal(own.json.code, 4);
  assert.equal((await run('DEL')).status, 0);
  assert.deepEqual([pool.list().length, links.made.size], [0, 0]);

  assert.equal((await run('ADD')).status, 0);
  await listener.close();
  assert.equal((await run('DEL', { prevResult })).status, 0);
  assert.deepEqual(readdirSync(bench.tombstones), ['c1-eth0.del']);
  assert.equal(pool.list().length, 1);
  listener = bench.listen(server.answer);
  assert.equal((await run('ADD')).status, 0);
  assert.deepEqual([pool.list().length, links.made.size], [1, 1]);
  assert.deepEqual(readdirSync(bench.tombstones), []);
  assert.equal((await run('DEL')).status, 0);
  assert.equal(pool.list().length, 0);
  assert.deepEqual(failures, []);
  await listener.close();
});
