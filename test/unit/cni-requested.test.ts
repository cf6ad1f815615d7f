// What a runtime may ask for, and results behind those of an earlier plugin.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { formatIpv4, formatMac, ipv4, mac } from '../../proto/address.ts';
import { chainResult } from '../../proto/cni-chain.ts';
import { decodeRequested } from '../../proto/cni-requested.ts';
import { formatResult } from '../../proto/cni.ts';
import { formatAlias, addressOfAlias, podMacOf, requestedMacOf } from '../../agent/control/node/pod-ports.ts';

const NO_ARGS = { address: undefined, mac: undefined };

const asked = (config: object, args: { address?: string; mac?: string } = {}): string => {
  const answer = decodeRequested({ ...config }, { ...NO_ARGS, ...args });
  if (!answer.ok) return String(answer.error.code);
  const { address, mac } = answer.value;
  const words = [address === undefined ? '-' : formatIpv4(address), mac === undefined ? '-' : formatMac(mac)];
  return words.join(' ');
};

test('decodeRequested: the capability goes before args, args before CNI_ARGS; empty is not given', () => {
  const args = { address: '10.32.0.3/12', mac: '0e:00:00:00:00:03' };
  const ofArgs = { args: { cni: { ips: ['10.32.0.2'] } } };
  assert.equal(asked({}), '- -');
  assert.equal(asked({}, args), '10.32.0.3 0e:00:00:00:00:03');
  assert.equal(asked(ofArgs, args), '10.32.0.2 0e:00:00:00:00:03');
  const both = { ...ofArgs, runtimeConfig: { ips: ['10.32.0.1/32'], mac: '0E:00:00:00:00:01' } };
  assert.equal(asked(both, args), '10.32.0.1 0e:00:00:00:00:01');
  for (const empty of [null, [], '', undefined]) {
    assert.equal(
      asked({ ...ofArgs, runtimeConfig: { ips: empty, mac: empty === null ? null : '' } }),
      '10.32.0.2 -',
    );
  }
  for (const other of [null, 7, 'x', []]) assert.equal(asked({ runtimeConfig: other, args: other }), '- -');
});

test('decodeRequested: what it must refuse, with the code of its place', () => {
  for (const ips of [
    '10.32.0.1',
    ['x'],
    ['10.32.0'],
    ['10.32.0.1/33'],
    ['10.32.0.1/'],
    [['10.32.0.1']],
    {},
    7,
    true,
  ]) {
    assert.equal(asked({ runtimeConfig: { ips } }), '7', JSON.stringify(ips));
    assert.equal(asked({ args: { cni: { ips } } }), '7', JSON.stringify(ips));
  }
  for (const ips of [['10.32.0.1', '10.32.0.2'], ['::1'], ['10.32.0.1', 'fd00::1/64']]) {
    assert.equal(asked({ runtimeConfig: { ips } }), '2', JSON.stringify(ips));
  }
  for (const address of ['x', '10.32.0', '10.32.0.1/x', '010.32.0.1'])
    assert.equal(asked({}, { address }), '4');
  const macs = [
    'x',
    '01:00:00:00:00:00',
    'ff:ff:ff:ff:ff:ff',
    '00:00:00:00:00:00',
    '0e-00-00-00-00-01',
    '0e:00:00:00:00',
  ];
  for (const text of macs) {
    assert.equal(asked({ runtimeConfig: { mac: text } }), '7', text);
    assert.equal(asked({}, { mac: text }), '4', text);
  }
  assert.equal(asked({ runtimeConfig: { mac: {} } }), '7');
});

test('an alias records a MAC that was asked for, and only that', () => {
  const identity = { containerId: 'c1', interfaceName: 'eth0', address: ipv4(0x0a200005) };
  const derived = formatAlias({ ...identity, mac: undefined });
  const wanted = mac(0x020000000001);
  const requested = formatAlias({ ...identity, mac: wanted });
  assert.deepEqual([derived, requested], ['weft:c1:eth0:10.32.0.5', 'weft:c1:eth0:020000000001:10.32.0.5']);
  assert.deepEqual([derived, requested].map(addressOfAlias), [identity.address, identity.address]);
  assert.deepEqual([derived, requested].map(requestedMacOf), [undefined, wanted]);
  assert.deepEqual([podMacOf(requested), podMacOf(derived) === wanted], [wanted, false]);
  const longest = { containerId: 'c'.repeat(200), interfaceName: 'i'.repeat(15), address: ipv4(0xffffffff) };
  assert.ok(formatAlias({ ...longest, mac: wanted }).length <= 255, 'what the kernel keeps');
});

test('chainResult: all of the earlier result, ours behind it, and its own where there is none', () => {
  const result = {
    host: { name: 'vethwe012345678', mac: mac(0x0e0000000001) },
    pod: { name: 'eth0', mac: mac(0x0e0000000002), sandbox: '/var/run/netns/c1' },
    mtu: 1450,
    address: ipv4(0x0a200005),
    gateway: ipv4(0x0a200001),
  };
  const own = formatResult('1.1.0', result, { domain: 'a' });
  assert.deepEqual(chainResult(undefined, own), own);
  assert.deepEqual(chainResult({}, own), own);
  const earlier = { cniVersion: '1.1.0', interfaces: [{ name: 'x' }], ips: null, dns: {}, more: [1] };
  const chained = chainResult(earlier, own);
  assert.deepEqual(chained['interfaces'], [{ name: 'x' }, ...own.interfaces]);
  assert.deepEqual(chained['ips'], [{ ...own.ips[0], interface: 2 }]);
  assert.deepEqual([chained['routes'], chained['dns'], chained['more']], [own.routes, { domain: 'a' }, [1]]);
});

test('formatResult: a table of its own is told from 1.1.0 on; before, its route is left out', () => {
  const result = {
    host: { name: 'h', mac: mac(1) },
    pod: { name: 'net1', mac: mac(2), sandbox: '/x' },
    mtu: 1450,
    address: ipv4(0x0a200005),
    gateway: ipv4(0x0a200001),
    routeTable: 0x0a200005,
  };
  assert.deepEqual(formatResult('1.1.0', result, {}).routes, [
    { dst: '0.0.0.0/0', gw: '10.32.0.1', table: 0x0a200005 },
  ]);
  assert.deepEqual(formatResult('1.0.0', result, {}).routes, []);
});
