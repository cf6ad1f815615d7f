// The nftables table "inet weft" on a real kernel: who reaches the tunnel's port, what is masqueraded.
//   pod 10.32.0.2 ─ weave │ node │ eth0 172.31.0.11 ═ eth0 172.31.0.12 (a peer), .77 (a stranger) │ outside
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';

import { openFirewallCounters } from '../../agent/control/node/firewall-counters.ts';
import { makeVeth } from '../../agent/linux/interface.ts';
import { NETLINK_ROUTE, openNetlink } from '../../agent/linux/netlink-socket.ts';
import { type NodeNetwork, openNodeNetwork } from '../../agent/control/node/node-network.ts';
import { openPodLinks, type PodLinks } from '../../agent/control/node/pod-links.ts';
import type { FirewallReason } from '../../proto/drop-reason.ts';
import { parseMac } from '../../proto/address-text.ts';
import {
  enterFreshNamespace,
  makePodNamespace,
  type PodNamespace,
  run,
  settle,
  snmpCounter,
  unwantedDatagrams,
} from './network-namespaces.ts';
import { type AttachedPod, attachPod, DESIRED } from './node-fixture.ts';

enterFreshNamespace();

const links: PodLinks = openPodLinks();
const network: NodeNetwork = openNodeNetwork(process.env['PATH'] ?? '');
const outside: PodNamespace = makePodNamespace();
let pod: AttachedPod;

before(async () => {
  const route = openNetlink(NETLINK_ROUTE);
  makeVeth(route, {
    near: { name: 'eth0', address: parseMac('0e:00:00:00:00:0b') },
    far: { name: 'eth0', address: parseMac('0e:00:00:00:00:0c'), netnsFd: outside.netnsFd },
    mtu: 1500,
  });
  route.close();
  run(
    'ip addr add 172.31.0.11/24 dev eth0; ip link set eth0 up; ip tuntap add dev weft0 mode tun multi_queue',
  );
  outside.run(
    'ip addr add 172.31.0.12/24 dev eth0; ip addr add 172.31.0.77/24 dev eth0; ip link set eth0 up',
  );
  await network.ensure(DESIRED);
  pod = attachPod(links, '10.32.0.2');
  outside.run('ping -c1 -W2 172.31.0.11');
});
after(() => {
  links.detach(pod.request.hostInterface);
  network.close();
});

const refused = (reason: FirewallReason): number =>
  Number(/packets (\d+)/.exec(run(`nft list counter inet weft ${reason}`))?.[1]);

const datagram = (to: string): string => `bash -c 'printf x > /dev/udp/${to}'`;
/** From an address of the sender's choice. */
const datagramFrom = (from: string, to: string): string =>
  `ip route replace ${to.split('/')[0]} dev eth0 src ${from}; ${datagram(to)}; ip route del ${to.split('/')[0]}`;

const arrives = (at: (command: string) => string, send: () => void): void => {
  const before = unwantedDatagrams(at);
  send();
  assert.equal(
    settle(() => unwantedDatagrams(at), before + 1),
    before + 1,
  );
};

const isDropped = (reason: FirewallReason, send: () => void): void => {
  const before = refused(reason);
  const arrived = [run, outside.run].map((at) => unwantedDatagrams(at));
  send();
  assert.equal(
    settle(() => refused(reason), before + 1),
    before + 1,
  );
  assert.deepEqual(
    [run, outside.run].map((at) => unwantedDatagrams(at)),
    arrived,
  );
};

describe('inet weft', () => {
  it('lets a peer reach the tunnel, and no stranger', () => {
    arrives(run, () => outside.run(datagramFrom('172.31.0.12', '172.31.0.11/6784')));
    isDropped('unknown_sender', () => {
      outside.run(datagramFrom('172.31.0.77', '172.31.0.11/6784'));
    });
    // Another port is none of our business.
    arrives(run, () => outside.run(datagramFrom('172.31.0.77', '172.31.0.11/6785')));
  });

  it('lets root send to a tunnel, and no other user', () => {
    arrives(outside.run, () => run(datagram('172.31.0.12/6784')));
    isDropped('process_to_tunnel', () => {
      run(`setpriv --reuid=65534 --clear-groups ${datagram('172.31.0.12/6784')} || true`);
    });
    arrives(outside.run, () => run(`setpriv --reuid=65534 --clear-groups ${datagram('172.31.0.12/6785')}`));
  });

  it('lets no pod reach a tunnel, of a peer or of its own node', () => {
    for (const address of ['172.31.0.12', '172.31.0.11']) {
      isDropped('pod_to_tunnel', () => pod.run(datagram(`${address}/6784`)));
    }
    arrives(outside.run, () => pod.run(datagram('172.31.0.12/6785')));
  });

  it('lets no pod and no other user reach a tunnel by way of a Service', () => {
    run(`nft -f - <<'END'
      table ip services {
        chain prerouting { type nat hook prerouting priority -100; ip daddr 10.96.0.1 udp dport 53 dnat to 172.31.0.12:6784; }
        chain output { type nat hook output priority -100; ip daddr 10.96.0.1 udp dport 53 dnat to 172.31.0.12:6784; }
      }
END`);
    run('ip route add 10.96.0.1 dev eth0');
    isDropped('pod_to_tunnel', () => pod.run(datagram('10.96.0.1/53')));
    isDropped('process_to_tunnel', () => {
      run(`setpriv --reuid=65534 --clear-groups ${datagram('10.96.0.1/53')} || true`);
    });
    run('nft delete table ip services; ip route del 10.96.0.1');
  });

  it('keeps the tunnel out of connection tracking', () => {
    run(`nft -f - <<'END'
      table inet watch {
        chain output { type filter hook output priority 10; udp dport 6784 ct state untracked counter; udp dport 6784 ct state new counter; }
        chain input { type filter hook input priority 10; udp dport 6784 ct state untracked counter; udp dport 6784 ct state new counter; }
      }
END`);
    arrives(outside.run, () => run(datagram('172.31.0.12/6784')));
    arrives(run, () => outside.run(datagramFrom('172.31.0.12', '172.31.0.11/6784')));
    const counts = [...run('nft list table inet watch').matchAll(/counter packets (\d+)/g)].map(([, n]) => n);
    assert.deepEqual(counts, ['1', '0', '1', '0']);
    run('nft delete table inet watch');
  });

  it('masquerades what leaves the range, with UDP ports beside the tunnel, and nothing inside it', () => {
    // The outside has no route back to a pod's own address.
    pod.run('ping -c1 -W2 172.31.0.12');
    outside.run(`nft -f - <<'END'
      table ip watch {
        chain input { type filter hook input priority 0; ip saddr 172.31.0.11 udp sport 6785-65535 counter; ip saddr 10.32.0.0/12 counter; }
      }
END`);
    arrives(outside.run, () => pod.run(datagram('172.31.0.12/7000')));
    const seen = [...outside.run('nft list table ip watch').matchAll(/counter packets (\d+)/g)].map(
      ([, n]) => n,
    );
    assert.deepEqual(seen, ['1', '0']);
    // From the node itself to a pod the source stays what the route says.
    pod.run(`nft -f - <<'END'
      table ip watch { chain input { type filter hook input priority 0; ip saddr 10.32.0.1 counter; }; }
END`);
    arrives(pod.run, () => run(datagram('10.32.0.2/7000')));
    assert.match(pod.run('nft list table ip watch'), /counter packets 1 /);
  });

  it('keeps from the pods the redirects that the kernel makes for them', () => {
    const neighbour = attachPod(links, '10.32.0.3');
    const made = snmpCounter(run, ['Icmp', 'OutRedirects']);
    pod.run('ping -c3 -i0.2 -W2 10.32.0.3');
    assert.ok(snmpCounter(run, ['Icmp', 'OutRedirects']) > made, 'the kernel makes them');
    for (const at of [pod, neighbour]) assert.equal(snmpCounter(at.run, ['Icmp', 'InRedirects']), 0);
    links.detach(neighbour.request.hostInterface);
  });

  it('lets its counters be read over netlink, without those of a namesake, and without tables', () => {
    run(
      "nft -f - <<'END'\n table ip weft { counter unknown_sender { packets 77 bytes 77; }; counter other { }; }\nEND",
    );
    const counters = openFirewallCounters();
    const expected = ['unknown_sender', 'pod_to_tunnel', 'process_to_tunnel'] as const;
    const read = counters.read();
    assert.deepEqual(
      expected.map((reason) => read.get(reason)),
      expected.map(refused),
    );
    assert.ok(expected.every((reason) => refused(reason) > 0));
    assert.deepEqual([read.size, read.get('pod_spoofed'), read.get('pod_ipv6')], [5, 0, 0]);
    run('nft delete table inet weft');
    assert.deepEqual([...counters.read().keys()].sort(), ['pod_ipv6', 'pod_spoofed']);
    run('nft flush ruleset');
    assert.equal(counters.read().size, 0);
    counters.close();
  });
});
