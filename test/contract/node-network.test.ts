// NodeNetwork on a real kernel, in a fresh network namespace:
//   eth0 172.31.0.11/24 ═ switch0      weave 10.32.0.1/32      weft0 (TUN)
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';

import {
  findRangeConflicts,
  type NodeNetwork,
  openNodeNetwork,
} from '../../agent/control/node/node-network.ts';
import { textsOf } from '../../agent/control/repair.ts';
import { OperationError } from '../../agent/operation-error.ts';
import { parseCidr, parseIpv4 } from '../../proto/address-text.ts';
import { enterFreshNamespace, furnishNode, json, run, tries } from './network-namespaces.ts';
import { DESIRED } from './node-fixture.ts';

enterFreshNamespace();
furnishNode();

const linkOf = (name: string): Record<string, unknown> => json(run(`ip -d -j link show ${name}`))[0]!; // !: ip fails when there is none
const setting = (name: string, key: string): string =>
  run(`cat /proc/sys/net/ipv4/conf/${name}/${key}`).trim();
const routes = (): readonly unknown[] =>
  json(run('ip -j route show proto 87'))
    .map(({ dst, dev, prefsrc, scope }) => ({ dst, dev, prefsrc, scope }))
    .sort((a, b) => String(a.dst).localeCompare(String(b.dst)));

describe('NodeNetwork', () => {
  let network: NodeNetwork;

  before(() => {
    network = openNodeNetwork(process.env['PATH'] ?? '');
  });
  after(() => {
    network.close();
  });

  it('makes everything on a bare node, and nothing the second time', async () => {
    const made = textsOf(await network.ensure(DESIRED));
    assert.ok(made.includes('made bridge "weave"'), made.join('\n'));
    assert.ok(made.includes('made nftables table "inet weft"'), made.join('\n'));
    assert.deepEqual(await network.ensure(DESIRED), []);

    const bridge = linkOf('weave');
    assert.equal(bridge['address'], '02:57:ac:1f:00:0b');
    assert.equal(bridge['mtu'], 1400);
    assert.equal(bridge['inet6_addr_gen_mode'], 'none');
    const tun = linkOf('weft0');
    assert.equal(tun['mtu'], 1400);
    assert.equal(tun['txqlen'], 10_000);
    for (const name of ['weave', 'weft0']) {
      assert.equal(setting(name, 'forwarding'), '1', name);
      assert.equal(setting(name, 'send_redirects'), '0', name);
      const [shown] = json(run(`ip -4 -j addr show ${name}`));
      const addresses = shown?.['addr_info'] as readonly Record<string, unknown>[]; // as: ip's own form
      assert.deepEqual(
        addresses.map(({ local, prefixlen }) => `${String(local)}/${String(prefixlen)}`),
        ['10.32.0.1/32'],
      );
    }
    assert.equal(setting('weft0', 'accept_local'), '1');
    assert.equal(setting('eth0', 'forwarding'), '1');
    assert.deepEqual(routes(), [
      { dst: '10.32.0.0/12', dev: 'weft0', prefsrc: '10.32.0.1', scope: 'link' },
      { dst: '10.32.0.0/26', dev: 'weave', prefsrc: '10.32.0.1', scope: 'link' },
    ]);
  });

  it('finds nothing to do on what an earlier process made', async () => {
    const other = openNodeNetwork(process.env['PATH'] ?? '');
    try {
      assert.deepEqual(await other.ensure(DESIRED), []);
    } finally {
      other.close();
    }
  });

  const damages = [
    ['ip route del 10.32.0.0/12 dev weft0', 'set route 10.32.0.0/12 via "weft0"', 'route'],
    ['ip route del 10.32.0.0/26 dev weave', 'set route 10.32.0.0/26 via "weave"', 'route'],
    ['ip addr del 10.32.0.1/32 dev weave', 'added address 10.32.0.1/32 to "weave"', 'address'],
    ['ip addr del 10.32.0.1/32 dev weft0', 'added address 10.32.0.1/32 to "weft0"', 'address'],
    ['ip addr add 10.32.0.7/12 dev weave', 'removed address 10.32.0.7/12 from "weave"', 'address'],
    ['ip link set weave down', 'set up of interface "weave"', 'bridge'],
    ['ip link del weave', 'made bridge "weave"', 'bridge'],
    ['ip link set weave address 0e:00:00:00:00:07', 'set address of interface "weave"', 'bridge'],
    ['ip link set weft0 mtu 1500 txqueuelen 500', 'set mtu, txQueueLength of interface "weft0"', 'interface'],
    ['echo 0 > /proc/sys/net/ipv4/conf/eth0/forwarding', 'set forwarding of interface "eth0"', 'interface'],
    ['ip route add 10.40.0.0/26 dev weave proto 87', 'removed route 10.40.0.0/26', 'route'],
    ['nft delete table inet weft', 'made nftables table "inet weft"', 'nftables'],
    ['nft delete table bridge weft', 'made nftables table "bridge weft"', 'nftables'],
    ['nft flush ruleset', 'made nftables table "inet weft"', 'nftables'],
    [
      'nft flush chain inet weft raw_prerouting',
      'made nftables rules of chain "inet weft raw_prerouting"',
      'nftables',
    ],
    [
      'nft flush table inet weft; nft delete counter inet weft unknown_sender',
      'made nftables counter "inet weft unknown_sender"',
      'nftables',
    ],
    [
      'nft flush table bridge weft; nft delete counter bridge weft pod_spoofed',
      'made nftables counter "bridge weft pod_spoofed"',
      'nftables',
    ],
    [
      "nft flush table inet weft; nft delete set inet weft peers; nft 'add set inet weft peers { type mark; }'",
      'restored nftables set "inet weft peers"',
      'nftables',
    ],
    ['nft add chain inet weft extra', 'removed nftables chain "inet weft extra"', 'nftables'],
    [
      "nft 'add chain bridge weft extra; add rule bridge weft prerouting jump extra'",
      'removed nftables chain "bridge weft extra"',
      'nftables',
    ],
    [
      "nft 'delete chain inet weft input; add chain inet weft input { type filter hook input priority 7; }'",
      'restored nftables chain "inet weft input"',
      'nftables',
    ],
    [
      "nft 'flush chain inet weft raw_prerouting; add rule inet weft raw_prerouting udp dport 6784 counter drop'",
      'restored nftables rules of chain "inet weft raw_prerouting"',
      'nftables',
    ],
    [
      'nft insert rule bridge weft prerouting accept',
      'restored nftables rules of chain "bridge weft prerouting"',
      'nftables',
    ],
    [
      'nft delete element inet weft peers { 172.31.0.12 }',
      'restored nftables set "inet weft peers"',
      'nftables',
    ],
    [
      'nft flush chain bridge weft prerouting; nft delete chain bridge weft prerouting',
      'made nftables chain "bridge weft prerouting"',
      'nftables',
    ],
  ] as const;
  for (const [damage, text, object] of damages) {
    it(`repairs "${damage}"`, async () => {
      run(damage);
      const repaired = await network.ensure(DESIRED);
      assert.equal(
        repaired.find((repair) => repair.text === text)?.object,
        object,
        textsOf(repaired).join('\n'),
      );
      assert.deepEqual(await network.ensure(DESIRED), []);
    });
  }

  it('replaces peers, rules and what was damaged, while the counters go on', async () => {
    const counted = (): number =>
      Number(/packets (\d+)/.exec(run('nft list counter inet weft unknown_sender'))?.[1]);
    run("printf x > /dev/udp/127.0.0.1/6784 || bash -c 'printf x > /dev/udp/127.0.0.1/6784'");
    assert.equal(counted(), 1, 'a datagram to the tunnel port that is from no peer');
    const peerAddresses = [parseIpv4('172.31.0.13'), parseIpv4('172.31.0.14')];
    assert.deepEqual(textsOf(await network.ensure({ ...DESIRED, peerAddresses })), [
      'changed nftables set "inet weft peers"',
    ]);
    assert.match(run('nft list set inet weft peers'), /172\.31\.0\.11, 172\.31\.0\.13,\s*172\.31\.0\.14/);
    assert.equal(counted(), 1);
    await network.ensure({ ...DESIRED, masquerade: false });
    assert.equal(counted(), 1, 'after other rules');
    run('nft flush table inet weft; nft flush table bridge weft');
    await network.ensure({ ...DESIRED, peerAddresses });
    assert.equal(counted(), 1, 'after a flush by hand');
    run("bash -c 'printf x > /dev/udp/127.0.0.1/6784'");
    assert.equal(counted(), 2, 'the rules count in it');
    const other = openNodeNetwork(process.env['PATH'] ?? '');
    await other.ensure(DESIRED);
    other.close();
    assert.equal(counted(), 2, 'after a restart of the agent');
  });

  it('masquerades only when asked, and moves with the range, the gateway and the MTU', async () => {
    await network.ensure(DESIRED);
    assert.match(run('nft list chain inet weft postrouting'), /masquerade fully-random/);
    const changed = {
      ...DESIRED,
      range: parseCidr('10.48.0.0/13'),
      gateway: parseIpv4('10.48.1.1'),
      blocks: [parseCidr('10.48.1.0/26'), parseCidr('10.48.1.64/26')],
      mtu: 1350,
      masquerade: false,
    };
    await network.ensure(changed);
    assert.doesNotMatch(run('nft list chain inet weft postrouting'), /masquerade/);
    assert.equal(linkOf('weave')['mtu'], 1350);
    assert.equal(routes().length, 3);
    await network.ensure(DESIRED);
    assert.equal(routes().length, 2);
    assert.deepEqual(await network.ensure(DESIRED), []);
  });

  it('leaves addresses and routes while the gateway is not known, and makes only the route of the range', async () => {
    const unknown = { ...DESIRED, gateway: undefined, blocks: [] };
    assert.deepEqual(await network.ensure(unknown), []);
    assert.equal(routes().length, 2);
    run('ip route flush proto 87; ip addr flush dev weave; ip addr flush dev weft0');
    assert.deepEqual(textsOf(await network.ensure(unknown)), ['set route 10.32.0.0/12 via "weft0"']);
    assert.deepEqual(await network.ensure(unknown), []);
    assert.doesNotMatch(run('ip -4 addr show weave'), /inet/);
    await network.ensure(DESIRED);
  });

  it('answers calls at the same time one after the other', async () => {
    run('ip route del 10.32.0.0/12 dev weft0');
    const [first, second] = await Promise.all([network.ensure(DESIRED), network.ensure(DESIRED)]);
    assert.deepEqual([first.length, second.length], [1, 0]);
  });
});

describe('NodeNetwork with something in the way', () => {
  const conflicts = [
    {
      name: 'an address of the range on another interface',
      make: 'ip addr add 10.33.0.5/24 dev eth0',
      undo: 'ip addr del 10.33.0.5/24 dev eth0',
      code: 'RANGE_OVERLAP',
      says: /address 10\.33\.0\.5\/24 on "eth0".*IPALLOC_RANGE/,
    },
    {
      name: 'a route into the range',
      make: 'ip route add 10.40.0.0/16 via 172.31.0.1',
      undo: 'ip route del 10.40.0.0/16',
      code: 'RANGE_OVERLAP',
      says: /route 10\.40\.0\.0\/16 on "eth0"/,
    },
    {
      name: 'a route around the range',
      make: 'ip route add 10.0.0.0/8 via 172.31.0.1',
      undo: 'ip route del 10.0.0.0/8',
      code: 'RANGE_OVERLAP',
      says: /route 10\.0\.0\.0\/8 on "eth0"/,
    },
    {
      name: 'a blackhole route in the range',
      make: 'ip route add blackhole 10.41.0.0/16',
      undo: 'ip route del blackhole 10.41.0.0/16',
      code: 'RANGE_OVERLAP',
      says: /route 10\.41\.0\.0\/16/,
    },
    {
      name: 'a "weave" that is no bridge',
      make: 'ip link del weave; ip link add weave type veth peer name weave1',
      undo: 'ip link del weave',
      code: 'FOREIGN_INTERFACE',
      says: /"weave".*"veth".*ip link delete weave/,
    },
    {
      name: 'a "weft0" that is no TUN',
      make: 'ip tuntap del dev weft0 mode tun multi_queue; ip link add weft0 type bridge',
      undo: 'ip link del weft0; ip tuntap add dev weft0 mode tun multi_queue',
      code: 'FOREIGN_INTERFACE',
      says: /"weft0".*"bridge"/,
    },
    {
      name: 'a "weft0" that is a TAP',
      make: 'ip tuntap del dev weft0 mode tun multi_queue; ip tuntap add dev weft0 mode tap',
      undo: 'ip tuntap del dev weft0 mode tap; ip tuntap add dev weft0 mode tun multi_queue',
      code: 'FOREIGN_INTERFACE',
      says: /"weft0".*"tap"/,
    },
    {
      name: 'no "weft0"',
      make: 'ip tuntap del dev weft0 mode tun multi_queue',
      undo: 'ip tuntap add dev weft0 mode tun multi_queue',
      code: 'TUN_MISSING',
      says: /"weft0".*keeper/,
    },
    {
      name: "no interface with the node's address",
      make: 'ip addr del 172.31.0.11/24 dev eth0',
      undo: 'ip addr add 172.31.0.11/24 dev eth0; ip route replace default via 172.31.0.1',
      code: 'UNDERLAY_MISSING',
      says: /"172\.31\.0\.11"/,
    },
  ];
  for (const { name, make, undo, code, says } of conflicts) {
    it(`names ${name}, and works again without it`, async () => {
      const network = openNodeNetwork(process.env['PATH'] ?? '');
      try {
        run(make);
        await assert.rejects(network.ensure(DESIRED), (error) => {
          assert.ok(error instanceof OperationError);
          assert.equal(error.code, code);
          assert.match(error.message, says);
          return true;
        });
        run(undo);
        await network.ensure(DESIRED);
        assert.deepEqual(await network.ensure(DESIRED), []);
      } finally {
        network.close();
      }
    });
  }

  it('lists conflicts before anything is made, and takes the two halves of a VPN for a default route', () => {
    assert.deepEqual(findRangeConflicts(parseCidr('10.32.0.0/12')), []);
    assert.deepEqual(findRangeConflicts(parseCidr('172.16.0.0/12')), [
      'address 172.31.0.11/24 on "eth0"',
      'route 172.31.0.0/24 on "eth0"',
    ]);
    run('ip route add 0.0.0.0/1 via 172.31.0.1');
    assert.deepEqual(findRangeConflicts(parseCidr('10.32.0.0/12')), []);
    assert.ok(tries('ip route del 0.0.0.0/1'));
  });

  it('says that nft is missing', () => {
    const usual = ['/usr/sbin/nft', '/sbin/nft', '/usr/local/sbin/nft', '/usr/bin/nft'].filter((path) =>
      tries(`test -x ${path}`),
    );
    assert.ok(usual.length > 0, 'this test needs nft where programs usually are');
    // Hidden in a mount namespace of its own: the machine's stay as they are.
    const hide = usual.map((path) => `mount --bind /dev/null ${path}`).join('; ');
    const program = `import('./agent/linux/nft.ts').then(({ openNft }) => openNft('/nowhere')).catch((error) => console.log(error.code, error.message));`;
    const said = run(
      `unshare -m sh -c '${hide}; exec ${process.execPath} --input-type=module' <<'END'\n${program}\nEND\n`,
    );
    assert.match(
      said,
      /^NFT_MISSING Cannot find the program "nft" in \/nowhere.*install the package nftables/,
    );
  });
});
