// Cases of manifests/monitoring/alerts-packets.ts.
import { type FiringCase, type QuietCase, type Series, on, twice, where } from './alert-series.ts';

const drops = (node: string, reason: string, peer = ''): string =>
  on(node, 'weft_dropped_packets_total', { reason, peer });
const silence = (node: string, peer: string): string => on(node, 'weft_peer_silence_seconds', { peer });
const loss = (node: string, peer: string): string => on(node, 'weft_peer_probe_loss_ratio', { peer });
const roundTrip = (node: string, peer: string): string => on(node, 'weft_peer_round_trip_seconds', { peer });
const pathMtu = (node: string, peer: string): string => on(node, 'weft_peer_path_mtu_bytes', { peer });
const connections = (node: string, state: string): string =>
  on(node, 'weave_connections', { state, type: 'vxlan', encryption: '' });
const packets = (node: string): string =>
  on(node, 'weft_packets_total', { direction: 'egress', peer: 'node-9' });

/** A node that sees so many of its nine peers as failed from minute 5 on. */
const lost = (node: string, failed: number): Series => ({
  [connections(node, 'established')]: `9x4 ${9 - failed}x60`,
  [connections(node, 'failed')]: `0x4 ${failed}x60`,
});

/** 30 packets a minute from minute 11 on: the rate over five minutes is above 0.1 a second with the second of them. */
const STEADY = '0x10 30+30x60';
const steady = (alert: string, reason: string, summary: string): FiringCase => ({
  alert,
  series: { [drops('node-1', reason)]: STEADY, [drops('node-2', reason)]: '0x80' },
  from: 12,
  labels: { ...where('node-1'), reason },
  summary,
});
/** After the minutes of `patience` and two more, the rate has come up to its value. */
const HALF = '0.5 packets a second';

export const PACKET_FIRING: readonly FiringCase[] = [
  {
    alert: 'WeftPeerUnreachable',
    series: {
      [silence('node-1', 'node-3')]: '_x5 60+60x40',
      ...twice({ [silence('node-2', 'node-3')]: '_x5 50+60x40' }),
      [silence('node-2', 'node-4')]: '_x5 60+60x6 stale',
    },
    from: 15, // 60 s in minute 5
    labels: { peer: 'node-3' },
    summary: 'Node node-3 has not been heard for 10 minutes by 2 nodes, such as node-1, node-2.',
  },
  {
    alert: 'WeftNodeIsolated',
    series: { ...lost('node-1', 6), ...lost('node-2', 1) },
    from: 5,
    labels: where('node-1'),
    summary: 'Node node-1 does not reach 66.67% of the other nodes.',
  },
  {
    alert: 'WeftManyPeersUnreachable',
    series: {
      ...lost('node-1', 3),
      ...lost('node-2', 3),
      [silence('node-1', 'node-7')]: '_x5 60+60x40',
      [silence('node-1', 'node-8')]: '_x5 60+60x40',
      [silence('node-2', 'node-9')]: '_x5 60+60x40',
    },
    from: 5,
    labels: {},
    summary: '33.33% of all connections between nodes are down.',
  },
  {
    alert: 'WeftPeerLoss',
    series: {
      ...twice({ [loss('node-1', 'node-3')]: '0x4 0.2x40' }),
      [loss('node-2', 'node-3')]: '0x4 0.3x40',
      [loss('node-1', 'node-2')]: '0x50',
    },
    from: 5,
    labels: { peer: 'node-3' },
    summary:
      'More than 5 % of the packets to and from node node-3 get lost on the way to 2 nodes, such as node-2, node-1.',
  },
  {
    alert: 'WeftPeerSlow',
    series: {
      [roundTrip('node-1', 'node-3')]: '0.0002x4 0.25x60',
      [roundTrip('node-2', 'node-3')]: '0.0002x60',
    },
    from: 8, // mean of minutes 0 to 8: 4 of 9
    labels: { peer: 'node-3' },
    summary: 'Round trips to node node-3 take 250ms; longest from node-1, node-2.',
  },
  {
    alert: 'WeftPeerSlow', // than a day ago
    series: { [roundTrip('node-1', 'node-3')]: '0.0002x1499 0.02x60' },
    from: 1505, // mean of ten minutes: 6 of 10, more than 10 ms
    labels: { peer: 'node-3' },
    summary: 'Round trips to node node-3 take 20ms; longest from node-1.',
  },
  {
    alert: 'WeftPeerSlow', // likewise, and the agent was replaced since
    series: {
      [roundTrip('node-1', 'node-3')]: '0.0002x1499 stale',
      [roundTrip('node-1', 'node-3').replace('{', '{pod="weft-new",')]: '_x1500 0.02x60',
    },
    from: 1500,
    labels: { peer: 'node-3' },
    summary: 'Round trips to node node-3 take 20ms; longest from node-1.',
  },
  {
    alert: 'WeftPathMtuLow',
    series: {
      ...twice({ [pathMtu('node-1', 'node-2')]: '8950x4 1450x60' }),
      [pathMtu('node-1', 'node-3')]: '8950x4 1450x60',
      [pathMtu('node-1', 'node-4')]: '8950x60',
      [on('node-1', 'weft_mtu_bytes')]: '8950x60',
      [on('node-2', 'weft_mtu_bytes')]: '8950x60',
    },
    from: 5,
    labels: where('node-1'),
    summary: 'Paths from node node-1 to 2 peers take smaller packets than its interfaces.',
  },
  {
    alert: 'WeftForgedPackets',
    series: {
      [drops('node-1', 'pod_to_tunnel')]: '0x10 9 18x60',
      [drops('node-1', 'pod_spoofed')]: '0x10 2x60',
    },
    from: 12,
    labels: { ...where('node-1'), reason: 'pod_to_tunnel' },
    summary:
      'A pod or process of node node-1 sends packets that are not its own to send (pod_to_tunnel): 18 within 10 minutes.',
  },
  steady(
    'WeftUnknownSender',
    'unknown_sender',
    `Node node-1 gets ${HALF} at its tunnel port from addresses that are no peer's.`,
  ),
  steady(
    'WeftForeignNetwork',
    'vxlan_vni',
    `Node node-1 gets ${HALF} of another network at its tunnel port (vxlan_vni).`,
  ),
  steady(
    'WeftOwnersDisagree',
    'inner_source_not_owned',
    `Node node-1 refuses ${HALF} whose addresses do not fit their node (inner_source_not_owned).`,
  ),
  steady(
    'WeftDamagedPackets',
    'inner_header',
    `Node node-1 refuses ${HALF} that are damaged (inner_header).`,
  ),
  steady(
    'WeftKernelRefusesPackets',
    'egress_send_failed',
    `The kernel of node node-1 does not take ${HALF} (egress_send_failed).`,
  ),
  {
    alert: 'WeftDropRatioHigh',
    series: {
      [packets('node-1')]: '0+6000x80',
      [drops('node-1', 'egress_no_owner')]: '0x10 0+600x60',
      [packets('node-2')]: '0+6000x80',
      [drops('node-2', 'egress_no_owner')]: '0+60x80',
    },
    from: 14, // 3 of 10 minutes at 10 %
    labels: where('node-1'),
    summary: 'Node node-1 refuses 10% of the packets that it carries.',
  },
  {
    alert: 'WeftQueueOverflow',
    series: {
      [on('node-1', 'weft_tunnel_socket_dropped_packets_total')]: '0x10 0+300x60',
      [on('node-1', 'weft_tun_dropped_packets_total', { direction: 'egress' })]: '0x80',
      [on('node-1', 'weft_tun_dropped_packets_total', { direction: 'ingress' })]: '0x80',
    },
    from: 13,
    labels: where('node-1'),
    summary: 'Node node-1 loses 5.0 packets a second because its queues are full.',
  },
];

/** So much within a minute, as when a block changes hands under traffic, and no more. */
const BURST = '0x10 50000x200';
const burst = (alert: string, reason: string): QuietCase => ({
  alert,
  when: 'a burst of it ends within a minute',
  series: { [drops('a', reason)]: BURST },
});

export const PACKET_QUIET: readonly QuietCase[] = [
  {
    alert: 'WeftPeerUnreachable',
    when: 'the node reboots for nine minutes, or leaves',
    series: { [silence('a', 'b')]: '_x5 60+60x8 stale', [silence('a', 'c')]: '_x5 60+60x3 stale' },
  },
  {
    alert: 'WeftNodeIsolated',
    when: 'one of two peers is down, or four of nine',
    series: {
      [connections('a', 'established')]: '1x200',
      [connections('a', 'failed')]: '1x200',
      ...lost('b', 4),
    },
  },
  {
    alert: 'WeftNodeIsolated',
    when: 'the only peer is down and a roll-out is stuck',
    series: twice({ [connections('a', 'established')]: '0x200', [connections('a', 'failed')]: '1x200' }),
  },
  {
    alert: 'WeftManyPeersUnreachable',
    when: 'one node of a small cluster is down',
    series: {
      [connections('a', 'established')]: '1x200',
      [connections('a', 'failed')]: '1x200',
      [connections('b', 'established')]: '1x200',
      [connections('b', 'failed')]: '1x200',
      [silence('a', 'c')]: '60+60x200',
      [silence('b', 'c')]: '60+60x200',
    },
  },
  {
    alert: 'WeftPeerLoss',
    when: 'it is little, or all is lost: then the peer is unreachable',
    series: { [loss('a', 'b')]: '0.04x200', [loss('a', 'c')]: '0x4 0.5 1x200' },
  },
  {
    alert: 'WeftPeerSlow',
    when: 'one probe is late, and a far node is as far as ever',
    series: { [roundTrip('a', 'b')]: '0.0002x60 0.5 0.0002x200', [roundTrip('a', 'far')]: '0.08x1600' },
  },
  {
    alert: 'WeftPathMtuLow',
    when: 'the paths take what the interfaces do, also while an agent is replaced',
    series: {
      [pathMtu('a', 'b')]: '1450x200',
      [on('a', 'weft_mtu_bytes')]: '1450x200',
      [on('a', 'weft_mtu_bytes', { pod: 'weft-new' })]: '_x20 1450x200',
      [pathMtu('a', 'jumbo')]: '8950x200',
    },
  },
  {
    alert: 'WeftForgedPackets',
    when: 'there are some within minutes, or pods send IPv6',
    series: { [drops('a', 'pod_spoofed')]: '0x10 8x200', [drops('a', 'pod_ipv6')]: '0+100x200' },
  },
  {
    alert: 'WeftUnknownSender',
    when: 'a node is heard before its Peer object',
    series: { [drops('a', 'unknown_sender')]: '0x10 600x200' },
  },
  burst('WeftForeignNetwork', 'vxlan_vni'),
  burst('WeftOwnersDisagree', 'inner_source_not_owned'),
  {
    alert: 'WeftDamagedPackets',
    when: 'one in some minutes',
    series: { [drops('a', 'inner_header', 'b')]: '0+1x200' },
  },
  {
    alert: 'WeftKernelRefusesPackets',
    when: 'an interface was down for a moment',
    series: { [drops('a', 'tun_write_failed')]: '0x10 3x200' },
  },
  {
    alert: 'WeftKernelRefusesPackets',
    when: 'there are few, and a roll-out is stuck',
    series: twice({ [drops('a', 'egress_send_failed')]: '0+4x200' }),
  },
  {
    alert: 'WeftDropRatioHigh',
    when: 'an idle node refuses some, and pods send IPv6',
    series: {
      [packets('a')]: '0+60x200',
      [drops('a', 'egress_no_owner')]: '0+30x200',
      [drops('a', 'pod_ipv6')]: '0+6000x200',
    },
  },
  {
    alert: 'WeftQueueOverflow',
    when: 'it is little, and a roll-out is stuck',
    series: twice({
      [on('a', 'weft_tunnel_socket_dropped_packets_total')]: '0+40x200',
      [on('a', 'weft_tun_dropped_packets_total', { direction: 'egress' })]: '0x200',
    }),
  },
  {
    alert: 'WeftQueueOverflow',
    when: 'a queue overflows for a minute',
    series: {
      [on('a', 'weft_tunnel_socket_dropped_packets_total')]: '0x10 9000x200',
      [on('a', 'weft_tun_dropped_packets_total', { direction: 'egress' })]: '0x200',
    },
  },
];
