// What a pod with CAP_NET_RAW may send: the nftables table "bridge weft" on a real kernel. `mallory` forges, `bob` is its neighbour.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';

import { type NodeNetwork, openNodeNetwork } from '../../agent/control/node/node-network.ts';
import { openPodLinks, type PodLinks } from '../../agent/control/node/pod-links.ts';
import { hostMacOf, podMacOf } from '../../agent/control/node/pod-ports.ts';
import { ipv4, mac } from '../../proto/address.ts';
import type { FirewallReason } from '../../proto/drop-reason.ts';
import { parseIpv4, parseMac } from '../../proto/address-text.ts';
import { enterFreshNamespace, furnishNode, run, settle, unwantedDatagrams } from './network-namespaces.ts';
import { type AttachedPod, attachPod, DESIRED, GATEWAY } from './node-fixture.ts';
import {
  arpPacket,
  ETHERTYPE_ARP,
  ETHERTYPE_IPV4,
  ethernetFrame,
  ipv4Packet,
  sendFrame,
} from './raw-frame.ts';

enterFreshNamespace();
furnishNode();

const BROADCAST = mac(0xffffffffffff);
const BRIDGE_MAC = parseMac('02:57:ac:1f:00:0b');
const links: PodLinks = openPodLinks();
const network: NodeNetwork = openNodeNetwork(process.env['PATH'] ?? '');
let mallory: AttachedPod;
let bob: AttachedPod;

before(async () => {
  await network.ensure(DESIRED);
  mallory = attachPod(links, '10.32.0.2');
  bob = attachPod(links, '10.32.0.3');
});
after(() => {
  for (const pod of [mallory, bob]) {
    links.detach(pod.request.hostInterface);
    pod.close();
  }
  network.close();
});

const dropped = (reason: FirewallReason): number =>
  Number(/packets (\d+)/.exec(run(`nft list counter bridge weft ${reason}`))?.[1]);

const reached = (pod: AttachedPod): number => unwantedDatagrams(pod.run);

describe('bridge weft', () => {
  it('lets a pod send with its own addresses', () => {
    mallory.run('ping -c1 -W2 10.32.0.3');
    const forged = dropped('pod_spoofed');
    const before = reached(bob);
    const own = podMacOf(mallory.request.alias);
    const packet = ipv4Packet(mallory.request.address, bob.request.address);
    sendFrame(mallory, ethernetFrame({ to: BRIDGE_MAC, from: own, type: ETHERTYPE_IPV4, payload: packet }));
    assert.equal(
      settle(() => reached(bob), before + 1),
      before + 1,
      'the frame as it should be arrives',
    );
    assert.equal(dropped('pod_spoofed'), forged);
  });

  const strange = parseMac('0e:66:66:66:66:66');
  const forgeries: readonly (readonly [name: string, frame: () => Uint8Array])[] = (() => {
    const own = () => podMacOf(mallory.request.alias);
    const ip = (fields: { from?: () => number; to?: () => number; source?: () => number }) => () =>
      ethernetFrame({
        to: mac((fields.to ?? (() => BRIDGE_MAC))()),
        from: mac((fields.from ?? own)()),
        type: ETHERTYPE_IPV4,
        payload: ipv4Packet(ipv4((fields.source ?? (() => mallory.request.address))()), bob.request.address),
      });
    const arp =
      (fields: { from?: () => number; senderMac?: () => number; sender?: () => number }, operation: 1 | 2) =>
      () =>
        ethernetFrame({
          to: BROADCAST,
          from: mac((fields.from ?? own)()),
          type: ETHERTYPE_ARP,
          payload: arpPacket({
            operation,
            senderMac: mac((fields.senderMac ?? own)()),
            sender: ipv4((fields.sender ?? (() => mallory.request.address))()),
            target: GATEWAY,
          }),
        });
    const bobsMac = (): number => podMacOf(bob.request.alias);
    const bobsIp = (): number => bob.request.address;
    return [
      ["IPv4 with the neighbour's source", ip({ source: bobsIp })],
      ["IPv4 with the gateway's source", ip({ source: () => GATEWAY })],
      ["IPv4 with a peer's source", ip({ source: () => parseIpv4('172.31.0.12') })],
      ['IPv4 with source 0.0.0.0', ip({ source: () => 0 })],
      ['IPv4 from a strange MAC', ip({ from: () => strange })],
      ["IPv4 with the neighbour's MAC and source", ip({ from: bobsMac, source: bobsIp })],
      ["IPv4 from the bridge's MAC", ip({ from: () => BRIDGE_MAC })],
      ["IPv4 from the host's end's MAC", ip({ from: () => hostMacOf(mallory.request.alias) })],
      ["IPv4 straight to the neighbour with the neighbour's source", ip({ to: bobsMac, source: bobsIp })],
      ["ARP that claims the neighbour's address", arp({ sender: bobsIp }, 2)],
      ["ARP that claims the gateway's address", arp({ sender: () => GATEWAY }, 1)],
      ["ARP with the neighbour's hardware address inside", arp({ senderMac: bobsMac }, 2)],
      ['ARP from a strange MAC outside', arp({ from: () => strange }, 1)],
      ["ARP wholly in the neighbour's name", arp({ from: bobsMac, senderMac: bobsMac, sender: bobsIp }, 1)],
      [
        'a VLAN tag around a packet of its own',
        () => {
          const tagged = new Uint8Array(4 + 28);
          tagged.set([0, 5, 8, 0]);
          tagged.set(ipv4Packet(mallory.request.address, bob.request.address), 4);
          return ethernetFrame({ to: BRIDGE_MAC, from: own(), type: 0x8100, payload: tagged });
        },
      ],
      [
        'a frame of a strange kind',
        () => ethernetFrame({ to: BROADCAST, from: own(), type: 0x88cc, payload: new Uint8Array(46) }),
      ],
    ];
  })();

  for (const [name, frame] of forgeries) {
    it(`drops ${name}`, () => {
      const forged = dropped('pod_spoofed');
      const before = reached(bob);
      const table = run('bridge fdb show br weave').split('\n').sort();
      sendFrame(mallory, frame());
      assert.equal(
        settle(() => dropped('pod_spoofed'), forged + 1),
        forged + 1,
      );
      assert.equal(reached(bob), before);
      assert.deepEqual(
        run('bridge fdb show br weave').split('\n').sort(),
        table,
        'the bridge learned nothing',
      );
      assert.doesNotMatch(run('ip neigh show dev weave'), /66:66/);
    });
  }

  it('drops IPv6, router advertisements among them, under its own reason', () => {
    const forged = dropped('pod_spoofed');
    const before = dropped('pod_ipv6');
    const payload = new Uint8Array(56);
    payload.set([0x60, 0, 0, 0, 0, 16, 58, 255]);
    payload.set([0xfe, 0x80], 8);
    payload.set([0xff, 0x02], 24);
    payload.set([1], 39);
    payload.set([134], 40);
    const own = podMacOf(mallory.request.alias);
    sendFrame(
      mallory,
      ethernetFrame({ to: parseMac('33:33:00:00:00:01'), from: own, type: 0x86dd, payload }),
    );
    assert.equal(
      settle(() => dropped('pod_ipv6'), before + 1),
      before + 1,
    );
    assert.equal(dropped('pod_spoofed'), forged);
  });

  it("lets no ARP through to a neighbour, so a pod does not learn its neighbour's MAC", () => {
    mallory.run('ip route add 10.32.0.3/32 dev eth0 scope link');
    assert.equal(mallory.tries('ping -c1 -W1 10.32.0.3'), false);
    assert.doesNotMatch(mallory.run('ip neigh show 10.32.0.3'), /lladdr/);
    mallory.run('ip route del 10.32.0.3/32 dev eth0');
    mallory.run('ping -c1 -W2 10.32.0.3');
  });

  it('drops everything of a port without an element, also when the pod uses ordinary tools', () => {
    mallory.run('ip addr add 10.32.0.50/32 dev eth0');
    assert.equal(mallory.tries('ping -c1 -W1 -I 10.32.0.50 10.32.0.1'), false);
    mallory.run('ip addr del 10.32.0.50/32 dev eth0');
    run('nft flush set bridge weft pods');
    assert.equal(mallory.tries('ping -c1 -W1 10.32.0.1'), false);
  });
});
