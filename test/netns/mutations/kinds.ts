// What people and programs do to a node by hand, each as one shell command. `event`: the kernel tells of it; `silent`: it does not, so only
// the sweep finds it.
import { randomInt } from '../../support/random.ts';

export interface Target {
  /** The node's blocks. */
  readonly block: string;
  readonly range: string;
  readonly gateway: string;
  /** Host interfaces of the pods that stay. */
  readonly ports: readonly string[];
}

export interface Kind {
  readonly name: string;
  readonly told: 'event' | 'silent';
  readonly command: (target: Target, choose: Choose) => string;
}

/** One of the list, at random. */
export type Choose = <T>(list: readonly T[]) => T;

export const chooser =
  (random: () => number): Choose =>
  (list) =>
    list[randomInt(random, list.length)]!; // !: lists are not empty

const PORT_FLAGS = [
  'hairpin off',
  'learning off',
  'flood off',
  'mcast_flood off',
  'isolated on',
  'guard on',
  'root_block on',
  'neigh_suppress on',
  'state 0',
];
const CHAINS = [
  'inet weft raw_prerouting',
  'inet weft raw_output',
  'inet weft input',
  'inet weft forward',
  'inet weft output',
  'inet weft postrouting',
  'bridge weft prerouting',
  'bridge weft forward',
];
const TABLES = ['inet weft', 'bridge weft'];
const FORWARDING = ['weave', 'weft0', 'eth0'];
const OTHER_MAC = '0e:00:00:00:00:07';

const setting = (name: string, value: number): string => `echo ${value} >/proc/sys/net/ipv4/${name}`;
const event = (name: string, command: Kind['command']): Kind => ({ name, told: 'event', command });
const silent = (name: string, command: Kind['command']): Kind => ({ name, told: 'silent', command });

/** Another bridge, which the run makes at its start. */
export const FOREIGN_BRIDGE = 'foreign0';

export const KINDS: readonly Kind[] = [
  event("delete the range's route", ({ range }) => `ip route del ${range} dev weft0`),
  event("delete the block's route", ({ block }) => `ip route del ${block} dev weave`),
  event('flush our routes', () => 'ip route flush proto 87'),
  event("replace the block's route", ({ block }) => `ip route replace ${block} dev weft0 scope link`),
  event('add a route of ours', () => 'ip route add 10.46.0.0/26 dev weave proto 87'),
  event('remove the address of the bridge', ({ gateway }) => `ip addr del ${gateway}/32 dev weave`),
  event('remove the address of the TUN', ({ gateway }) => `ip addr del ${gateway}/32 dev weft0`),
  event('flush all addresses', () => 'ip addr flush dev weave; ip addr flush dev weft0'),
  event('add an address', () => 'ip addr add 192.0.2.7/24 dev weave'),
  event('down the bridge', () => 'ip link set weave down'),
  event('down the bridge and up again', () => 'ip link set weave down; ip link set weave up'),
  event('delete the bridge', () => 'ip link del weave'),
  event('MTU of the bridge', () => 'ip link set weave mtu 1200'),
  event('MAC of the bridge', () => `ip link set weave address ${OTHER_MAC}`),
  event('spanning tree on the bridge', () => 'ip link set weave type bridge stp_state 1'),
  event('down the TUN', () => 'ip link set weft0 down'),
  event('delete the TUN', () => 'ip link del weft0'),
  event('MTU and queue of the TUN', () => 'ip link set weft0 mtu 1300 txqueuelen 100'),
  event("take a pod's port off the bridge", ({ ports }, choose) => `ip link set ${choose(ports)} nomaster`),
  event(
    "move a pod's port to another bridge",
    ({ ports }, choose) => `ip link set ${choose(ports)} master ${FOREIGN_BRIDGE}`,
  ),
  event("down a pod's port", ({ ports }, choose) => `ip link set ${choose(ports)} down`),
  event(
    "change a flag of a pod's port",
    ({ ports }, choose) => `bridge link set dev ${choose(ports)} ${choose(PORT_FLAGS)}`,
  ),
  event("take a pod's alias", ({ ports }, choose) => `ip link set ${choose(ports)} alias ''`),
  event("rename a pod's port", ({ ports }, choose) => `ip link set ${choose(ports)} name lost0`),
  event("MTU of a pod's port", ({ ports }, choose) => `ip link set ${choose(ports)} mtu 900`),
  event("MAC of a pod's port", ({ ports }, choose) => `ip link set ${choose(ports)} address ${OTHER_MAC}`),
  event("delete a pod's anti-spoof element", ({ ports }, choose) => {
    const port = choose(ports);
    return `nft delete element bridge weft pods { $(nft list set bridge weft pods | grep -o '"${port}" \\. [0-9a-f:]* \\. [0-9.]*') }`;
  }),
  event('flush the set of pods', () => 'nft flush set bridge weft pods'),
  event(
    'add a stray element',
    () => `nft add element bridge weft pods { "vethwestray" . ${OTHER_MAC} . 10.32.0.60 }`,
  ),
  event('flush a table', (_target, choose) => `nft flush table ${choose(TABLES)}`),
  event('delete a table', (_target, choose) => `nft delete table ${choose(TABLES)}`),
  event('flush the ruleset', () => 'nft flush ruleset'),
  event('delete a rule', (_target, choose) => {
    const chain = choose(CHAINS);
    return `nft delete rule ${chain} handle $(nft -a list chain ${chain} | sed -n 's/.*comment.*# handle //p' | head -1)`;
  }),
  event('insert a rule', (_target, choose) => `nft insert rule ${choose(CHAINS)} accept`),
  event('flush and delete a chain', (_target, choose) => {
    const chain = choose(CHAINS);
    return `nft 'flush chain ${chain}; delete chain ${chain}'`;
  }),
  event('delete a peer from its set', () => 'nft flush set inet weft peers'),
  event('forwarding of an interface', (_target, choose) =>
    setting(`conf/${choose(FORWARDING)}/forwarding`, 0),
  ),
  event('ip_forward', () => `${setting('ip_forward', 1)}; ${setting('ip_forward', 0)}`),
  event('rp_filter of the TUN', () => setting('conf/weft0/rp_filter', 1)),
  silent('accept_local of the TUN', () => setting('conf/weft0/accept_local', 0)),
  silent('redirects of the bridge', () => setting('conf/weave/send_redirects', 1)),
];
