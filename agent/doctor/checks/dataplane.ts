// The data plane: that it moves, that its socket is its own and keeps up, and what it refuses.
import { formatIpv4 } from '../../../proto/address.ts';
import type { RefusalReason } from '../../../proto/drop-reason.ts';
import type { Check, Found } from '../check.ts';
import { agentIsHere, peerNameOf } from '../expected.ts';
import type { Scene } from '../scene.ts';

export const dataplane: Check = {
  id: 'dataplane',
  finds: 'a data plane that stands still, or works with an old table',
  why: 'packets of pods wait, and are lost when the queues are full',
  fix: 'kubectl -n weft delete pod POD: another data plane starts at once',
  run({ traffic, agent, processes }) {
    const found: Found[] = [];
    const isStopped = processes.some(({ role, state }) => role === 'dataplane' && /t/i.test(state));
    const works = agent.report !== undefined || processes.some(({ role }) => role === 'dataplane');
    const hasProbes = works && traffic?.peers.some(({ probes }) => probes) === true;
    if (traffic !== undefined && hasProbes && traffic.loops === 0 && !isStopped) {
      found.push({
        severity: 'error',
        what: `The data plane has not gone round once in ${traffic.seconds.toFixed(1)} s, although it has peers to probe`,
      });
    }
    if (
      traffic !== undefined &&
      agent.report !== undefined &&
      agent.earlier !== undefined &&
      agent.earlier.dataplane.generation === traffic.generation &&
      traffic.table.generation > traffic.generation + 1
    ) {
      found.push({
        severity: 'error',
        what: `The data plane works with forwarding table ${traffic.generation}, the newest is ${traffic.table.generation}`,
      });
    }
    return found;
  },
};

function holdersOf(port: number): string {
  return `ss -ulpn 'sport = :${port}' tells who has it: stop that program, or set WEFT_PORT on every node`;
}

export const tunnelSocket: Check = {
  id: 'tunnel_port',
  finds: "another program at the tunnel's UDP port, or nobody",
  why: "peers' packets arrive at that port and nowhere else",
  fix: holdersOf(6784),
  run(scene) {
    const { sockets, settings, kernel } = scene;
    const foreign = new Map(
      sockets.udp.flatMap(({ owner, inode }) =>
        owner !== undefined && !owner.isAgent ? [[inode, owner] as const] : [],
      ),
    );
    const vxlan = kernel.links.filter(
      ({ kind, name }) => kind === 'vxlan' && (name.includes(`${settings.port}`) || name.includes('flannel')),
    );
    const fix = holdersOf(settings.port);
    const found: Found[] = [...foreign.values()].map(({ command, pid }) => ({
      severity: 'error',
      what: `UDP port ${settings.port} is also held by "${command}" (process ${pid})`,
      fix,
    }));
    const isSeen = sockets.udp.some(({ owner }) => owner?.isAgent === true);
    const unowned = new Set(sockets.udp.flatMap(({ owner, inode }) => (owner === undefined ? [inode] : [])));
    if (isSeen && unowned.size > 0) {
      found.push({
        severity: 'warning',
        what: `UDP port ${settings.port} is also held by a program that cannot be seen from here (another container, or the node's own)`,
        fix,
      });
    }
    if (agentIsHere(scene) && sockets.udp.length === 0) {
      const device = vxlan.map(({ name }) => ` (is it interface "${name}"?)`).join('');
      found.push({
        severity: 'error',
        what: `No socket is bound to UDP port ${settings.port} on this node${device}`,
        fix,
      });
    }
    return found;
  },
};

/** Told while the queue is read: so much waits only where nobody does. */
const STUCK_BYTES = 8 << 20;

export const socketBuffers: Check = {
  id: 'receive_buffer',
  finds: "packets lost at the tunnel's receive buffer, or with a wrong checksum",
  why: 'the node receives faster than it forwards, or its network card or driver damages packets',
  fix: 'look at the processor load of the node and WEFT_DATAPLANE_WORKERS; for checksums: ethtool -K INTERFACE rx off tx-udp_tnl-segmentation off',
  run({ sockets, counters }) {
    const found: Found[] = [];
    const before = new Map(sockets.udpEarlier.map(({ inode, drops }) => [inode, drops]));
    const lost = sockets.udp.reduce(
      (sum, { inode, drops }) => sum + Math.max(0, drops - (before.get(inode) ?? drops)),
      0,
    );
    const waiting = Math.max(0, ...sockets.udp.map(({ queuedBytes }) => queuedBytes));
    if (lost > 0) {
      found.push({
        severity: 'error',
        what: `${lost} datagrams found the tunnel's receive buffer full in the last seconds`,
      });
    } else if (waiting > STUCK_BYTES) {
      found.push({
        severity: 'warning',
        what: `${Math.round(waiting / 2 ** 20)} MiB wait in the tunnel's receive buffer`,
      });
    }
    if (counters.udpChecksumErrors > 0) {
      found.push({
        severity: 'warning',
        what: `${counters.udpChecksumErrors} UDP datagrams had a wrong checksum in the last seconds (of all programs of the node)`,
      });
    }
    return found;
  },
};

/** What a reason that grows means, and what to do (PORT: the tunnel's); the others are explained in docs/operations/drops.md. */
const REASONS: Readonly<Partial<Record<RefusalReason, readonly [why: string, fix: string]>>> = {
  unknown_sender: [
    'somebody who is no peer sends to the tunnel: a forged packet, a node whose Peer is missing, or one whose address is rewritten on the way',
    'tcpdump -ni INTERFACE udp port PORT tells who; kubectl get peers tells who may',
  ],
  vxlan_vni: [
    'that node has another WEFT_VNI, or belongs to another cluster',
    'set the same WEFT_VNI on every node (ConfigMap/weft), then restart the agents',
  ],
  vxlan_flags: ['what arrives at the tunnel is no VXLAN of ours', 'tcpdump -ni INTERFACE udp port PORT'],
  inner_mac: [
    'the sender or this node has another VTEP address than the cluster knows: a Node that was made anew, or two machines of one name',
    'kubectl get peers -o yaml: compare with "weft status"; restart the agent of that node',
  ],
  inner_source_not_owned: [
    'that node sends for addresses of a block that it does not hold: its masquerading, a contested block, or a forged packet',
    'run "weft doctor" on that node; kubectl get addressblocks',
  ],
  inner_destination_not_local: [
    'that node believes that this one holds a block which it does not',
    'run "weft doctor" on that node; kubectl get addressblocks',
  ],
  egress_source_not_local: [
    'packets that are to leave do not come from a pod of this node: something rewrites their source',
    'look for masquerade or SNAT rules: nft list ruleset',
  ],
  egress_local: ["the node's routes send its own pods' packets into the tunnel", 'ip route get ADDRESS'],
  egress_send_failed: [
    'the kernel refuses to send: a firewall of this node (EPERM) or a missing route to the peer',
    'ip route get PEER; nft list ruleset',
  ],
  egress_no_owner: [
    'pods send to addresses that no node holds: of pods that are gone, or of a node that was removed',
    'kubectl get addressblocks',
  ],
  tun_write_failed: ['the TUN does not take what has arrived', 'ip -s link show weft0'],
  pod_spoofed: [
    'a pod sends with an address that is not its own',
    'find it by its interface: nft list set bridge weft pods, weft status attachments',
  ],
  pod_to_tunnel: [
    'a pod tries to forge packets of the tunnel',
    'find it by its connections; weft status attachments',
  ],
  process_to_tunnel: ['a program of the node tries to forge packets of the tunnel', 'ss -uapn'],
};
/** Of the network's everyday life. */
const ORDINARY: ReadonlySet<RefusalReason> = new Set<RefusalReason>([
  'pod_ipv6',
  'egress_path_mtu',
  'egress_not_ipv4',
  'egress_out_of_range',
  'egress_too_big',
]);
const ERRORS: ReadonlySet<RefusalReason> = new Set<RefusalReason>([
  'vxlan_vni',
  'inner_mac',
  'egress_source_not_local',
  'egress_send_failed',
  'egress_local',
  'tun_write_failed',
]);

function told(
  { settings }: Scene,
  { reason, count, subject }: { readonly reason: string; readonly count: number; readonly subject: string },
): readonly Found[] {
  const known = reason as RefusalReason; // as: a key of a record of reasons
  if (ORDINARY.has(known)) return [];
  const [why, fix] = REASONS[known] ?? ['', 'docs/operations/drops.md says what it means'];
  return [
    {
      severity: ERRORS.has(known) ? 'error' : 'warning',
      what: `${count} packets ${subject} were refused as "${reason}" while the doctor looked`,
      ...(why === '' ? {} : { why }),
      fix: fix.replace(/\bPORT\b/, `${settings.port}`),
    },
  ];
}

export const refusals: Check = {
  id: 'refused_packets',
  finds: 'packets that are refused right now, by reason and peer',
  why: 'each of them is a packet that a pod or a peer waits for, or an attempt to forge one',
  fix: 'docs/operations/drops.md has a line for each reason',
  run(scene: Scene) {
    const { traffic } = scene;
    if (traffic === undefined) return [];
    const ofPeers = traffic.peers.flatMap(({ address, drops }) =>
      Object.entries(drops).flatMap(([reason, count]) =>
        told(scene, {
          reason,
          count,
          subject: `to or from peer "${peerNameOf(scene, formatIpv4(address))}" (${formatIpv4(address)})`,
        }),
      ),
    );
    const ofNobody = Object.entries(traffic.drops).flatMap(([reason, count]) =>
      told(scene, { reason, count, subject: 'of no known peer' }),
    );
    return [...ofPeers, ...ofNobody];
  },
};

export const DATAPLANE_CHECKS: readonly Check[] = [dataplane, tunnelSocket, socketBuffers, refusals];
