// What the doctor must find of interfaces, routes, pods, peers and the cluster.
import { parseIpv4 } from '../../proto/address-text.ts';
import { healthy, PEER_IPS, report, ruleset } from './doctor-scene.ts';
import {
  type DoctorCase,
  socket,
  withReport,
  withLink,
  withoutLink,
  withPeer,
  traffic,
  withPeerTraffic,
  withApi,
  chain,
  firewallRule,
  toTunnel,
  failed,
  withSockets,
} from './doctor-changes.ts';

export const NETWORK_CASES: readonly DoctorCase[] = [
  ['bridge', 'down', withLink('weave', { up: false }), /it is down/],
  ['bridge', 'missing', withoutLink('weave'), /no interface "weave"/],
  [
    'bridge',
    'without its address',
    {
      ...healthy,
      kernel: { ...healthy.kernel, addresses: healthy.kernel.addresses.filter(({ index }) => index !== 3) },
    },
    /lacks its address 10.32.0.1/,
  ],
  ['tun_interface', 'a wrong MTU', withLink('weft0', { mtu: 1300 }), /mtu is 1300 instead of 1450/],
  ['tun_interface', 'a short queue', withLink('weft0', { txQueueLength: 500 }), /txQueueLength is 500/],
  ['tun_interface', 'missing', withoutLink('weft0'), /no interface "weft0"/],
  ['tun_interface', 'not a TUN', withLink('weft0', { kind: 'dummy' }), /of kind "dummy"/],
  ['underlay', 'no carrier', withLink('eth0', { running: false }), /without a carrier/],
  [
    'underlay',
    "the node's address is gone",
    { ...healthy, kernel: { ...healthy.kernel, addresses: healthy.kernel.addresses.slice(1) } },
    /No interface has the node's address 192.0.2.1/,
  ],
  ['rp_filter', 'strict on the TUN', withLink('weft0', { inet: { rp_filter: 1 } }), /strict on "weft0"/],
  [
    'foreign_rules',
    'the tunnel dropped inbound',
    { ...healthy, ruleset: ruleset([chain('input'), firewallRule('input', toTunnel, { drop: null })]) },
    /Rule 7 of chain "inet fw input" drops what peer "node-b" sends/,
  ],
  [
    'foreign_rules',
    'the tunnel dropped outbound',
    { ...healthy, ruleset: ruleset([chain('output'), firewallRule('output', toTunnel, { reject: null })]) },
    /rejects what this node sends/,
  ],
  [
    'foreign_rules',
    'a policy that drops forwarding',
    { ...healthy, ruleset: ruleset([chain('forward', 'drop')]) },
    /policy of chain "inet fw forward" drops packets of pods/,
  ],
  [
    'foreign_rules',
    'a policy behind an accept that cannot be judged',
    {
      ...healthy,
      ruleset: ruleset([
        chain('forward', 'drop'),
        firewallRule('forward', { xt: { type: 'match', name: 'set' } }, { accept: null }),
      ]),
    },
    /perhaps/,
  ],
  [
    'foreign_rules',
    "a bridge's rule against a pod",
    {
      ...healthy,
      ruleset: ruleset(
        ['chain', 'rule'].map((kind) => ({
          [kind]: {
            family: 'bridge',
            table: 'nat',
            ...(kind === 'chain'
              ? { name: 'PREROUTING', type: 'filter', hook: 'prerouting', prio: -300, policy: 'accept' }
              : {
                  chain: 'PREROUTING',
                  handle: 4,
                  expr: [
                    { match: { op: '==', left: { meta: { key: 'iifname' } }, right: 'vethwepod0' } },
                    { drop: null },
                  ],
                }),
          },
        })),
      ),
    },
    /Rule 4 of chain "bridge nat PREROUTING" drops packets of pods to pods of other nodes/,
  ],
  [
    'foreign_rules',
    'iptables-legacy with silent peers',
    { ...withPeer(failed), legacyTables: ['filter'] },
    /iptables-legacy/,
  ],
  [
    'weft_rules',
    'a chain missing',
    {
      ...healthy,
      ruleset: { ...ruleset(), chains: ruleset().chains.filter(({ name }) => name !== 'raw_prerouting') },
    },
    /chain "inet weft raw_prerouting"/,
  ],
  [
    'weft_rules',
    'a peer missing',
    {
      ...healthy,
      ruleset: {
        ...ruleset(),
        sets: new Map([
          [
            'inet weft peers',
            {
              kind: 'set',
              family: 'inet',
              table: 'weft',
              name: 'peers',
              elements: ['192.0.2.1', '192.0.2.2'],
            },
          ],
        ]),
      },
    },
    /192.0.2.3/,
  ],
  [
    'dataplane',
    'a loop that stands still',
    { ...healthy, traffic: { ...traffic, loops: 0 } },
    /not gone round once/,
  ],
  [
    'dataplane',
    'an old table',
    { ...healthy, traffic: { ...traffic, table: { ...traffic.table, generation: 12 } } },
    /forwarding table 7, the newest is 12/,
  ],
  [
    'tunnel_port',
    'a foreign program',
    withSockets({ udp: [{ ...socket, inode: '7', owner: { pid: 99, command: 'weaver', isAgent: false } }] }),
    /"weaver" \(process 99\)/,
  ],
  [
    'tunnel_port',
    'somebody who cannot be seen',
    withSockets({ udp: [socket, { ...socket, inode: '7', owner: undefined }] }),
    /cannot be seen from here/,
  ],
  ['tunnel_port', 'nobody', withSockets({ udp: [] }), /No socket is bound to UDP port 6784/],
  ['receive_buffer', 'a full buffer', withSockets({ udp: [{ ...socket, drops: 12 }] }), /7 datagrams/],
  [
    'receive_buffer',
    'checksum errors',
    { ...healthy, counters: { ...healthy.counters, udpChecksumErrors: 3 } },
    /3 UDP datagrams had a wrong checksum/,
  ],
  [
    'refused_packets',
    "a peer's wrong VNI",
    withPeerTraffic({ drops: { vxlan_vni: 2 } }),
    /"node-b".*"vxlan_vni"/,
  ],
  [
    'refused_packets',
    'a forged sender',
    { ...healthy, traffic: { ...traffic, drops: { unknown_sender: 9 } } },
    /9 packets of no known peer.*"unknown_sender"/,
  ],
  ['pod_ports', 'off the bridge', withLink('vethwepod0', { master: undefined }), /no port of bridge "weave"/],
  [
    'pod_ports',
    'isolated',
    withLink('vethwepod0', { port: { ...healthy.kernel.links[4]?.port, isolated: 1 } }),
    /isolated is 1 instead of 0/,
  ],
  [
    'pod_ports',
    'without hairpin mode',
    withLink('vethwepod0', { port: { ...healthy.kernel.links[4]?.port, hairpin: 0 } }),
    /hairpin is 0 instead of 1/,
  ],
  [
    'pod_guard',
    'an element missing',
    { ...healthy, pods: healthy.pods?.slice(1) },
    /10.32.0.2.*is not in nftables set/,
  ],
  [
    'pod_records',
    'a leaked allocation',
    withoutLink('vethwepod1'),
    /10.32.0.3 is allocated to "default\/pod-1"/,
  ],
  [
    'pod_records',
    'a pod without a record',
    withReport(
      { ipam: { ...report.ipam, allocations: [] } },
      { earlier: { ...report, ipam: { ...report.ipam, allocations: [] } } },
    ),
    /of which the agent has no record/,
  ],
  [
    'pod_records',
    'one address twice',
    withLink('vethwepod1', { alias: 'weft:c9:eth0:10.32.0.2' }),
    /2 pods of this node have the address 10.32.0.2/,
  ],
  [
    'peer_unreachable',
    'our way to it is blocked',
    withPeer({ ...failed, lastRequestSeconds: 0.3 }),
    /its own probes arrive here.*inbound at that node/,
  ],
  [
    'peer_unreachable',
    'its way to here is blocked',
    withPeer(failed, { reach: new Map([['192.0.2.2', 'refused']]) }),
    /the machine is there.*UDP port 6784/,
  ],
  [
    'peer_unreachable',
    'gone a moment ago, when both its probes and its answers stopped',
    withPeer(
      { ...failed, lastHeardSeconds: 4.2, lastRequestSeconds: 3.9 },
      { reach: new Map([['192.0.2.2', 'unreachable']]) },
    ),
    /no machine answers/,
  ],
  [
    'peer_unreachable',
    'gone',
    withPeer(failed, { reach: new Map([['192.0.2.2', 'unreachable']]) }),
    /no machine answers/,
  ],
  [
    'peer_unreachable',
    'blocked by a rule here',
    withPeer(failed, { ruleset: ruleset([chain('input'), firewallRule('input', toTunnel, { drop: null })]) }),
    /stopped by rule 7 of chain "inet fw input"/,
  ],
  [
    'peer_unreachable',
    'sending is refused',
    { ...withPeer(failed), traffic: withPeerTraffic({ drops: { egress_send_failed: 2 } }).traffic },
    /kernel of this node refuses to send/,
  ],
  [
    'peer_unreachable',
    'all peers',
    withReport({ peers: report.peers.map((peer) => ({ ...peer, ...failed })) }),
    /None of the 2 peers answers/,
  ],
  ['peer_loss', 'half of the probes', withPeer({ probeLoss: 0.5 }), /left 50% of the last minute's probes/],
  ['path_mtu', 'a narrow path', withPeer({ pathMtu: 1350 }), /1350 bytes, pods send up to 1450/],
  [
    'duplicate_identity',
    'one VTEP MAC address twice',
    withPeer({ vtepMac: '0e:00:00:00:00:03' }),
    /"node-b" and "node-c" have the VTEP MAC address/,
  ],
  [
    'duplicate_identity',
    'one underlay MAC address twice',
    {
      ...healthy,
      kernel: {
        ...healthy.kernel,
        neighbours: PEER_IPS.map((address) => ({
          index: 2,
          address,
          mac: healthy.kernel.neighbours[0]?.mac,
          permanent: false,
        })),
      },
    },
    /192.0.2.2 and 192.0.2.3 have one MAC address/,
  ],
  [
    'duplicate_identity',
    'our own MAC address',
    {
      ...healthy,
      kernel: {
        ...healthy.kernel,
        neighbours: [
          {
            index: 2,
            address: parseIpv4('192.0.2.2'),
            mac: healthy.kernel.links[1]?.address,
            permanent: false,
          },
        ],
      },
    },
    /this node's own interface "eth0"/,
  ],
  ['version_skew', 'another version', withPeer({ version: '0.0.9' }), /is 0.1.0, that of "node-b" is 0.0.9/],
  ['version_skew', 'another port', withPeer({ port: 7000 }), /tunnel port 7000/],
  ['cluster_objects', 'no Node', withApi({ status: 404 }), /no Node "node-a"/],
  ['cluster_objects', 'a Node made anew', withApi({ body: { metadata: { uid: 'uid-z' } } }), /UID is uid-z/],
  [
    'cluster_objects',
    'no Peer',
    withApi({}, { status: 404, body: { details: { name: 'node-a' } } }),
    /no Peer "node-a"/,
  ],
  [
    'cluster_objects',
    'no CRD',
    withApi({}, { status: 404, body: '404 page not found' }),
    /custom resource definition/,
  ],
  [
    'cluster_objects',
    'a machine of the same name',
    withApi({}, { body: { spec: { stateId: 'f'.repeat(32), addresses: ['192.0.2.9'] } } }),
    /Another machine \(192.0.2.9\)/,
  ],
  [
    'api',
    'unreachable',
    withApi({ status: 0, failure: 'ECONNREFUSED' }),
    /cannot be reached \(ECONNREFUSED\)/,
  ],
  [
    'api',
    'half-open',
    withApi({ status: 0, failure: 'TIMEOUT', milliseconds: 2500 }),
    /did not answer within 2.5 s/,
  ],
  ['api', 'slow', withApi({ milliseconds: 1800 }), /took 1.8 s/],
  ['api', 'forbidden', withApi({}, { status: 403 }), /does not allow it to get its Peer/],
  ['api', 'unauthorized', withApi({ status: 401 }), /credentials \(401\)/],
  [
    'api',
    'no connection of the agent',
    withReport({ api: { isConnected: false, lastSyncAgeSeconds: 44, source: 'api' } }),
    /no connection to the API.*44 s ago/,
  ],
  [
    'addresses',
    'no address',
    withReport({ ipam: { ...report.ipam, free: 0, rangeBlocks: 3 } }),
    /All 62 addresses.*no block/,
  ],
  [
    'addresses',
    'no block',
    withReport({ ipam: { ...report.ipam, rangeBlocks: 3 } }),
    /No block of 10.32.0.0\/12 is free/,
  ],
  [
    'addresses',
    'a fenced block',
    withReport({ ipam: { ...report.ipam, ownBlocks: [{ cidr: '10.32.0.0/26', state: 'fenced', used: 2 }] } }),
    /held by another node too; 2 pods/,
  ],
  [
    'addresses',
    'a log that cannot be written',
    withReport({ ipam: { ...report.ipam, logFailure: 'ENOSPC' } }),
    /ENOSPC/,
  ],
  [
    'network_contested',
    'a repair',
    withReport({ repairs: { count: 4, last: { text: 'set route', ageSeconds: 5 } } }),
    /5.0 s ago: set route \(4 repairs/,
  ],
  ['agent_says', 'a problem', withReport({ problems: ['Two peers claim 192.0.2.9'] }), /Two peers claim/],
];
