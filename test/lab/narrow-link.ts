// Puts a node behind two routers whose link takes less than the other links, and which say nothing about it: packets too large vanish,
// whether or not they have DF (a black hole, RFC 2923 section 2.1).
//
//   underlay ═ out :narrow-a: mid ═══ narrow ═══ mid :narrow-b: in ═ far (bridge) ── u-<node> ═ eth0 :node
//
// The routers answer ARP for what is behind them (proxy_arp), so the nodes know of nothing.
import { ENCLOSURE, runScript } from './command.ts';
import type { NodeNamespace } from './node-namespace.ts';

export interface NarrowLink {
  /** Of both ends at once. */
  readonly setMtu: (mtu: number) => Promise<void>;
  /** Packets that were too large for the link and got lost so far, both ways. */
  readonly lost: () => Promise<number>;
  readonly remove: () => Promise<void>;
}

const SILENT = [
  'table ip narrow {',
  '  counter lost { }',
  '  chain no-icmp { type filter hook output priority 0; ip protocol icmp drop; }',
  // Those without DF come out of the narrow link in fragments.
  '  chain no-fragments { type filter hook prerouting priority -450; ip frag-off & 0x3fff != 0 counter name lost drop; }',
  '}',
].join('\n');

const inside = (router: string, line: string): string => `ip netns exec ${router} ${line}`;

/** Before the node's agent is started. */
export async function createNarrowLink({ cable, address }: NodeNamespace): Promise<NarrowLink> {
  const routers = ['narrow-a', 'narrow-b'];
  await runScript(ENCLOSURE, [
    'ip link add far type bridge stp_state 0 forward_delay 0 mcast_snooping 0',
    'ip link set far up',
    `ip link set ${cable} master far`,
    ...routers.flatMap((router) => [
      `ip netns add ${router}`,
      inside(router, 'ip link set lo up'),
      inside(router, `sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'`),
      inside(router, `nft '${SILENT}'`),
    ]),
    'ip link add narrow-out type veth peer name out netns narrow-a',
    'ip link set narrow-out master underlay up',
    'ip link add narrow-in type veth peer name in netns narrow-b',
    'ip link set narrow-in master far up',
    inside('narrow-a', 'ip link add mid type veth peer name mid netns narrow-b'),
    ...['out', 'mid'].map((name) => inside('narrow-a', `ip link set ${name} up`)),
    ...['in', 'mid'].map((name) => inside('narrow-b', `ip link set ${name} up`)),
    ...[
      ['narrow-a', 'out'],
      ['narrow-b', 'in'],
    ].map(([router = '', name = '']) =>
      inside(
        router,
        `sh -c 'echo 1 >/proc/sys/net/ipv4/conf/${name}/proxy_arp; echo 0 >/proc/sys/net/ipv4/neigh/${name}/proxy_delay'`,
      ),
    ),
    inside('narrow-a', 'ip address add 172.31.254.1/16 dev out'),
    inside('narrow-a', 'ip address add 192.168.77.1/30 dev mid'),
    inside('narrow-a', `ip route add ${address}/32 via 192.168.77.2`),
    inside('narrow-b', 'ip address add 172.31.254.2/32 dev in'),
    inside('narrow-b', 'ip address add 192.168.77.2/30 dev mid'),
    inside('narrow-b', `ip route add ${address}/32 dev in`),
    inside('narrow-b', 'ip route add 172.31.0.0/16 via 192.168.77.1'),
  ]);
  return {
    setMtu: async (mtu) => {
      await runScript(
        ENCLOSURE,
        routers.map((router) => inside(router, `ip link set mid mtu ${mtu}`)),
      );
    },
    lost: async () => {
      const text = await runScript(
        ENCLOSURE,
        routers.map((router) => inside(router, 'nft list counter ip narrow lost')),
      );
      return [...text.matchAll(/packets (\d+)/g)].reduce((sum, [, count]) => sum + Number(count), 0);
    },
    remove: async () => {
      await runScript(ENCLOSURE, [
        ...routers.map((router) => `ip netns delete ${router}`),
        `ip link set ${cable} master underlay`,
        'ip link delete far',
      ]);
    },
  };
}
