// The nftables tables of a node as data: `inet weft` (the tunnel's guard, masquerade) and `bridge weft` (anti-spoof on the pods' ports).
// Pure. Fail closed: with an empty set of peers nobody reaches the tunnel, with an empty set of pods no pod sends.
// `bridge weft` never loses its set of pods by an update; `inet weft` is replaced whole. JSON as in libnftables-json(5).
import { type Cidr, formatIpv4, type Ipv4 } from '../../proto/address.ts';

export interface FirewallDesired {
  readonly range: Cidr;
  readonly tunnelPort: number;
  /** Underlay addresses of all nodes, this one included. */
  readonly peerAddresses: readonly Ipv4[];
  readonly masquerade: boolean;
}

type Json = Readonly<Record<string, unknown>>;

const NAME = 'weft';
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
const counter: Json = { counter: { packets: 0, bytes: 0 } };
const drop: Json = { drop: null };
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
    does: [fromPods, tunnel, toPeers, counter, drop],
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
          does: [tunnel, toThisNode, match(field('ip', 'saddr'), '@peers', '!='), counter, drop],
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
          does: [tunnel, toPeers, match(meta('skuid'), 0, '!='), counter, drop],
        },
        {
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
      { comment: 'no IPv6 yet', does: [match(field('ether', 'type'), 'ip6'), counter, drop] },
      { comment: 'forged', does: [counter, drop] },
    ],
  },
  {
    name: 'forward',
    type: 'filter',
    hook: 'forward',
    priority: PRIORITY_RAW,
    rules: [
      {
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
function addChain(family: string, { name, type, hook, priority, rules }: Chain): readonly Json[] {
  const chain = { family, table: NAME, name, type, hook, prio: priority, policy: 'accept' };
  const added = rules.map(({ comment, does }) => ({
    add: { rule: { family, table: NAME, chain: name, comment, expr: does } },
  }));
  return [{ add: { chain } }, ...added];
}

/** Makes sure that there is no such chain, with whatever hook: a plain add changes nothing of one that exists. */
function removeChain(family: string, { name }: Chain): readonly Json[] {
  const chain = { family, table: NAME, name };
  return [{ add: { chain } }, { flush: { chain } }, { delete: { chain } }];
}

const peerElements = (peers: readonly Ipv4[]): readonly Json[] =>
  peers.length === 0
    ? []
    : [{ add: { element: { family: 'inet', table: NAME, name: 'peers', elem: peers.map(formatIpv4) } } }];

/** Both tables anew; the set of pods keeps its elements where it exists. */
export function firewallCommands(desired: FirewallDesired): readonly Json[] {
  const inet = { family: 'inet', name: NAME };
  const bridge = { family: 'bridge', name: NAME };
  return [
    // Adding before deleting: deleting what is not there would fail the transaction.
    { add: { table: inet } },
    { delete: { table: inet } },
    { add: { table: inet } },
    { add: { set: { family: 'inet', table: NAME, name: 'peers', type: 'ipv4_addr' } } },
    ...peerElements(desired.peerAddresses),
    ...inetChains(desired).flatMap((chain) => addChain('inet', chain)),
    { add: { table: bridge } },
    {
      add: {
        set: { family: 'bridge', table: NAME, name: 'pods', type: ['ifname', 'ether_addr', 'ipv4_addr'] },
      },
    },
    ...bridgeChains.flatMap((chain) => removeChain('bridge', chain)),
    ...bridgeChains.flatMap((chain) => addChain('bridge', chain)),
  ];
}

/** The peers alone, keeping the rules' counters. */
export const peerCommands = (peers: readonly Ipv4[]): readonly Json[] => [
  { flush: { set: { family: 'inet', table: NAME, name: 'peers' } } },
  ...peerElements(peers),
];
