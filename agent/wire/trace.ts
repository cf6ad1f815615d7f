// Which decision each layer of this node takes for one packet, in the order in which it meets them, from tables that are read now. Pure: the
// tables are functions of a TraceView. What is decided elsewhere (on the other node, by rules that are not ours) is said to be so.
import { formatIpv4, formatMac } from '../../proto/address.ts';
import type { RefusalReason } from '../../proto/drop-reason.ts';
import { formatEnd } from './packet-line.ts';
import {
  Dropped,
  type TraceStep,
  chains,
  connection,
  drop,
  inner,
  isRedirected,
  note,
  outer,
  pass,
} from './trace-steps.ts';
import type { NodePeer, Owner, PodPortFacts, RouteFacts, TraceView } from './trace-view.ts';

export interface TraceVerdict {
  readonly kind: 'delivered' | 'sent' | 'leaves' | 'redirected' | 'dropped';
  readonly text: string;
  /** As the counters name it; a drop by the kernel's own stack has none. */
  readonly reason?: RefusalReason;
  /** Node on which the packet goes on. */
  readonly peer?: string;
}

export interface Trace {
  readonly steps: readonly TraceStep[];
  readonly verdict: TraceVerdict;
}

export function trace(view: TraceView): Trace {
  const steps: TraceStep[] = [];
  try {
    return { verdict: follow(view, steps), steps };
  } catch (error) {
    if (!(error instanceof Dropped)) throw error;
    const { message: text, reason } = error;
    return { steps, verdict: { kind: 'dropped', text, ...(reason === undefined ? {} : { reason }) } };
  }
}

function follow(view: TraceView, steps: TraceStep[]): TraceVerdict {
  const { source } = view.packet;
  const owner = view.ownerOf(source);
  if (owner.kind === 'this_underlay' || source === view.gateway) return fromThisNode(view, steps);
  if (owner.kind === 'this_node') return fromPod(view, steps);
  if (owner.kind === 'peer') return fromPeer(view, steps, owner.peer);
  throw drop(steps, {
    layer: 'source',
    text: `${formatIpv4(source)} is in no block that a node holds: no data plane takes a packet from it`,
    reason: 'inner_source_not_owned',
  });
}

function fromPod(view: TraceView, steps: TraceStep[]): TraceVerdict {
  const { source } = view.packet;
  const port = view.podPort(source);
  if (port === undefined) {
    throw drop(steps, {
      layer: 'pod',
      text: `no pod of this node has ${formatIpv4(source)}: no interface says so`,
    });
  }
  pass(steps, 'pod', `${port.podName ?? formatIpv4(source)} behind ${port.interface}${portTrouble(port)}`);
  if (!port.isUp) throw drop(steps, { layer: 'pod', text: `${port.interface} is down` });
  const allowed = view.spoofElements(port.interface);
  const own = allowed.find((element) => element.address === source && element.mac === port.mac);
  if (own === undefined) {
    const known = allowed
      .map((element) => `${formatMac(element.mac)} ${formatIpv4(element.address)}`)
      .join(', ');
    throw drop(steps, {
      layer: 'anti-spoof',
      text: `nftables set "bridge weft pods" does not let ${port.interface} send as ${formatMac(port.mac)} ${formatIpv4(source)} (${known || 'nothing for it'})`,
      reason: 'pod_spoofed',
    });
  }
  pass(
    steps,
    'anti-spoof',
    `${port.interface} may send as ${formatMac(own.mac)} ${formatIpv4(source)} (set "bridge weft pods")`,
  );
  const way = inner(view, view.bridge);
  chains(view, steps, { families: ['bridge'], hooks: ['prerouting', 'input'], at: way });
  if (isRedirected(view, steps)) return redirected(view);
  chains(view, steps, { families: ['ip', 'inet'], hooks: ['prerouting'], at: way });
  return routed(view, steps, view.bridge);
}

function fromThisNode(view: TraceView, steps: TraceStep[]): TraceVerdict {
  pass(steps, 'node', 'sent by a process of this node');
  if (isRedirected(view, steps)) return redirected(view);
  const way = inner(view, undefined);
  chains(view, steps, { families: ['ip', 'inet'], hooks: ['output', 'postrouting'], at: way });
  return routed(view, steps, undefined);
}

const redirected = ({ packet: { source, destination } }: TraceView): TraceVerdict => ({
  kind: 'redirected',
  text: `goes to one of the endpoints of ${formatIpv4(destination)}, which these rules choose; trace it there: "kubectl get services -A | grep -w ${formatIpv4(destination)}" names the Service, "kubectl get endpointslices -n NAMESPACE -l kubernetes.io/service-name=NAME" its endpoints, weft trace ${formatIpv4(source)} ENDPOINT`,
});

function fromPeer(view: TraceView, steps: TraceStep[], peer: NodePeer): TraceVerdict {
  const name = view.nameOf(peer);
  pass(
    steps,
    'underlay in',
    `arrives from ${name} at UDP ${view.port}; of a sender that is no peer it is refused (unknown_sender)`,
  );
  chains(view, steps, {
    families: ['ip', 'inet'],
    hooks: ['prerouting', 'input'],
    layer: 'nftables, outer',
    at: outer(view, peer, 'in'),
  });
  connection(view, steps, peer);
  pass(
    steps,
    'data plane in',
    `sender ${formatEnd(peer.address, peer.port)} is ${name}, which owns the block of ${formatIpv4(view.packet.source)}`,
  );
  if (view.ownerOf(view.packet.destination).kind !== 'this_node') {
    throw drop(steps, {
      layer: 'data plane in',
      text: `${formatIpv4(view.packet.destination)} is in no block of this node, and nothing is relayed: trace it on ${name}`,
      reason: 'inner_destination_not_local',
    });
  }
  const way = inner(view, view.tun);
  chains(view, steps, { families: ['ip', 'inet'], hooks: ['prerouting'], at: way });
  return routed(view, steps, view.tun);
}

/** The route decides which hooks follow: what is for this node itself is never forwarded. */
function routed(view: TraceView, steps: TraceStep[], input: string | undefined): TraceVerdict {
  const { source, destination } = view.packet;
  const rules = view.policyRules;
  if (view.legacyTables.length > 0) {
    note(
      steps,
      'iptables',
      `legacy tables are in use (${view.legacyTables.join(', ')}), and not read here: iptables-legacy-save shows them`,
    );
  }
  if (rules.length > 0) note(steps, 'ip rules', `beside the usual three: ${rules.join('; ')}`);
  const question = `${formatIpv4(destination)} from ${formatIpv4(source)}${input === undefined ? '' : ` iif ${input}`}`;
  const route = view.route({ destination, source, input });
  if ('code' in route) throw noRoute(steps, question, route.code);
  pass(steps, 'route', `${question}: ${routeWords(route)}`);
  if (route.isLocal) return intoThisNode(view, steps, input);
  if (input !== undefined) {
    const way = inner(view, input);
    chains(view, steps, { families: ['ip', 'inet'], hooks: ['forward', 'postrouting'], at: way });
  }
  switch (route.interface) {
    case view.tun:
      return intoTunnel(view, steps);
    case view.bridge:
      return toPod(view, steps);
    default:
      return outOfCluster(view, steps, route);
  }
}

function noRoute(steps: TraceStep[], question: string, code: string): Dropped {
  const why: Readonly<Record<string, string>> = {
    EXDEV:
      'the way back to the source is by another interface: rp_filter refuses it (sysctl net.ipv4.conf.*.rp_filter)',
    EINVAL:
      'the kernel takes no packet with such a source on that interface (a martian), or a blackhole route matches',
    EHOSTUNREACH:
      'an unreachable route matches, or forwarding is off on the interface (sysctl net.ipv4.conf.*.forwarding)',
    ENETUNREACH: 'no route matches',
    EACCES: 'a prohibit route or rule matches',
  };
  return drop(steps, {
    layer: 'route',
    text: `${question}: ${why[code] ?? 'the kernel refuses it'} (${code})`,
  });
}

const routeWords = ({ interface: name, gateway, table, isLocal }: RouteFacts): string =>
  isLocal
    ? 'an address of this node'
    : `dev ${name}${gateway === undefined ? '' : ` via ${formatIpv4(gateway)}`}${table === 254 ? '' : ` (table ${table})`}`;

/** What a process of this node sends to the node itself comes in by it. */
const LOOPBACK = 'lo';

function intoThisNode(view: TraceView, steps: TraceStep[], input: string | undefined): TraceVerdict {
  const way = inner(view, input);
  const at: typeof way = (hook) => ({ ...way(hook), input: input ?? LOOPBACK });
  chains(view, steps, { families: ['ip', 'inet'], hooks: ['input'], at });
  return {
    kind: 'delivered',
    text: `delivered here: ${formatIpv4(view.packet.destination)} is this node's own`,
  };
}

function toPod(view: TraceView, steps: TraceStep[]): TraceVerdict {
  const { destination } = view.packet;
  const port = view.podPort(destination);
  if (port === undefined) {
    throw drop(steps, {
      layer: 'pod',
      text: `no pod of this node has ${formatIpv4(destination)}: nobody answers for it on "${view.bridge}", and the sender gets ICMP host-unreachable`,
    });
  }
  if (!port.isUp || !port.isRunning) {
    throw drop(steps, {
      layer: 'pod',
      text: `${port.interface} is ${port.isUp ? 'up, and its other end in the pod is down' : 'down'}`,
    });
  }
  const trouble = portTrouble(port);
  if (trouble !== '') throw drop(steps, { layer: 'pod', text: `${port.interface}${trouble}` });
  pass(steps, 'pod', `${port.interface} is up and forwarding`);
  return {
    kind: 'delivered',
    text: `delivered here: to ${port.podName ?? formatIpv4(destination)} by ${port.interface}`,
  };
}

const portTrouble = ({ isPort, isForwarding, bridge }: PodPortFacts): string =>
  isPort ? (isForwarding ? '' : `, which is blocked on "${bridge}"`) : `, which is no port of "${bridge}"`;

function outOfCluster(view: TraceView, steps: TraceStep[], route: RouteFacts): TraceVerdict {
  const { destination, source } = view.packet;
  if (view.isInRange(destination)) {
    throw drop(steps, {
      layer: 'route',
      text: `${formatIpv4(destination)} is a pod address, and the route goes by ${route.interface}: another route is more specific than Weft's; look at: ip route get ${formatIpv4(destination)}`,
    });
  }
  const hides = view.isInRange(source) && view.masquerades;
  if (hides)
    pass(steps, 'masquerade', `leaves with the address of ${route.interface} (inet weft postrouting)`);
  return {
    kind: 'leaves',
    text: `leaves this node by ${route.interface}${hides ? ', masqueraded' : ''}: Weft has no more to do with it`,
  };
}

function intoTunnel(view: TraceView, steps: TraceStep[]): TraceVerdict {
  const { source, destination } = view.packet;
  const sourceOwner = view.ownerOf(source);
  if (sourceOwner.kind !== 'this_node') {
    throw drop(steps, {
      layer: 'data plane out',
      text: `the source ${formatIpv4(source)} is in no block of this node`,
      reason: 'egress_source_not_local',
    });
  }
  const owner = view.ownerOf(destination);
  refuseOwner(view, steps, owner);
  if (owner.kind !== 'peer') throw new Error('refuseOwner() has thrown');
  const { peer } = owner;
  const name = view.nameOf(peer);
  pass(
    steps,
    'data plane out',
    `block ${view.blockOf(destination)} is held by ${name}: slot ${peer.slot}, ${formatEnd(peer.address, peer.port)} (table ${view.generation}${view.dataplaneGeneration === view.generation ? '' : `; the data plane still uses ${view.dataplaneGeneration}`})`,
  );
  const mtu = view.pathMtu(peer.slot);
  pass(
    steps,
    'path MTU',
    mtu === 0
      ? 'not known yet'
      : `${mtu}: a larger packet with DF is refused (egress_path_mtu) and its sender told`,
  );
  pass(steps, 'flow', view.flow);
  const way = view.route({ destination: peer.address, source: undefined, input: undefined });
  if ('code' in way) {
    throw drop(steps, {
      layer: 'underlay route',
      text: `${formatIpv4(peer.address)}: no route to the node (${way.code})`,
      reason: 'egress_send_failed',
    });
  }
  pass(steps, 'underlay route', `${formatIpv4(peer.address)}: ${routeWords(way)}`);
  chains(view, steps, {
    families: ['ip', 'inet'],
    hooks: ['output', 'postrouting'],
    layer: 'nftables, outer',
    at: outer(view, peer, 'out'),
  });
  connection(view, steps, peer);
  return {
    kind: 'sent',
    peer: name,
    text: `sent to ${name}; there it goes on: weft trace ${formatIpv4(source)} ${formatIpv4(destination)} on ${name}`,
  };
}

function refuseOwner(view: TraceView, steps: TraceStep[], owner: Owner): void {
  const layer = 'data plane out';
  const destination = formatIpv4(view.packet.destination);
  switch (owner.kind) {
    case 'peer':
      return;
    case 'nobody':
      throw drop(steps, {
        layer,
        text: `block ${view.blockOf(view.packet.destination)} is held by nobody: answered with ICMP host-unreachable`,
        reason: 'egress_no_owner',
      });
    case 'this_node':
      throw drop(steps, {
        layer,
        text: `${destination} is in a block of this node, and the kernel sends it into the tunnel: a route to its block is missing`,
        reason: 'egress_local',
      });
    case 'outside':
    case 'peer_underlay':
    case 'this_underlay':
      throw drop(steps, {
        layer,
        text: `${destination} is outside the range`,
        reason: 'egress_out_of_range',
      });
  }
}
