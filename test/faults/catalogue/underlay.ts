// Faults between the nodes: firewalls, cables, narrow paths, doubled addresses.
import { ENCLOSURE, runScript } from '../../lab/command.ts';
import type { Fault } from '../fault.ts';
import type { Stage, StageNode } from '../stage.ts';
import { blockingTable, cableOf } from '../hands.ts';

const FAILED = 'weave_connections{state="failed"}';
const lost = (name: string): NonNullable<Fault['log']> => ({
  event: 'connection_failed',
  message: new RegExp(`"${name}"`),
});

const cut =
  (which: 0 | 1 | 2) =>
  async ({ nodes }: Stage) => {
    const cable = cableOf(nodes[which]);
    await runScript(ENCLOSURE, [`ip link set ${cable} down`]);
    return async () => {
      await runScript(ENCLOSURE, [`ip link set ${cable} up`]);
    };
  };

export const UNDERLAY_FAULTS: readonly Fault[] = [
  {
    name: 'blocked-outbound',
    what: "a firewall of the node drops what the agent sends to one peer's UDP port",
    at: 0,
    inject: ({ nodes: [here, there] }) =>
      blockingTable(here, { hook: 'output', rule: `ip daddr ${there.address} udp dport 6784 drop` }),
    check: 'peer_unreachable',
    says: /"node-2".*what this node sends to it is stopped by rule/,
    metric: FAILED,
    log: lost('node-2'),
  },
  {
    name: 'blocked-inbound',
    what: "a firewall of the node drops what one peer sends to the tunnel's port",
    at: 0,
    inject: ({ nodes: [here, there] }) =>
      blockingTable(here, { hook: 'input', rule: `ip saddr ${there.address} udp dport 6784 drop` }),
    check: 'peer_unreachable',
    says: /"node-2".*what it sends is stopped by rule/,
    metric: FAILED,
    log: lost('node-2'),
  },
  {
    name: 'blocked-at-peer',
    what: 'a firewall of another node drops what this one sends to it',
    at: 0,
    inject: ({ nodes: [here, there] }) =>
      blockingTable(there, { hook: 'input', rule: `ip saddr ${here.address} udp dport 6784 drop` }),
    check: 'peer_unreachable',
    says: /"node-2".*its own probes arrive here, its answers to ours do not.*inbound at that node or between/,
    metric: FAILED,
    log: lost('node-2'),
  },
  {
    name: 'mtu-black-hole',
    what: 'a path drops large packets without a word',
    at: 0,
    inject: ({ nodes: [here, there] }) =>
      blockingTable(there, {
        hook: 'prerouting',
        rule: `ip saddr ${here.address} udp dport 6784 meta length > 1350 drop`,
      }),
    check: 'path_mtu',
    says: /"node-2".*takes packets of 1[123]\d\d bytes/,
    metric: 'weft_peer_path_mtu_bytes{peer="node-2"}',
    log: { event: 'path_mtu_lowered', message: /"node-2"/ },
    healsInSeconds: 60,
  },
  {
    name: 'lossy-path',
    what: 'a path loses two packets of three',
    at: 0,
    inject: ({ nodes: [here, there] }) =>
      blockingTable(here, {
        hook: 'prerouting',
        rule: `ip saddr ${there.address} udp dport 6784 numgen random mod 3 < 2 drop`,
      }),
    check: 'peer_loss',
    says: /"node-2".* left \d+% of the last minute's probes/,
    metric: 'weft_peer_probe_loss_ratio{peer="node-2"}',
    healsInSeconds: 90,
  },
  {
    name: 'node-down',
    what: "another node's cable is out",
    at: 0,
    inject: cut(2),
    check: 'peer_unreachable',
    says: /"node-3".*the node is down/,
    metric: FAILED,
    log: lost('node-3'),
  },
  {
    name: 'own-cable-out',
    what: "the node's own cable is out",
    at: 0,
    inject: cut(0),
    check: 'underlay',
    says: /without a carrier/,
    metric: FAILED,
    log: lost('node-3'),
  },
  {
    name: 'duplicate-mac',
    what: 'two nodes have one MAC address on the underlay, as cloned machines have',
    at: 0,
    inject: async ({ nodes: [, second, third] }) => {
      const [mac, own] = await Promise.all([macOf(second), macOf(third)]);
      await runScript(third.place, [`ip link set eth0 address ${mac}`, neighboursAnew(third)]);
      return async () => {
        await runScript(third.place, [`ip link set eth0 address ${own}`, neighboursAnew(third)]);
      };
    },
    check: 'duplicate_identity',
    says: /have one MAC address on the underlay/,
    healsInSeconds: 60,
  },
  {
    name: 'range-overlap',
    what: 'somebody gives the node an address within the range of pods',
    at: 0,
    inject: async ({ nodes: [here] }) => {
      await runScript(here.place, ['ip address add 10.32.3.241/28 dev eth0']);
      return async () => {
        await runScript(here.place, ['ip address del 10.32.3.241/28 dev eth0']);
      };
    },
    check: 'range_overlap',
    says: /10\.32\.3\.24/,
  },
];

const macOf = async ({ place }: StageNode): Promise<string> =>
  (await runScript(place, ['cat /sys/class/net/eth0/address'])).trim();

/** Everybody is told of the new address, as an interface does that comes up. */
const neighboursAnew = ({ address }: StageNode): string =>
  `ip neighbour flush dev eth0; for peer in 1 2 3; do ping -c 1 -W 1 -I ${address} 172.31.0.1 >/dev/null || true; done`;
