// The bridge while pods come and go:   pod eth0 10.32.0.2/32, gateway 10.32.0.1 ═ vethwe… ─ bridge weave
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { parseCidr, parseIpv4 } from '../../proto/address-text.ts';
import { openFurnishedNode } from './furnished-node.ts';
import { json, run } from './network-namespaces.ts';
import { attachPod, DESIRED } from './node-fixture.ts';

const { network, links } = openFurnishedNode();

const bridgeAddresses = (): string => {
  const [shown] = json(run('ip -4 -j addr show weave'));
  const addresses = shown?.['addr_info'] as readonly Record<string, unknown>[]; // as: ip's own form
  return addresses.map(({ local }) => local).join(' ');
};

test('the last pod goes: the bridge keeps its MTU, nothing is left to repair', async () => {
  const pod = attachPod(links, '10.32.0.2');
  assert.deepEqual(await network.ensure(DESIRED), []);
  links.detach(pod.request.hostInterface);
  pod.close();
  assert.equal(json(run('ip -j link show weave'))[0]?.['mtu'], DESIRED.mtu);
  assert.deepEqual(await network.ensure(DESIRED), []);
});

test('another first block: pods keep the gateway of their ADD; it goes when there are no pods', async () => {
  const pod = attachPod(links, '10.32.0.2');
  const next = {
    ...DESIRED,
    gateway: parseIpv4('10.32.0.65'),
    blocks: [parseCidr('10.32.0.64/26'), parseCidr('10.32.0.0/26')],
  };
  await network.ensure(next);
  assert.equal(bridgeAddresses(), '10.32.0.1 10.32.0.65');
  assert.match(pod.run('ping -c1 -W2 10.32.0.1'), /ttl=64/);
  assert.deepEqual(await network.ensure(next), []);
  links.detach(pod.request.hostInterface);
  pod.close();
  assert.deepEqual(await network.ensure(next), [
    { object: 'address', text: 'removed address 10.32.0.1/32 from "weave"' },
    { object: 'address', text: 'removed address 10.32.0.1/32 from "weft0"' },
  ]);
  assert.equal(bridgeAddresses(), '10.32.0.65');
});
