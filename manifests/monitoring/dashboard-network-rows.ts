// Rows of the dashboard about the whole and about packets. A test runs every query against a Prometheus that scrapes real agents.
import { AGENTS } from './alert.ts';
import { PEER, type Panel, type Row, graph, of, rate, sum, times } from './dashboard-panels.ts';

const number = (title: string, expression: string, description: string): Panel => ({
  title,
  kind: 'number',
  unit: 'none',
  description,
  width: 4,
  queries: [{ expression, legend: title }],
});

const OVERVIEW: Row = {
  title: 'Overview',
  panels: [
    number('Agents', `count(up{${AGENTS},node=~"$node"} == 1)`, 'Agents that answer Prometheus.'),
    number(
      'Not ready',
      `count(weft_ready${of()} == 0) or vector(0)`,
      'Nodes on which no pod can be attached.',
    ),
    number(
      'Connections down',
      sum('', `weave_connections${of('state="failed"')}`),
      'From each node to each peer that does not answer.',
    ),
    number('Pods', sum('', `weave_ips${of('state="local-used"')}`), 'Addresses that pods have.'),
    number(
      'Versions',
      `count(count by (version) (weft_build_info${of()}))`,
      'More than one for long: a roll-out has stopped.',
    ),
    number(
      'Alerts',
      'count(ALERTS{alertname=~"Weft.*",alertstate="firing"}) or vector(0)',
      'Of Weft, that fire.',
    ),
    {
      title: 'Trouble that a person has to put right',
      kind: 'table',
      unit: 'none',
      description: 'By code; docs/operations/refusals.md has the remedy of each.',
      width: 12,
      queries: [
        { expression: `${sum('node, code', `weft_trouble${of()}`)} > 0`, legend: '{{node}} {{code}}' },
      ],
    },
    graph('Repairs', {
      unit: 'cpm',
      description: 'What somebody changed on the node and the agent put right, a minute.',
      width: 12,
      queries: [
        {
          expression: `${sum('node, object', rate(`weft_repairs_total${of()}`))} * 60`,
          legend: '{{node}} {{object}}',
        },
      ],
    }),
  ],
};

const PEERS: Row = {
  title: 'Peers',
  panels: [
    graph('Peers by state', {
      unit: 'none',
      description: 'Connections of the chosen nodes: established, failed, or pending (not heard yet).',
      queries: [{ expression: sum('state', `weave_connections${of()}`), legend: '{{state}}' }],
    }),
    graph('Round trip', {
      unit: 's',
      description: 'Of the last probe to each peer.',
      queries: [
        {
          expression: `max by (node, peer) (weft_peer_round_trip_seconds${of(PEER)})`,
          legend: '{{node}} → {{peer}}',
        },
      ],
    }),
    graph('Round trip, all peers', {
      unit: 's',
      description: 'All probes of the chosen nodes together.',
      queries: times(`weft_probe_round_trip_seconds_bucket${of()}`),
    }),
    graph('Probe loss', {
      unit: 'percentunit',
      description: 'Probes of the last minute without an answer.',
      queries: [
        {
          expression: `max by (node, peer) (weft_peer_probe_loss_ratio${of(PEER)})`,
          legend: '{{node}} → {{peer}}',
        },
      ],
    }),
    graph('Path MTU', {
      unit: 'bytes',
      description: "Largest inner packet that each path takes, and that the node's interfaces take.",
      queries: [
        {
          expression: `min by (node, peer) (weft_peer_path_mtu_bytes${of(PEER)})`,
          legend: '{{node}} → {{peer}}',
        },
        { expression: `min by (node) (weft_mtu_bytes${of()})`, legend: '{{node}}' },
      ],
    }),
    graph('Not heard for', {
      unit: 's',
      description: 'Peers that have stopped answering. Empty is good.',
      queries: [
        {
          expression: `max by (node, peer) (weft_peer_silence_seconds${of(PEER)})`,
          legend: '{{node}} → {{peer}}',
        },
      ],
    }),
  ],
};

const TRAFFIC: Row = {
  title: 'Traffic',
  panels: [
    graph('Bits', {
      unit: 'bps',
      description: 'Inner packets, to (egress) and from (ingress) other nodes.',
      queries: [
        {
          expression: `${sum('node, direction', rate(`weft_bytes_total${of()}`))} * 8`,
          legend: '{{node}} {{direction}}',
        },
      ],
    }),
    graph('Packets', {
      unit: 'pps',
      description: 'Inner packets, as they are on the wire.',
      queries: [
        {
          expression: sum('node, direction', rate(`weft_packets_total${of()}`)),
          legend: '{{node}} {{direction}}',
        },
      ],
    }),
    graph('Busiest peers', {
      unit: 'bps',
      description: 'Both directions together.',
      queries: [
        {
          expression: `topk(10, ${sum('peer', rate(`weft_bytes_total${of(PEER)}`))}) * 8`,
          legend: '{{peer}}',
        },
      ],
    }),
    graph('Packets, by worker', {
      unit: 'pps',
      description: 'A worker that has nearly all: few flows, or one large one.',
      queries: [
        {
          expression: sum('node, worker', rate(`weft_dataplane_worker_packets_total${of()}`)),
          legend: '{{node}} {{worker}}',
        },
      ],
    }),
    graph('Packets at once', {
      unit: 'none',
      description: 'How many packets the data plane finds in a pass; the most it takes is 64.',
      queries: times(`weft_dataplane_batch_packets_bucket${of()}`, 'direction'),
    }),
  ],
};

const REFUSED: Row = {
  title: 'Refused and lost',
  panels: [
    graph('Refused, by reason', {
      unit: 'pps',
      description: 'docs/operations/drops.md says what each reason means and what to do about it.',
      queries: [
        { expression: sum('reason', rate(`weft_dropped_packets_total${of()}`)), legend: '{{reason}}' },
      ],
    }),
    graph('Refused, by node', {
      unit: 'pps',
      description: 'By the node that refuses them.',
      queries: [{ expression: sum('node', rate(`weft_dropped_packets_total${of()}`)), legend: '{{node}}' }],
    }),
    graph('Refused, by peer', {
      unit: 'pps',
      description: 'Of those that concern a peer. Empty is good.',
      queries: [
        {
          expression: sum('peer, reason', rate(`weft_dropped_packets_total${of(PEER, 'peer!=""')}`)),
          legend: '{{peer}} {{reason}}',
        },
      ],
    }),
    graph('Lost in full queues', {
      unit: 'pps',
      description: 'Dropped by the kernel because the data plane did not take them soon enough.',
      width: 12,
      queries: [
        {
          expression: sum('node', rate(`weft_tunnel_socket_dropped_packets_total${of()}`)),
          legend: '{{node}} tunnel socket',
        },
        {
          expression: sum('node, direction', rate(`weft_tun_dropped_packets_total${of()}`)),
          legend: '{{node}} TUN {{direction}}',
        },
      ],
    }),
    graph('Waiting at the tunnel', {
      unit: 'bytes',
      description: "Bytes in the receive buffers of the tunnel's sockets.",
      width: 12,
      queries: [{ expression: sum('node', `weft_tunnel_socket_queue_bytes${of()}`), legend: '{{node}}' }],
    }),
  ],
};

export const NETWORK_ROWS: readonly Row[] = [OVERVIEW, PEERS, TRAFFIC, REFUSED];
