// A node with pods on it:   pod eth0 10.32.0.x/32 ═ vethwe… ─ bridge weave 10.32.0.1, whatever is done to it, and kube-proxy beside it
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { describe, it } from 'node:test';

import { openPodGuard } from '../../agent/control/node/pod-guard.ts';
import { ensurePodPorts } from '../../agent/control/node/port-upkeep.ts';
import { textsOf } from '../../agent/control/repair.ts';
import { findLink } from '../../agent/linux/interface.ts';
import { NETLINK_ROUTE, type NetlinkSocket, openNetlink } from '../../agent/linux/netlink-socket.ts';
import { parseIpv4 } from '../../proto/address-text.ts';
import { openFurnishedNode } from './furnished-node.ts';
import { run, settle, unwantedDatagrams } from './network-namespaces.ts';
import { attachPod, DESIRED } from './node-fixture.ts';
import { ipv4Packet } from './raw-frame.ts';
import { openTunQueue } from './tun-queue.ts';

const { network, links, elements } = openFurnishedNode();

describe('NodeNetwork.ensure with pods attached', () => {
  const damages = [
    'ip link del weave',
    'ip link set weave down',
    'ip link set PORT down',
    'ip link set PORT nomaster',
    'bridge link set dev PORT hairpin off',
    'nft flush ruleset',
    'nft delete table bridge weft',
    'nft flush set bridge weft pods',
    'nft add element bridge weft pods { "vethweabcdefghi" . 0e:00:00:00:00:02 . 10.32.0.60 }',
    'nft delete chain bridge weft prerouting',
    'ip addr flush dev weave',
    'ip route flush proto 87',
  ];
  for (const damage of damages) {
    it(`brings the pods back after "${damage}"`, async () => {
      const first = attachPod(links, '10.32.0.12');
      const second = attachPod(links, '10.32.0.13');
      run(damage.replace('PORT', first.request.hostInterface));
      const repaired = await network.ensure(DESIRED);
      assert.notDeepEqual(repaired, []);
      assert.deepEqual(await network.ensure(DESIRED), []);
      for (const { request } of [first, second]) assert.deepEqual(links.inspect(request), []);
      assert.equal(elements().length, 2);
      first.run('ping -c1 -W2 10.32.0.13');
      for (const pod of [first, second]) {
        links.detach(pod.request.hostInterface);
        pod.close();
      }
    });
  }

  it('a port that is taken off the bridge while it looks is no failure, and comes back at the next look', () => {
    const pod = attachPod(links, '10.32.0.16');
    const port = pod.request.hostInterface;
    const netlink = openNetlink(NETLINK_ROUTE);
    const guard = openPodGuard();
    const look = (route: NetlinkSocket): readonly string[] => {
      const bridge = findLink(netlink, 'weave')!; // !: the node is furnished
      return textsOf(ensurePodPorts({ route, guard, bridge, known: [], seen: new Map() }));
    };
    run(`bridge link set dev ${port} hairpin off`);
    const disturbed: NetlinkSocket = {
      ...netlink,
      request(message, action) {
        if (action === `change interface "${port}"`) run(`ip link set ${port} nomaster`);
        return netlink.request(message, action);
      },
    };
    assert.deepEqual(look(disturbed), []);
    assert.deepEqual(look(netlink), [`made "${port}" a port of "weave" again`]);
    assert.deepEqual(links.inspect(pod.request), []);
    guard.close();
    netlink.close();
    links.detach(port);
    pod.close();
  });

  it('keeps the elements of pods when peers or the masquerade setting change', async () => {
    const pod = attachPod(links, '10.32.0.14');
    for (const change of [{ peerAddresses: [parseIpv4('172.31.0.99')] }, { masquerade: false }, {}]) {
      const words = textsOf(await network.ensure({ ...DESIRED, ...change }));
      assert.ok(!words.some((word) => word.includes('pods')), words.join('\n'));
      assert.deepEqual(elements(), [pod.request.hostInterface]);
    }
    links.detach(pod.request.hostInterface);
    pod.close();
  });

  it('takes from the TUN what the data plane sends from the gateway, whatever conf/all/rp_filter is', () => {
    const queue = openTunQueue('weft0');
    const pod = attachPod(links, '10.32.0.15');
    run('ping -c1 -W2 10.32.0.15');
    const received = (): number => unwantedDatagrams(pod.run);
    for (const filter of [0, 1, 2]) {
      run(`echo ${filter} > /proc/sys/net/ipv4/conf/all/rp_filter`);
      for (const source of ['10.32.0.1', '10.40.0.9']) {
        const before = received();
        queue.write(ipv4Packet(parseIpv4(source), pod.request.address));
        assert.equal(settle(received, before + 1), before + 1, `from ${source} with rp_filter ${filter}`);
      }
    }
    run('echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter');
    queue.close();
    links.detach(pod.request.hostInterface);
    pod.close();
  });
});

const BRIDGE_NETFILTER = '/proc/sys/net/bridge/bridge-nf-call-iptables';
const skip = existsSync(BRIDGE_NETFILTER) ? false : 'the kernel has no br_netfilter, or it is not loaded';

describe('pods and Services of one node, as kube-proxy makes them', { skip }, () => {
  for (const callIptables of [0, 1]) {
    it(`a backend, also when it is the caller, answers with bridge-nf-call-iptables=${callIptables}`, () => {
      const first = attachPod(links, '10.32.0.16');
      const second = attachPod(links, '10.32.0.17');
      run(`echo ${callIptables} > ${BRIDGE_NETFILTER}`);
      run(`nft -f - <<'END'
        table ip services {
          chain prerouting { type nat hook prerouting priority -100; ip daddr 10.96.0.1 dnat to 10.32.0.17; ip daddr 10.96.0.2 dnat to 10.32.0.16; }
          chain postrouting { type nat hook postrouting priority 100; ip saddr 10.32.0.16 ip daddr 10.32.0.16 masquerade; }
        }
END`);
      assert.match(first.run('ping -c2 -i0.2 -W2 10.96.0.1'), / 0% packet loss/);
      assert.match(first.run('ping -c2 -i0.2 -W2 10.96.0.2'), / 0% packet loss/);
      run(`nft delete table ip services; echo 0 > ${BRIDGE_NETFILTER}`);
      for (const pod of [first, second]) {
        links.detach(pod.request.hostInterface);
        pod.close();
      }
    });
  }
});
