// Taking Weft off a node, on a real kernel: what control makes is made, then removed, and the node is as it was; others' things stay.
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, beforeEach, it } from 'node:test';

import { type NodeRemovalOptions, agentRuns, removeNode } from '../../agent/cli/node-removal.ts';
import { openNodeNetwork } from '../../agent/control/node/node-network.ts';
import { openPodLinks } from '../../agent/control/node/pod-links.ts';
import { NETLINK_ROUTE, openNetlink } from '../../agent/linux/netlink-socket.ts';
import { openNft } from '../../agent/linux/nft.ts';
import { enterFreshNamespace, furnishNode, run } from './network-namespaces.ts';
import { DESIRED, attachPod } from './node-fixture.ts';

enterFreshNamespace();
run('sysctl -qw net.ipv6.conf.default.addr_gen_mode=1'); // no link-local address comes, or stops being tentative, while a test looks
furnishNode();

const host = mkdtempSync(join(tmpdir(), 'weft-removal-'));
after(() => rmSync(host, { recursive: true }));
const settings = {
  cniDirectory: join(host, 'etc/cni/net.d'),
  cniPluginDirectory: join(host, 'opt/cni/bin'),
  runDirectory: join(host, 'run/weft'),
  stateDirectory: join(host, 'var/lib/weft'),
};
const route = openNetlink(NETLINK_ROUTE);
const options: NodeRemovalOptions = { settings, route, nodeIp: DESIRED.nodeIp, nft: openNft('') };
const links = openPodLinks();

const files = (): readonly string[] =>
  readdirSync(host, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name).slice(host.length + 1))
    .sort();

const place = (names: readonly string[]): void => {
  for (const name of names) {
    mkdirSync(join(host, name, '..'), { recursive: true });
    writeFileSync(join(host, name), '');
  }
};

const FOREIGN = [
  'etc/cni/net.d/05-other.conflist',
  'opt/cni/bin/portmap',
  'run/other',
  'var/lib/cni/results/other-1-eth0',
];

/** Of the kernel, what Weft changes; the TUN is the keeper's. */
const node = (): string =>
  run(
    'ip -o link | cut -d: -f2; ip -o address; ip route; nft list ruleset; cat /proc/sys/net/ipv4/conf/eth0/forwarding',
  );

async function install(): Promise<void> {
  const network = openNodeNetwork('');
  await network.ensure(DESIRED);
  network.close();
  place([
    'etc/cni/net.d/10-weft.conflist',
    'opt/cni/bin/weft',
    'opt/cni/bin/.weft-left-behind',
    'run/weft/cni.sock',
    'var/lib/weft/tombstones/a-eth0.del',
    'var/lib/cni/results/weft-1-eth0',
  ]);
}

beforeEach(() => {
  place(FOREIGN);
  if (run('ip -o link').includes(' weft0')) run('ip link delete weft0');
});

it('an agent runs while its TUN is there', () => {
  assert.equal(agentRuns(route), false);
  run('ip tuntap add dev weft0 mode tun multi_queue');
  assert.equal(agentRuns(route), true);
});

it('everything of Weft goes, what others have stays, and a second time finds nothing', async () => {
  run('nft add table inet other; sysctl -qw net.ipv4.ip_forward=0');
  const before = node();
  run('ip tuntap add dev weft0 mode tun multi_queue');
  await install();
  const pod = attachPod(links, '10.32.0.2');
  assert.equal(run('cat /proc/sys/net/ipv4/conf/eth0/forwarding').trim(), '1');
  run('ip link delete weft0'); // the agent ends
  const words = await removeNode(options);
  assert.equal(node(), before);
  assert.deepEqual(files(), FOREIGN);
  assert.ok(!existsSync(settings.runDirectory) && !existsSync(settings.stateDirectory));
  const told = words.join('\n');
  for (const part of [
    '1 pods that still ran; they have lost their network: 10.32.0.2.',
    'bridge "weave"',
    'table "inet weft"',
    'table "bridge weft"',
    '"eth0" forwards no more',
    '10-weft.conflist',
  ]) {
    assert.ok(told.includes(part), `${part} in:\n${told}`);
  }
  assert.deepEqual(await removeNode(options), []);
  pod.close();
});

it('a node that forwards by itself goes on forwarding', async () => {
  run('sysctl -qw net.ipv4.ip_forward=1');
  run('ip tuntap add dev weft0 mode tun multi_queue');
  await install();
  run('ip link delete weft0');
  await removeNode(options);
  assert.equal(run('cat /proc/sys/net/ipv4/conf/eth0/forwarding').trim(), '1');
});

it("another network's bridge of the same name is left alone", async () => {
  run('ip link add weave type bridge');
  const words = await removeNode(options);
  assert.match(words.join(), /Left interface "weave" alone/);
  assert.match(run('ip -o link'), / weave:/);
  run('ip link delete weave');
});

it('a folder that is not named after Weft is not removed', async () => {
  const stateDirectory = join(host, 'var/lib');
  const wrong = { ...options, settings: { ...settings, stateDirectory } };
  await assert.rejects(removeNode(wrong), { code: 'NOT_OURS' });
  assert.ok(existsSync(stateDirectory));
});

it('what cannot be removed is told with its folder', async () => {
  place(['etc/cni/net.d/10-weft.conflist']);
  const cniDirectory = join(settings.cniDirectory, '10-weft.conflist'); // no folder
  await assert.rejects(removeNode({ ...options, settings: { ...settings, cniDirectory } }), {
    code: 'ENOTDIR',
    message: /^Cannot remove what Weft has in ".*" \(ENOTDIR\)/,
  });
});
