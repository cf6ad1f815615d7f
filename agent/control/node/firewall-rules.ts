// The nftables tables of a node as data: `inet weft` (the tunnel's guard, masquerade) and `bridge weft` (anti-spoof on the pods' ports).
// Pure. Fail closed: with an empty set of peers nobody reaches the tunnel, with an empty set of pods no pod sends.
// An update replaces chains and peers, never the counters of refused packets or the set of pods. JSON as in libnftables-json(5).
import { type Cidr, formatIpv4, type Ipv4 } from '../../../proto/address.ts';
import { FIREWALL_REASONS, type FirewallReason } from '../../../proto/drop-reason.ts';

export interface FirewallDesired {
  readonly range: Cidr;
  readonly tunnelPort: number;
  /** Underlay addresses of all nodes, this one included. */
  readonly peerAddresses: readonly Ipv4[];
  readonly masquerade: boolean;
}

/** What the tables have already. */
export interface PresentObjects {
  readonly inetChains: readonly string[];
  readonly inetSets: readonly string[];
  readonly bridgeChains: readonly string[];
}

type Family = 'inet' | 'bridge';
type Json = Readonly<Record<string, unknown>>;

export const FIREWALL_TABLE: string = 'weft';
/** In which table a reason's counter is. */
export const COUNTER_FAMILIES: Readonly<Record<FirewallReason, Family>> = {
  unknown_sender: 'inet',
  pod_to_tunnel: 'inet',
  process_to_tunnel: 'inet',
  pod_spoofed: 'bridge',
  pod_ipv6: 'bridge',
};
const PRIORITY_RAW = -300;
const PRIORITY_FILTER = 0;
const PRIORITY_SOURCE_NAT = 100;
const POD_PORTS = 'vethwe*';

const match = (left: Json, right: unknown, op = '=='): Json => ({ match: { op, left, right } });
const field = (protocol: string, name: string): Json => ({ payload: { protocol, field: name } });
const meta = (key: string): Json => ({ meta: { key } });
const prefix = ({ base, prefixLength }: Cidr): Json => ({
  prefix: { addr: formatIpv4(base), len: prefixLength },
});
const drop: Json = { drop: null };
const refuse = (reason: FirewallReason): readonly Json[] => [{ counter: reason }, drop];
const accept: Json = { accept: null };
const notrack: Json = { notrack: null };

const fromPods = match(meta('iifname'), { set: ['weave', 'weft0'] });
const toPeers = match(field('ip', 'daddr'), '@peers');
const toThisNode = match({ fib: { result: 'type', flags: ['daddr'] } }, 'local');

interface Rule {
  readonly comment: string;
  readonly does: readonly Json[];
}

interface Chain {
  readonly name: string;
  readonly type: 'filter' | 'nat';
  readonly hook: string;
  readonly priority: number;
  readonly rules: readonly Rule[];
}

/** UDP ports that masquerade may choose: the longer run beside the tunnel's port, or an answer could arrive on the tunnel. */
const portsBesideTunnel = (tunnelPort: number): readonly [number, number] =>
  tunnelPort <= 33_279 ? [Math.max(tunnelPort + 1, 1024), 65_535] : [1024, tunnelPort - 1];

function masqueradeRules({ range, tunnelPort }: FirewallDesired): readonly Rule[] {
  const leavesRange = [
    match(field('ip', 'saddr'), prefix(range)),
    match(field('ip', 'daddr'), prefix(range), '!='),
    match(field('ip', 'daddr'), { prefix: { addr: '224.0.0.0', len: 4 } }, '!='),
  ];
  const range16 = { range: portsBesideTunnel(tunnelPort) };
  return [
    {
      comment: 'pods to the outside, UDP',
      does: [
        ...leavesRange,
        match(meta('l4proto'), 'udp'),
        { masquerade: { port: range16, flags: 'fully-random' } },
      ],
    },
    {
      comment: 'pods to the outside',
      does: [...leavesRange, { masquerade: { flags: 'fully-random' } }],
    },
  ];
}

function inetChains(desired: FirewallDesired): readonly Chain[] {
  const tunnel = match(field('udp', 'dport'), desired.tunnelPort);
  const podsNeverTunnel: Rule = {
    comment: 'pods never reach a tunnel: masquerade would make them a valid peer',
    does: [tunnel, fromPods, toPeers, ...refuse('pod_to_tunnel')], // the port first: it decides for nearly every packet
  };
  const filter = (hook: string): Chain => ({
    name: hook,
    type: 'filter',
    hook,
    priority: PRIORITY_FILTER,
    // Once more after a Service may have changed the destination.
    rules: [podsNeverTunnel],
  });
  return [
    {
      name: 'raw_prerouting',
      type: 'filter',
      hook: 'prerouting',
      priority: PRIORITY_RAW,
      rules: [
        podsNeverTunnel,
        {
          comment: 'only peers reach the tunnel',
          does: [
            tunnel,
            toThisNode,
            match(field('ip', 'saddr'), '@peers', '!='),
            ...refuse('unknown_sender'),
          ],
        },
        {
          comment: 'the tunnel is not tracked',
          does: [tunnel, toThisNode, match(field('ip', 'saddr'), '@peers'), notrack],
        },
      ],
    },
    {
      name: 'raw_output',
      type: 'filter',
      hook: 'output',
      priority: PRIORITY_RAW,
      rules: [{ comment: 'the tunnel is not tracked', does: [tunnel, toPeers, notrack] }],
    },
    filter('input'),
    filter('forward'),
    {
      name: 'output',
      type: 'filter',
      hook: 'output',
      priority: PRIORITY_FILTER,
      rules: [
        {
          comment: 'only the agent sends to a tunnel',
          does: [tunnel, toPeers, match(meta('skuid'), 0, '!='), ...refuse('process_to_tunnel')],
        },
        {
          // The node's own message, so no refused packet.
          comment: 'a redirected pod would answer past conntrack',
          does: [match(meta('oifname'), 'weave'), match(field('icmp', 'type'), 'redirect'), drop],
        },
      ],
    },
    {
      name: 'postrouting',
      type: 'nat',
      hook: 'postrouting',
      priority: PRIORITY_SOURCE_NAT,
      rules: desired.masquerade ? masqueradeRules(desired) : [],
    },
  ];
}

const inPods = (mac: Json, address: Json): Json =>
  match({ concat: [meta('iifname'), mac, address] }, '@pods');

const bridgeChains: readonly Chain[] = [
  {
    name: 'prerouting',
    type: 'filter',
    hook: 'prerouting',
    priority: PRIORITY_RAW,
    rules: [
      { comment: 'not a pod', does: [match(meta('iifname'), POD_PORTS, '!='), accept] },
      {
        comment: 'a pod with its own addresses',
        does: [
          // Explicit, so that a VLAN tag does not pass.
          match(field('ether', 'type'), 'ip'),
          inPods(field('ether', 'saddr'), field('ip', 'saddr')),
          accept,
        ],
      },
      {
        comment: 'ARP for its own addresses',
        does: [
          match(field('ether', 'type'), 'arp'),
          match(field('arp', 'htype'), 1),
          match(field('arp', 'ptype'), 'ip'),
          match(field('arp', 'hlen'), 6),
          match(field('arp', 'plen'), 4),
          inPods(field('ether', 'saddr'), field('arp', 'saddr ip')),
          inPods(field('arp', 'saddr ether'), field('arp', 'saddr ip')),
          accept,
        ],
      },
      { comment: 'no IPv6 yet', does: [match(field('ether', 'type'), 'ip6'), ...refuse('pod_ipv6')] },
      { comment: 'forged', does: refuse('pod_spoofed') },
    ],
  },
  {
    name: 'forward',
    type: 'filter',
    hook: 'forward',
    priority: PRIORITY_RAW,
    rules: [
      {
        // Copies of a broadcast that the gateway gets too, so no refused packets.
        comment: 'a pod asks only the gateway: everything is routed',
        does: [
          match(meta('iifname'), POD_PORTS),
          match(meta('oifname'), POD_PORTS),
          match(field('ether', 'type'), 'arp'),
          drop,
        ],
      },
    ],
  },
];

/** The chain with its rules. */
function addChain(family: Family, { name, type, hook, priority, rules }: Chain): readonly Json[] {
  const chain = { family, table: FIREWALL_TABLE, name, type, hook, prio: priority, policy: 'accept' };
  const added = rules.map(({ comment, does }) => ({
    add: { rule: { family, table: FIREWALL_TABLE, chain: name, comment, expr: does } },
  }));
  return [{ add: { chain } }, ...added];
}

function removeChains(family: Family, names: readonly string[]): readonly Json[] {
  return [
    // All rules first: one may jump to a chain, or look into a set, that goes.
    { flush: { table: { family, name: FIREWALL_TABLE } } },
    ...names.flatMap((name) => {
      const chain = { family, table: FIREWALL_TABLE, name };
      // Adding before deleting: deleting what is not there any more would fail the transaction.
      return [{ add: { chain } }, { delete: { chain } }];
    }),
  ];
}

/** One that exists keeps its count. */
const addCounters = (family: Family): readonly Json[] =>
  FIREWALL_REASONS.filter((reason) => COUNTER_FAMILIES[reason] === family).map((name) => ({
    add: { counter: { family, table: FIREWALL_TABLE, name } },
  }));

/** Both tables as they should be, whatever they were; the pods and the counters stay where they exist. */
export function firewallCommands(desired: FirewallDesired, present: PresentObjects): readonly Json[] {
  const ofInet = { family: 'inet', table: FIREWALL_TABLE };
  const peers = { ...ofInet, name: 'peers', type: 'ipv4_addr' };
  const pods = {
    family: 'bridge',
    table: FIREWALL_TABLE,
    name: 'pods',
    type: ['ifname', 'ether_addr', 'ipv4_addr'],
  };
  return [
    { add: { table: { family: 'inet', name: FIREWALL_TABLE } } },
    ...addCounters('inet'),
    ...removeChains('inet', present.inetChains),
    ...present.inetSets.map((name) => ({ delete: { set: { ...ofInet, name } } })),
    { add: { set: peers } },
    ...peerCommands(desired.peerAddresses),
    ...inetChains(desired).flatMap((chain) => addChain('inet', chain)),
    { add: { table: { family: 'bridge', name: FIREWALL_TABLE } } },
    ...addCounters('bridge'),
    { add: { set: pods } },
    ...removeChains('bridge', present.bridgeChains),
    ...bridgeChains.flatMap((chain) => addChain('bridge', chain)),
  ];
}

/** The peers alone, leaving the rules. */
export function peerCommands(peers: readonly Ipv4[]): readonly Json[] {
  const set = { family: 'inet', table: FIREWALL_TABLE, name: 'peers' };
  if (peers.length === 0) return [{ flush: { set } }];
  return [{ flush: { set } }, { add: { element: { ...set, elem: peers.map(formatIpv4) } } }];
}
