// PodLinks on a real kernel:   pod eth0 10.32.0.x/32 ═ vethwe… ─ bridge weave 10.32.0.1 ─ vethwe… ═ eth0 pod
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { createPodGuard } from '../../agent/control/node/pod-guard.ts';
import { createPodLinks } from '../../agent/control/node/pod-links.ts';
import {
  adoptRouteNetlink,
  NETLINK_NETFILTER,
  NETLINK_ROUTE,
  type NetlinkSocket,
  openNetlink,
} from '../../agent/linux/netlink-socket.ts';
import { OperationError } from '../../agent/operation-error.ts';
import { formatMac } from '../../proto/address.ts';
import { openFurnishedNode } from './furnished-node.ts';
import { json, makePodNamespace, run } from './network-namespaces.ts';
import { attachPod, DESIRED, requestFor } from './node-fixture.ts';

const { network, links, elements } = openFurnishedNode();
const hostPorts = (): readonly unknown[] =>
  json(run('ip -j link show type veth')).map(({ ifname }) => ifname);

describe('PodLinks.attach', () => {
  it('gives a pod its address, routes and port, and two pods reach each other by way of the node', () => {
    const first = attachPod(links, '10.32.0.2');
    const second = attachPod(links, '10.32.0.3');
    const { hostInterface } = first.request;

    const [eth0] = json(first.run('ip -j addr show eth0'));
    const [inet] = (eth0?.['addr_info'] ?? []) as readonly Record<string, unknown>[]; // as: ip's own form
    assert.deepEqual(
      [eth0?.['mtu'], inet?.['local'], inet?.['prefixlen'], inet?.['scope']],
      [1400, '10.32.0.2', 32, 'global'],
    );
    assert.deepEqual(
      json(first.run('ip -j route')).map(({ dst, gateway, scope, dev }) => ({ dst, gateway, scope, dev })),
      [
        { dst: 'default', gateway: '10.32.0.1', scope: undefined, dev: 'eth0' },
        { dst: '10.32.0.1', gateway: undefined, scope: 'link', dev: 'eth0' },
      ],
    );
    assert.equal(json(first.run('ip -j link show lo'))[0]?.['flags']?.toString().includes('UP'), true);

    const [port] = json(run(`ip -d -j link show ${hostInterface}`));
    const info = port?.['linkinfo'] as { info_slave_data: { hairpin: boolean } }; // as: ip's own form
    assert.deepEqual(
      [
        port?.['master'],
        port?.['mtu'],
        port?.['ifalias'],
        port?.['inet6_addr_gen_mode'],
        info.info_slave_data.hairpin,
      ],
      ['weave', 1400, first.request.alias, 'none', true],
    );

    const echo = first.run('ping -c1 -W2 10.32.0.3');
    assert.match(echo, /ttl=63/, 'one hop: routed, not switched');
    assert.match(second.run('ping -c1 -W2 10.32.0.1'), /ttl=64/);
    assert.match(run('ping -c1 -W2 10.32.0.2'), /ttl=64/);
    assert.doesNotMatch(first.run('ip neigh'), /10\.32\.0\.3/, 'the pod asks only the gateway');

    for (const pod of [first, second]) {
      assert.deepEqual(links.inspect(pod.request), []);
      links.detach(pod.request.hostInterface);
      pod.close();
    }
  });

  it('answers the MACs that the interfaces have', () => {
    const pod = makePodNamespace();
    const request = requestFor(pod, '10.32.0.4');
    const link = links.attach(request);
    assert.equal(json(pod.run('ip -j link show eth0'))[0]?.['address'], formatMac(link.podMac));
    assert.equal(
      json(run(`ip -j link show ${request.hostInterface}`))[0]?.['address'],
      formatMac(link.hostMac),
    );
    assert.deepEqual(links.list(), [{ hostInterface: request.hostInterface, alias: request.alias }]);
    links.detach(request.hostInterface);
    pod.close();
  });

  it('refuses a pod that has the interface already, and a host interface that is there', () => {
    const pod = makePodNamespace();
    const request = requestFor(pod, '10.32.0.5');
    pod.run('ip link add eth0 type bridge');
    const portsBefore = hostPorts();
    assert.throws(
      () => links.attach(request),
      (error) =>
        error instanceof OperationError &&
        error.code === 'EEXIST' &&
        error.message.includes('the pod already has an interface "eth0"'),
    );
    assert.deepEqual(hostPorts(), portsBefore);
    assert.deepEqual(elements(), []);
    pod.run('ip link del eth0');
    links.attach(request);
    const other = makePodNamespace();
    assert.throws(
      () => links.attach({ ...request, netnsFd: other.netnsFd, netlinkFd: other.netlinkFd }),
      (error) =>
        error instanceof OperationError && error.code === 'EEXIST' && error.message.includes('the host'),
    );
    // The refused attach must not have taken the attached one down.
    assert.deepEqual(links.inspect(request), []);
    links.detach(request.hostInterface);
    pod.close();
    other.close();
  });

  it('refuses a descriptor that is no route netlink socket, or is of another namespace than the one passed with it', () => {
    const pod = makePodNamespace();
    const other = makePodNamespace();
    const request = requestFor(pod, '10.32.0.6');
    for (const netlinkFd of [pod.netnsFd, other.netlinkFd]) {
      assert.throws(
        () => links.attach({ ...request, netlinkFd }),
        (error) => error instanceof OperationError && error.code === 'BAD_DESCRIPTOR',
      );
      assert.deepEqual(links.list(), []);
      assert.deepEqual(elements(), []);
    }
    pod.close();
    other.close();
  });

  it('leaves nothing behind, whichever request the kernel refuses', () => {
    // Every netlink request of an attach fails in turn.
    let remaining = Infinity;
    const failing = (inner: NetlinkSocket): NetlinkSocket => ({
      request(message, action) {
        remaining -= 1;
        if (remaining === 0) throw new OperationError(`Cannot ${action} (EIO)`, { code: 'EIO' });
        return inner.request(message, action);
      },
      dump: (message, action) => inner.dump(message, action),
      close: () => inner.close(),
    });
    const fragile = createPodLinks({
      route: failing(openNetlink(NETLINK_ROUTE)),
      guard: createPodGuard(failing(openNetlink(NETLINK_NETFILTER))),
      adopt: (fd) => failing(adoptRouteNetlink(fd)),
    });
    const pod = makePodNamespace();
    const request = requestFor(pod, '10.32.0.7');
    const portsBefore = hostPorts();
    let step = 1;
    for (let attached = false; !attached; step += 1) {
      remaining = step;
      try {
        fragile.attach(request);
        attached = true;
      } catch (error) {
        assert.ok(error instanceof OperationError && error.code === 'EIO', String(error));
        assert.deepEqual(hostPorts(), portsBefore, `after step ${step}`);
        assert.deepEqual(elements(), [], `after step ${step}`);
        assert.doesNotMatch(pod.run('ip -o link'), /eth0/, `after step ${step}`);
      }
    }
    assert.ok(step > 10, `an attach has ${step - 2} requests`);
    assert.deepEqual(links.inspect(request), []);
    links.detach(request.hostInterface);
    pod.close();
  });

  it('says what to do when the anti-spoof set or the bridge is missing, and works after the repair', async () => {
    const pod = makePodNamespace();
    const request = requestFor(pod, '10.32.0.8');
    run('nft delete table bridge weft');
    assert.throws(
      () => links.attach(request),
      (error) =>
        error instanceof OperationError && error.code === 'NO_POD_SET' && /try again/.test(error.message),
    );
    run('ip link del weave');
    assert.throws(
      () => links.attach(request),
      (error) => error instanceof OperationError && error.code === 'NO_BRIDGE',
    );
    assert.deepEqual(links.list(), []);
    await network.ensure(DESIRED);
    links.attach(request);
    assert.deepEqual(links.inspect(request), []);
    links.detach(request.hostInterface);
    pod.close();
  });
});

describe('PodLinks.attach of an address that another pod had', () => {
  it('is reached by the first packet: the node forgets the MAC address of the pod before', () => {
    const address = '10.32.0.12';
    const other = attachPod(links, '10.32.0.13'); // with its last port the bridge would lose its carrier, and the node what it learned
    const before = attachPod(links, address);
    assert.match(run(`ping -c1 -W2 ${address}`), /ttl=64/);
    links.detach(before.request.hostInterface);
    const pod = makePodNamespace();
    const request = { ...requestFor(pod, address), alias: `weft:another:eth0:${address}` };
    links.attach(request);
    assert.match(run(`ping -c1 -W2 ${address}`), /ttl=64/);
    links.detach(request.hostInterface);
    links.detach(other.request.hostInterface);
    for (const each of [before, pod, other]) each.close();
  });
});

describe('PodLinks.detach', () => {
  it('is done once and may be called again', () => {
    const pod = attachPod(links, '10.32.0.9');
    const { hostInterface } = pod.request;
    assert.equal(links.detach(hostInterface), true);
    assert.equal(links.detach(hostInterface), false);
    assert.equal(links.detach(hostInterface), false);
    assert.deepEqual(elements(), []);
    assert.doesNotMatch(pod.run('ip -o link'), /eth0/);
    // The namespace can be attached again.
    links.attach(pod.request);
    links.detach(hostInterface);
    pod.close();
  });

  it('removes the element when the kernel has taken the veth away with its namespace', () => {
    const pod = attachPod(links, '10.32.0.10');
    pod.run('ip link del eth0');
    assert.deepEqual(elements(), [pod.request.hostInterface]);
    assert.equal(links.detach(pod.request.hostInterface), true);
    assert.deepEqual(elements(), []);
    pod.close();
  });
});

describe('PodLinks.detachAll', () => {
  it('removes all of them and nothing else, whatever of it is there', () => {
    const podPorts = (): readonly string[] => links.list().map(({ hostInterface }) => hostInterface);
    const pods = ['10.32.0.20', '10.32.0.21', '10.32.0.22', '10.32.0.23'].map((address) =>
      attachPod(links, address),
    );
    const [first, second, gone, stays] = pods;
    assert.ok(first !== undefined && second !== undefined && gone !== undefined && stays !== undefined);
    gone.run('ip link del eth0');
    const doomed = [first, second, gone].map(({ request }) => request.hostInterface);
    links.detachAll([...doomed, 'vethwe000000000']);
    assert.deepEqual(podPorts(), [stays.request.hostInterface]);
    assert.deepEqual(elements(), [stays.request.hostInterface]);
    assert.deepEqual(links.inspect(stays.request), []);
    links.detachAll(doomed);
    links.detachAll([]);
    links.attach(first.request); // the name is free, and in no group that dies again
    links.detachAll([stays.request.hostInterface]);
    assert.deepEqual(podPorts(), [first.request.hostInterface]);
    links.detachAll([first.request.hostInterface]);
    assert.deepEqual([podPorts(), elements()], [[], []]);
    assert.throws(() => links.detachAll(['eth0']));
    for (const pod of pods) pod.close();
  });
});

describe('PodLinks.inspect', () => {
  const damages: readonly (readonly [where: 'host' | 'pod', damage: string, word: RegExp])[] = [
    ['host', 'ip link set PORT down', /"vethwe.*" is down/],
    ['host', 'ip link set PORT nomaster', /no port of bridge "weave"/],
    ['host', 'bridge link set dev PORT hairpin off', /not in hairpin mode/],
    ['host', 'ip link set PORT mtu 1300', /MTU 1300, not 1400/],
    ['host', 'nft flush set bridge weft pods', /anti-spoof element/],
    ['pod', 'ip addr flush dev eth0', /lacks address 10\.32\.0\.11/],
    ['pod', 'ip route del default', /route by default/],
    ['pod', 'ip link set eth0 down', /"eth0" is down/],
    ['pod', 'ip link set eth0 address 0e:00:00:00:00:01', /anti-spoof element/],
    ['pod', 'ip link set eth0 down; ip link set eth0 name eth1', /"eth0" is missing/],
    ['host', 'ip link del PORT', /"vethwe.*" is missing/],
  ];
  for (const [where, damage, word] of damages) {
    it(`notices "${damage}"`, () => {
      const pod = attachPod(links, '10.32.0.11');
      const { hostInterface } = pod.request;
      assert.deepEqual(links.inspect(pod.request), []);
      if (where === 'host') run(damage.replace('PORT', hostInterface));
      else pod.run(damage);
      assert.match(links.inspect(pod.request).join('\n'), word);
      links.detach(hostInterface);
      pod.close();
    });
  }
});
