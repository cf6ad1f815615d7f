// Alerts about packets: peers that are not reached, or badly; packets that are refused, by what that means; queues that overflow.
import type { RefusalReason } from '../../proto/drop-reason.ts';
import { type Alert, NODE, PER_NODE, once, seenBy } from './alert.ts';

type DropClass =
  | 'forged'
  | 'unknownSender'
  | 'foreignNetwork'
  | 'disagreement'
  | 'damaged'
  | 'kernel'
  | 'ordinary';

/** Reasons by what a person concludes from them. Each is in one class; tests see to it. */
export const DROP_CLASSES: Readonly<Record<DropClass, readonly RefusalReason[]>> = {
  /** From a pod or process of this node that pretends to be another. */
  forged: ['pod_spoofed', 'pod_to_tunnel', 'process_to_tunnel'],
  unknownSender: ['unknown_sender'],
  foreignNetwork: ['vxlan_vni', 'vxlan_flags'],
  /** Nodes do not agree on who holds which address. */
  disagreement: [
    'inner_mac',
    'inner_source_not_owned',
    'inner_destination_not_local',
    'egress_source_not_local',
    'egress_local',
  ],
  damaged: ['truncated', 'inner_header', 'inner_transport', 'egress_truncated'],
  /** The kernel does not take them, or gives what was not asked for. */
  kernel: ['egress_send_failed', 'tun_write_failed', 'egress_too_big', 'egress_unsupported_offload'],
  /** Somebody's mistake that the sender is told of, or nothing at all: on the dashboard, not worth waking anybody. */
  ordinary: [
    'egress_not_ipv4',
    'egress_out_of_range',
    'egress_no_owner',
    'egress_path_mtu',
    'inner_ethertype',
    'pod_ipv6',
  ],
};

const dropsOf = (name: DropClass): string =>
  `weft_dropped_packets_total{reason=~"${DROP_CLASSES[name].join('|')}"}`;

/** More than one packet in ten seconds, by node and reason. */
const steadyDrops = (name: DropClass): string =>
  `sum by (node, instance, reason) (${once(`rate(${dropsOf(name)}[5m])`)}) > 0.1`;

const RATE = '{{ $value | printf "%.1f" }} packets a second';

const LOSS = `(${once('weft_peer_probe_loss_ratio')} > 0.05) < 1`;
/** Without the pod: a day ago it was another one where agents have been replaced since. */
const roundTrip = (when = ''): string =>
  `max by (node, instance, peer) (avg_over_time(weft_peer_round_trip_seconds[10m]${when}))`;
const ROUND_TRIP = roundTrip();

/** But what pods send that no pod network of IPv4 carries. */
const DROPS = `sum ${PER_NODE} (${once('rate(weft_dropped_packets_total{reason!~"pod_ipv6|egress_not_ipv4|inner_ethertype"}[10m])')})`;
const CARRIED = `sum ${PER_NODE} (${once('rate(weft_packets_total[10m])')})`;

const FAILED = `sum ${PER_NODE} (${once('weave_connections{state="failed"}')})`;
const CONNECTIONS = `sum ${PER_NODE} (${once('weave_connections')})`;

const overflow = (series: string): string => `sum ${PER_NODE} (${once(`rate(${series}[5m])`)})`;

export const PEER_ALERTS: readonly Alert[] = [
  {
    name: 'WeftPeerUnreachable',
    expression: `count by (peer) (${once('weft_peer_silence_seconds')} > 600)`,
    minutes: 1,
    severity: 'warning',
    summary: `Node {{ $labels.peer }} has not been heard for 10 minutes by {{ $value }} nodes, such as ${seenBy(`weft_peer_silence_seconds{peer='%s'}`)}.`,
    description:
      'If one node alone does not hear it, the path between the two is cut: "weft doctor" on both. Otherwise it is down or cut off; if it is gone for good, delete its Node.',
  },
  {
    name: 'WeftNodeIsolated',
    expression: `${FAILED} / ${CONNECTIONS} > 0.5 and ${FAILED} > 1`,
    minutes: 3,
    severity: 'critical',
    summary: `Node ${NODE} does not reach {{ $value | humanizePercentage }} of the other nodes.`,
    description:
      'Its pods are cut off. Look at its underlay interface and at firewalls for UDP 6784, both ways: "weft doctor" on it names what it finds.',
  },
  {
    name: 'WeftManyPeersUnreachable',
    expression:
      'sum(weave_connections{state="failed"}) / sum(weave_connections) > 0.1 and count(count by (peer) (weft_peer_silence_seconds)) > 2',
    minutes: 5,
    severity: 'critical',
    summary: '{{ $value | humanizePercentage }} of all connections between nodes are down.',
    description:
      'Look for what the nodes have in common: a switch, an availability zone, a firewall rule for UDP 6784, a roll-out. "weft status peers" of two of them shows who hears whom.',
  },
  {
    name: 'WeftPeerLoss',
    expression: `count by (peer) (${LOSS})`,
    minutes: 10,
    severity: 'warning',
    summary: `More than 5 % of the packets to and from node {{ $labels.peer }} get lost on the way to {{ $value }} nodes, such as ${seenBy(`weft_peer_probe_loss_ratio{peer='%s'}`)}.`,
    description:
      'If it is the same node in all such alerts, look at its interface (errors, drops, duplex) and load; otherwise at the network between them.',
  },
  {
    name: 'WeftPeerSlow',
    expression: `max by (peer) (${ROUND_TRIP} > 0.1 or (${ROUND_TRIP} > 0.01 and ${ROUND_TRIP} > 5 * ${roundTrip(' offset 1d')}))`,
    minutes: 10,
    severity: 'warning',
    summary: `Round trips to node {{ $labels.peer }} take {{ $value | humanizeDuration }}; longest from ${seenBy(`weft_peer_round_trip_seconds{peer='%s'}`)}.`,
    description:
      'More than 100 ms, or more than 10 ms and five times what it was a day ago. Look at the load of the node and of the links to it; for nodes that are far apart raise the bound in the rule.',
  },
  {
    name: 'WeftPathMtuLow',
    expression: `count ${PER_NODE} (${once('weft_peer_path_mtu_bytes')} < on (node, instance) group_left () max ${PER_NODE} (weft_mtu_bytes))`,
    minutes: 30,
    severity: 'info',
    summary: `Paths from node ${NODE} to {{ $value }} peers take smaller packets than its interfaces.`,
    description:
      'Pods are told by ICMP, so all goes on, slower. "weft status peers" shows the paths; raise the MTU on the way, or set WEAVE_MTU to what the narrowest takes.',
  },
];

export const DROP_ALERTS: readonly Alert[] = [
  {
    name: 'WeftForgedPackets',
    expression: `sum by (node, instance, reason) (${once(`increase(${dropsOf('forged')}[10m])`)}) > 10`,
    minutes: 0,
    severity: 'warning',
    summary: `A pod or process of node ${NODE} sends packets that are not its own to send ({{ $labels.reason }}): {{ $value | printf "%.0f" }} within 10 minutes.`,
    description:
      'They were refused. Find the sender with "weft capture" of dropped packets on that node; it is a probe, or a program that routes for others or uses the port by accident.',
  },
  {
    name: 'WeftUnknownSender',
    expression: steadyDrops('unknownSender'),
    minutes: 10,
    severity: 'warning',
    summary: `Node ${NODE} gets ${RATE} at its tunnel port from addresses that are no peer's.`,
    description:
      'A node without its Peer object ("kubectl get peers"), one that was deleted and still runs, an address that was changed on the way (NAT), or somebody who probes.',
  },
  {
    name: 'WeftForeignNetwork',
    expression: steadyDrops('foreignNetwork'),
    minutes: 10,
    severity: 'warning',
    summary: `Node ${NODE} gets ${RATE} of another network at its tunnel port ({{ $labels.reason }}).`,
    description:
      'WEFT_VNI differs between nodes, or another VXLAN uses the port: compare the ConfigMap "weft" with what the nodes run; "weft capture" of dropped packets shows the sender.',
  },
  {
    name: 'WeftOwnersDisagree',
    expression: steadyDrops('disagreement'),
    minutes: 10,
    severity: 'warning',
    summary: `Node ${NODE} refuses ${RATE} whose addresses do not fit their node ({{ $labels.reason }}).`,
    description:
      'Nodes differ in who holds which block, or somebody forges: compare "kubectl get addressblocks" with "weft status ipam" of both ends; docs/operations/drops.md has each reason.',
  },
  {
    name: 'WeftDamagedPackets',
    expression: steadyDrops('damaged'),
    minutes: 10,
    severity: 'warning',
    summary: `Node ${NODE} refuses ${RATE} that are damaged ({{ $labels.reason }}).`,
    description:
      'Damage on the way, offloads of an interface that miscompute ("ethtool -K DEVICE tx off" to see), or somebody who probes: "weft capture" of dropped packets shows them.',
  },
  {
    name: 'WeftKernelRefusesPackets',
    expression: steadyDrops('kernel'),
    minutes: 5,
    severity: 'warning',
    summary: `The kernel of node ${NODE} does not take ${RATE} ({{ $labels.reason }}).`,
    description:
      'weft0 or the underlay interface is down, a route is missing, or a firewall refuses what the node sends: "weft doctor" on it; the errno is the code of dataplane_io_failed in its log.',
  },
  {
    name: 'WeftDropRatioHigh',
    expression: `${DROPS} / ${CARRIED} > 0.02 and ${DROPS} > 1`,
    minutes: 15,
    severity: 'warning',
    summary: `Node ${NODE} refuses {{ $value | humanizePercentage }} of the packets that it carries.`,
    description:
      'The panel "Refused, by reason" says for which reason, docs/operations/drops.md what to do about it.',
  },
  {
    name: 'WeftQueueOverflow',
    expression: `${overflow('weft_tunnel_socket_dropped_packets_total')} + ${overflow('weft_tun_dropped_packets_total')} > 1`,
    minutes: 10,
    severity: 'warning',
    summary: `Node ${NODE} loses ${RATE} because its queues are full.`,
    description:
      'More comes than the data plane can carry: see its CPU and pauses on the dashboard; WEFT_DATAPLANE_WORKERS spreads the flows, docs/operations/sizing.md says how far.',
  },
];
