// Faults of the node's kernel state: routes, rules, interfaces and packet filters that somebody else makes or takes away.
import { ENCLOSURE, runScript } from '../../lab/command.ts';
import type { Fault, Undo } from '../fault.ts';
import { blockingTable, repeatedly } from '../hands.ts';
import type { StageNode } from '../stage.ts';

const done = async (place: StageNode['place'], undo: readonly string[]): Promise<void> => {
  await runScript(place, undo);
};
/** Of what the agent puts right by itself. */
const nothingToUndo: Undo = () => Promise.resolve();

/** The host's end of the node's only pod. */
const POD_PORT = "$(ip -o link show type veth | sed -n 's/^[0-9]*: \\(vethwe[^@:]*\\).*/\\1/p' | head -n 1)";

const repaired = (
  fault: Pick<Fault, 'name' | 'what'> & {
    readonly line: string;
    readonly says: RegExp;
    readonly object: string;
    readonly told?: RegExp;
  },
): Fault => ({
  name: fault.name,
  what: fault.what,
  at: 0,
  inject: async ({ nodes: [{ place }] }) => {
    await done(place, [fault.line]);
    return nothingToUndo;
  },
  check: 'network_contested',
  says: fault.says,
  metric: `weft_repairs_total{object="${fault.object}"}`,
  log: { event: 'network_repaired', message: fault.told ?? fault.says },
  healsInSeconds: 0, // the agent has undone it; the doctor tells of it for a minute more
});

export const KERNEL_FAULTS: readonly Fault[] = [
  repaired({
    name: 'route-deleted',
    what: 'somebody deletes the route of the range',
    line: 'ip route del $(ip route show dev weft0 | cut -d " " -f 1 | head -n 1) dev weft0',
    says: /route/,
    object: 'route',
  }),
  repaired({
    name: 'bridge-down',
    what: 'somebody takes the bridge down',
    line: 'ip link set weave down',
    says: /weave/,
    object: 'bridge',
  }),
  repaired({
    name: 'tables-deleted',
    what: "somebody deletes Weft's packet filter tables, as a firewall that is reloaded does",
    line: 'nft delete table inet weft',
    says: /nftables/,
    object: 'nftables',
  }),
  repaired({
    name: 'tun-deleted',
    what: 'somebody deletes weft0',
    line: 'ip link delete weft0',
    says: /weft0/,
    told: /was deleted and is made again/, // what control sets on it is another line
    object: 'interface',
  }),
  repaired({
    name: 'rp-filter',
    what: 'somebody sets strict reverse path filtering on weft0',
    line: 'echo 1 >/proc/sys/net/ipv4/conf/weft0/rp_filter',
    says: /rp_filter/,
    object: 'interface',
  }),
  repaired({
    name: 'forwarding-off',
    what: 'somebody switches forwarding off',
    line: 'echo 0 >/proc/sys/net/ipv4/conf/weave/forwarding',
    says: /forwarding/,
    object: 'bridge',
  }),
  repaired({
    name: 'pod-unplugged',
    what: "a pod's interface is taken off the bridge",
    line: `ip link set ${POD_PORT} nomaster`,
    says: /vethwe/,
    object: 'pod_port',
  }),
  repaired({
    name: 'pod-disowned',
    what: "a pod's entry is taken out of the anti-spoof set",
    line: 'nft flush set bridge weft pods',
    says: /pods/,
    object: 'pod_element',
  }),
  {
    name: 'contest',
    what: 'a program deletes the route of the range again and again',
    at: 0,
    inject: async ({ nodes: [{ place }] }) =>
      repeatedly(
        place,
        'ip route del $(ip route show dev weft0 | cut -d " " -f 1 | head -n 1) dev weft0 2>/dev/null',
        0.3,
      ),
    check: 'network_contested',
    says: /while the doctor looked/,
    metric: 'weft_repairs_total{object="route"}',
    log: { event: 'network_contested', message: /./ },
    healsInSeconds: 180,
  },
  {
    name: 'foreign-route',
    what: "another program routes a node's pods past the tunnel",
    at: 0,
    inject: async ({ nodes: [{ place }, there] }) => {
      await done(place, [`ip route add ${there.podAddress}/32 via 172.31.0.1 dev eth0`]);
      return () => done(place, [`ip route del ${there.podAddress}/32 via 172.31.0.1 dev eth0`]);
    },
    check: 'range_overlap',
    says: /on "eth0" overlaps the pods' range/,
  },
  {
    name: 'policy-rule',
    what: "a policy rule takes pods' packets to another table",
    at: 0,
    inject: async ({ nodes: [{ place, podAddress }] }) => {
      await done(place, [
        'ip route add default via 172.31.0.1 dev eth0 table 4711',
        `ip rule add from ${podAddress} lookup 4711 priority 100`,
      ]);
      return () =>
        done(place, [`ip rule del from ${podAddress} lookup 4711 priority 100`, 'ip route flush table 4711']);
    },
    check: 'foreign_routes',
    says: /table 4711/,
  },
  {
    name: 'foreign-drop',
    what: "another program's packet filter drops what is forwarded to pods",
    at: 0,
    inject: ({ nodes: [here] }) =>
      blockingTable(here, { hook: 'forward', rule: `ip daddr ${here.podAddress} drop` }),
    check: 'foreign_rules',
    says: /hardening/,
  },
  {
    name: 'foreign-masquerade',
    what: "another program's packet filter rewrites the source of pods' packets",
    at: 0,
    inject: ({ nodes: [here] }) =>
      blockingTable(here, {
        hook: 'postrouting',
        type: 'nat',
        family: 'ip',
        rule: 'oifname weft0 masquerade',
      }),
    check: 'foreign_rules',
    says: /hardening/,
  },
  {
    name: 'leftover',
    what: "another network's bridge is on the node",
    at: 0,
    inject: async ({ nodes: [{ place }] }) => {
      await done(place, ['ip link add cni0 type bridge']);
      return () => done(place, ['ip link delete cni0']);
    },
    check: 'leftovers',
    says: /cni0/,
  },
  {
    name: 'forged-sender',
    what: 'a machine that is no node sends to the tunnel',
    at: 0,
    inject: async ({ nodes: [{ address }] }) =>
      repeatedly(ENCLOSURE, `echo forged >/dev/udp/${address}/6784`, 0.2),
    check: 'refused_packets',
    says: /unknown_sender/,
    metric: 'weft_dropped_packets_total{reason="unknown_sender"}',
  },
  {
    name: 'spoofing-pod',
    what: "a pod sends with another pod's address",
    at: 0,
    inject: async ({ nodes: [{ podPlace }] }) => {
      await done(podPlace(), ['ip address add 10.32.2.99/32 dev eth0']);
      const stop = repeatedly(podPlace(), 'ping -c 1 -W 1 -I 10.32.2.99 10.32.2.1 >/dev/null', 0.2);
      return async () => {
        await stop();
        await done(podPlace(), ['ip address del 10.32.2.99/32 dev eth0']);
      };
    },
    check: 'refused_packets',
    says: /pod_spoofed/,
    metric: 'weft_dropped_packets_total{reason="pod_spoofed"}',
  },
];
