// Weft's interfaces and the node's settings for them, held against what control would make (node-network.ts).
import { formatIpv4, formatMac } from '../../../proto/address.ts';
import type { Link, LinkChange } from '../../../proto/rtnetlink-link.ts';
import { bridgeWanted, tunWanted, UNDERLAY_WANTED } from '../../control/node/node-network.ts';
import { BRIDGE, TUN } from '../../control/node/range-conflicts.ts';
import { changeNeeded } from '../../linux/interface.ts';
import type { Check, Found } from '../check.ts';
import {
  agentIsHere,
  bridgeOf,
  gatewayOf,
  hasServed,
  podMtuOf,
  podPorts,
  tunOf,
  underlayOf,
} from '../expected.ts';
import { findWay } from '../route-lookup.ts';
import type { Scene } from '../scene.ts';

/** Setting → as it is and as it should be. */
function differences(link: Link, change: LinkChange): readonly string[] {
  return Object.entries(change).flatMap(([key, wanted]): readonly string[] => {
    if (key === 'inet' || key === 'port' || key === 'bridge') {
      const present = link[key] as Readonly<Record<string, number>> | undefined; // as: settings are numbers
      return Object.entries(wanted as Readonly<Record<string, number>>).map(
        ([name, value]) => `${name} is ${present?.[name] ?? 'unknown'} instead of ${value}`,
      ); // as: settings are numbers
    }
    if (key === 'up') return ['it is down'];
    if (key === 'ipv6Addresses') return ['it makes IPv6 addresses'];
    if (key === 'address') {
      const present = link.address === undefined ? 'none' : formatMac(link.address);
      return [`its MAC address is ${present} instead of ${formatMac(change.address ?? (0 as never))}`];
    }
    const present: unknown = link[key as keyof Link]; // as: a link has what a change has
    return [`${key} is ${JSON.stringify(present)} instead of ${JSON.stringify(wanted)}`];
  });
}

const REASONS: Readonly<Record<string, string>> = {
  forwarding: 'packets of pods are not forwarded over it',
  rp_filter: "the kernel drops what the agent's ICMP errors and remote pods' packets need on that interface",
  accept_local: 'pods are not told of a smaller path MTU, and large transfers hang',
  mtu: 'larger packets than fit are lost without a word, or smaller ones than need be are sent',
  txQueueLength: 'packets are lost while a data plane is replaced, and in bursts',
  send_redirects: 'a pod that is redirected would bypass the routing on which Services depend',
  address: "pods that run have learned the bridge's address and lose their gateway",
};

function compare(link: Link, wanted: LinkChange): readonly Found[] {
  const change = changeNeeded(link, wanted);
  if (change === undefined) return [];
  const words = differences(link, change);
  const named = [change.inet, change.port].flatMap((part) => Object.keys(part ?? {}));
  const why = [...Object.keys(change), ...named]
    .map((key) => REASONS[key])
    .filter((text) => text !== undefined);
  const isGrave = change.up !== undefined || change.inet !== undefined || change.address !== undefined;
  return [
    {
      severity: isGrave || change.mtu !== undefined ? 'error' : 'warning',
      what: `Interface "${link.name}": ${words.join(', ')}`,
      ...(why.length === 0 ? {} : { why: why.join('; ') }),
      repairs: [{ do: 'set_link', name: link.name, change }],
    },
  ];
}

export const bridge: Check = {
  id: 'bridge',
  finds: 'bridge "weave" missing, down, or without its address or settings',
  why: 'every pod of the node is a port of it, and its address is their gateway',
  fix: 'the agent puts it right within seconds; if it does not, see the finding about the agent, or run with --fix',
  needs: ['links', 'addresses'],
  run(scene) {
    const link = bridgeOf(scene);
    const gateway = gatewayOf(scene);
    const mtu = podMtuOf(scene);
    if (link === undefined) {
      return gateway === undefined ? [] : [{ severity: 'error', what: `There is no interface "${BRIDGE}"` }];
    }
    if (link.kind !== 'bridge') {
      return [
        {
          severity: 'error',
          what: `Interface "${BRIDGE}" is of kind "${link.kind ?? 'device'}"`,
          fix: `rename or delete it: ip link delete ${BRIDGE}`,
        },
      ];
    }
    const hasGateway = scene.kernel.addresses.some(
      ({ index, address }) => index === link.index && address === gateway,
    );
    const lacking: readonly Found[] =
      gateway === undefined || hasGateway
        ? []
        : [
            {
              severity: 'error',
              what: `Bridge "${BRIDGE}" lacks its address ${formatIpv4(gateway)}`,
              fix: `ip address add ${formatIpv4(gateway)}/32 dev ${BRIDGE}; the agent does it by itself`,
            },
          ];
    const wanted =
      mtu === undefined || scene.nodeIp === undefined ? undefined : bridgeWanted(scene.nodeIp, mtu);
    return [...lacking, ...(wanted === undefined ? [] : compare(link, wanted))];
  },
};

export const tun: Check = {
  id: 'tun_interface',
  finds: 'interface "weft0" missing, down, or with other settings than Weft\'s',
  why: 'every packet between nodes goes through it',
  fix: "ip link set weft0 up; if it is missing, the agent's next sweep makes it, else delete the agent's pod",
  needs: ['links', 'addresses'],
  run(scene) {
    const link = tunOf(scene);
    const mtu = podMtuOf(scene);
    if (link === undefined) {
      const isExpected = agentIsHere(scene) && hasServed(scene);
      return isExpected ? [{ severity: 'error', what: `There is no interface "${TUN}"` }] : [];
    }
    if (link.kind !== 'tun') {
      return [
        {
          severity: 'error',
          what: `Interface "${TUN}" is of kind "${link.kind ?? 'device'}", not a TUN`,
          fix: `end the program that owns it, or: ip link delete ${TUN}`,
        },
      ];
    }
    return mtu === undefined || !hasServed(scene) ? [] : compare(link, tunWanted(mtu));
  },
};

export const underlay: Check = {
  id: 'underlay',
  finds: 'the underlay interface missing, down, or not forwarding',
  why: 'packets between nodes leave and arrive there',
  fix: 'ip link set INTERFACE up; sysctl -w net.ipv4.conf.INTERFACE.forwarding=1; if the address is missing: WEFT_NODE_IP, or kubelet --node-ip',
  needs: ['links', 'addresses'],
  run(scene) {
    const { nodeIp } = scene;
    const link = underlayOf(scene);
    if (link === undefined) {
      const address = nodeIp === undefined ? undefined : formatIpv4(nodeIp);
      return [
        {
          severity: 'error',
          what:
            address === undefined
              ? 'The address of this node is not known: there is no default route and no WEFT_NODE_IP'
              : `No interface has the node's address ${address}`,
        },
      ];
    }
    const found: Found[] = [];
    if (!link.up || !link.running) {
      found.push({
        severity: 'error',
        what: `Underlay interface "${link.name}" is ${link.up ? 'up without a carrier' : 'down'}`,
        fix: link.up ? 'look at its cable, or the other end of it' : `ip link set ${link.name} up`,
      });
    }
    return [...found, ...(hasServed(scene) ? compare(link, UNDERLAY_WANTED) : [])];
  },
};

const STRICT = 1;

/** sysctl takes dots for slashes, unless slashes are written: names such as bond0.100 have dots of their own. */
const sysctlOf = ({ name }: Link, setting: string): string =>
  name.includes('.') ? `net/ipv4/conf/${name}/${setting}` : `net.ipv4.conf.${name}.${setting}`;

/** Addresses behind the interface whose packets would leave by another one. */
function strangers(scene: Scene, link: Link): readonly string[] {
  const behind =
    link.name === BRIDGE
      ? podPorts(scene).map(({ address }) => address)
      : (scene.traffic?.peers.map(({ address }) => address) ?? []);
  return behind
    .filter((address) => {
      const way = findWay(scene.kernel, { source: scene.nodeIp, destination: address, input: undefined });
      return way.route?.index !== undefined && way.route.index !== link.index;
    })
    .map(formatIpv4);
}

export const reversePath: Check = {
  id: 'rp_filter',
  finds: 'strict reverse path filtering where it drops packets of pods',
  why: 'the kernel drops packets whose way back would be another interface, and counts them nowhere near Weft',
  fix: 'sysctl -w net.ipv4.conf.INTERFACE.rp_filter=2 (and in /etc/sysctl.d, so that it lasts)',
  needs: ['links', 'addresses', 'routes', 'rules'],
  run(scene) {
    const all = scene.sysctls['net/ipv4/conf/all/rp_filter'] ?? 0;
    return [underlayOf(scene), bridgeOf(scene), tunOf(scene)].flatMap((link): readonly Found[] => {
      const own = link?.inet.rp_filter;
      // The kernel takes the larger one of both.
      if (link === undefined || own === undefined || Math.max(own, all) !== STRICT) return [];
      // Strict does no harm where answers leave by the same interface.
      if (link.name !== TUN && strangers(scene, link).length === 0) return [];
      return [
        {
          severity: 'warning',
          what: `rp_filter is strict on "${link.name}" (its own ${own}, conf/all ${all})`,
          fix: `sysctl -w ${sysctlOf(link, 'rp_filter')}=2 (and in /etc/sysctl.d, so that it lasts)`,
          ...(link.name === TUN
            ? { repairs: [{ do: 'set_link' as const, name: TUN, change: { inet: { rp_filter: 2 } } }] }
            : {}),
        },
      ];
    });
  },
};

export const INTERFACE_CHECKS: readonly Check[] = [bridge, tun, underlay, reversePath];
