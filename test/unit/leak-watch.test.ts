// Allocations × veths over fakes: what is freed or removed, what must not be.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { hostInterfaceOf } from '../../agent/control/cni/attachments.ts';
import { ContainerQueue } from '../../agent/control/cni/container-queue.ts';
import { createLeakWatch } from '../../agent/control/cni/leak-watch.ts';
import { unknownAttachments } from '../../agent/control/restore.ts';
import type { Allocation } from '../../agent/ipam/address-pool.ts';
import { formatIpv4, type Ipv4, ipv4 } from '../../proto/address.ts';
import { FakeLinks, FakePool } from './attachment-fakes.ts';

function bench() {
  const pool = new FakePool();
  const links = new FakeLinks();
  const queue = new ContainerQueue();
  const repairs: string[] = [];
  const lines: string[] = [];
  const watch = createLeakWatch({
    pool,
    links,
    inTurn: (containerId, work) => queue.run(containerId, work),
    log: { warn: (event, message) => void lines.push(`${event} ${message}`) },
    repaired: (found) => void repairs.push(...found.map(({ object, text }) => `${object}: ${text}`)),
  });
  const allocate = (containerId: string): Promise<Allocation> => {
    const attachment = { containerId, interfaceName: 'eth0' };
    return pool.allocate({ ...attachment, netnsInode: 1, hostInterface: hostInterfaceOf(attachment) });
  };
  const attach = (containerId: string, address: Ipv4): string => {
    const hostInterface = hostInterfaceOf({ containerId, interfaceName: 'eth0' });
    links.attach({
      hostInterface,
      podInterface: 'eth0',
      address,
      gateway: ipv4(0x0a200001),
      mtu: 1400,
      netlinkFd: 3,
      netnsFd: 4,
      alias: `weft:${containerId}:eth0:${formatIpv4(address)}`,
    });
    return hostInterface;
  };
  return { pool, links, queue, repairs, lines, watch, allocate, attach };
}

test('an allocation without its veth is freed at the second look, told once and counted', async () => {
  const { pool, repairs, lines, watch, allocate, attach } = bench();
  attach('whole', (await allocate('whole')).address);
  await allocate('leaked');
  await watch.look();
  assert.equal(pool.list().length, 2);
  await watch.look();
  assert.deepEqual(
    pool.list().map(({ containerId }) => containerId),
    ['whole'],
  );
  assert.deepEqual(repairs, ['leaked_address: freed leaked address 10.32.0.3']);
  assert.equal(lines.length, 1);
  assert.match(lines[0] ?? '', /^allocation_leaked .*10\.32\.0\.3/);
  await watch.look();
  assert.equal(lines.length, 1);
});

test('an ADD that is slow between allocation and veth keeps its address', async () => {
  const { pool, queue, repairs, watch, allocate, attach } = bench();
  const { promise: diskIsSlow, resolve: written } = Promise.withResolvers<void>();
  const adding = queue.run('slow', async () => {
    const { address } = await allocate('slow');
    await diskIsSlow;
    attach('slow', address);
  });
  await Promise.resolve();
  await watch.look();
  const second = watch.look();
  written();
  await Promise.all([adding, second]);
  assert.deepEqual([pool.list().length, repairs], [1, []]);
});

test('an allocation that was deleted and made again between two looks is another one', async () => {
  const { pool, repairs, watch, allocate } = bench();
  const first = await allocate('c1');
  await watch.look();
  await pool.release(first);
  await allocate('c1');
  await watch.look();
  assert.deepEqual([pool.list().length, repairs], [1, []]);
});

test('a pod whose interface lost its alias is no leak', async () => {
  const { pool, links, repairs, watch, allocate, attach } = bench();
  links.unnamed.add(attach('c1', (await allocate('c1')).address));
  for (let look = 0; look < 3; look++) await watch.look();
  assert.deepEqual([pool.list().length, links.made.size, repairs], [1, 1, []]);
});

test('a veth that no allocation knows is removed at the second look', async () => {
  const { links, repairs, watch, allocate, attach } = bench();
  const { address } = await allocate('owner');
  attach('owner', address);
  const stray = attach('stray', address);
  await watch.look();
  assert.equal(links.made.size, 2);
  await watch.look();
  assert.deepEqual([links.made.has(stray), links.made.size], [false, 1]);
  assert.deepEqual(repairs, [`leaked_interface: removed leaked interface "${stray}"`]);
});

test('at start: running pods that the log does not know are taken over, unless somebody has their address', async () => {
  const { pool, allocate } = bench();
  const { address } = await allocate('known');
  const found = (containerId: string, at: Ipv4) => ({
    containerId,
    interfaceName: 'eth0',
    hostInterface: hostInterfaceOf({ containerId, interfaceName: 'eth0' }),
    address: at,
  });
  const running = found('running', ipv4(0x0a200009));
  const same = found('same-address', ipv4(0x0a200009));
  assert.deepEqual(
    unknownAttachments([found('known', address), found('thief', address), running, same], pool),
    [running],
  );
});

test('at start: where the log gives an address to a pod that is gone, the running pod keeps it', async () => {
  const { pool, allocate } = bench();
  const { address } = await allocate('gone');
  const other = await allocate('moved');
  const found = (containerId: string, at: Ipv4) => ({
    containerId,
    interfaceName: 'eth0',
    hostInterface: hostInterfaceOf({ containerId, interfaceName: 'eth0' }),
    address: at,
  });
  const running = found('running', address);
  const moved = found('moved', ipv4(other.address + 5)); // deleted and added again since
  assert.deepEqual(unknownAttachments([running, moved], pool), [running, moved]);
});
