// Each check of the doctor finds its fault in a scene that has it, and says nothing about a healthy one.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { parseCidr, parseIpv4 } from '../../proto/address-text.ts';
import type { NodeReport, PeerStatus } from '../../proto/node-report.ts';
import type { Link } from '../../proto/rtnetlink-link.ts';
import { examine } from '../../agent/doctor/check.ts';
import { CHECKS } from '../../agent/doctor/checks.ts';
import type { AgentFacts, ApiAnswer, FileFacts, PeerTraffic, Scene } from '../../agent/doctor/scene.ts';
import { healthy, PEER_IPS, report, route, rule, ruleset } from './doctor-scene.ts';

const withReport = (change: Partial<NodeReport>, agent: Partial<AgentFacts> = {}): Scene => ({
  ...healthy,
  agent: { ...healthy.agent, report: { ...report, ...change }, ...agent },
});
const withLink = (name: string, change: Partial<Link>): Scene => ({
  ...healthy,
  kernel: {
    ...healthy.kernel,
    links: healthy.kernel.links.map((link) => (link.name === name ? Object.assign({}, link, change) : link)),
  },
});
const withoutLink = (name: string): Scene => ({
  ...healthy,
  kernel: { ...healthy.kernel, links: healthy.kernel.links.filter((link) => link.name !== name) },
});
const withRoutes = (...routes: Scene['kernel']['routes']): Scene => ({
  ...healthy,
  kernel: { ...healthy.kernel, routes: [...healthy.kernel.routes, ...routes] },
});
const withFiles = (change: Partial<FileFacts>): Scene => ({
  ...healthy,
  files: { ...healthy.files, ...change },
});
const withPeer = (change: Partial<PeerStatus>, scene: Partial<Scene> = {}): Scene => ({
  ...withReport({ peers: report.peers.map((peer, at) => (at === 0 ? { ...peer, ...change } : peer)) }),
  ...scene,
});
const traffic = healthy.traffic!; // !: the healthy scene has it
const withPeerTraffic = (change: Partial<PeerTraffic>): Scene => ({
  ...healthy,
  traffic: {
    ...traffic,
    peers: traffic.peers.map((peer, at) => (at === 0 ? Object.assign({}, peer, change) : peer)),
  },
});
const answer = (change: Partial<ApiAnswer>): ApiAnswer => ({
  status: 200,
  failure: undefined,
  milliseconds: 10,
  clockAheadSeconds: 0,
  body: undefined,
  ...change,
});
const withApi = (node: Partial<ApiAnswer>, peer: Partial<ApiAnswer> = {}): Scene => ({
  ...healthy,
  api: {
    server: 'https://10.96.0.1:443',
    configuration: undefined,
    node: answer({ body: { metadata: { uid: 'uid-a' } }, ...node }),
    peer: answer({ body: { spec: {} }, ...peer }),
  },
});
const chain = (hook: string, policy = 'accept'): Readonly<Record<string, unknown>> => ({
  chain: { family: 'inet', table: 'fw', name: hook, type: 'filter', hook, prio: 0, policy },
});
const firewallRule = (hook: string, ...expr: readonly unknown[]): Readonly<Record<string, unknown>> => ({
  rule: { family: 'inet', table: 'fw', chain: hook, handle: 7, expr },
});
const toTunnel = {
  match: { op: '==', left: { payload: { protocol: 'udp', field: 'dport' } }, right: 6784 },
};
const failed: Partial<PeerStatus> = { state: 'failed', lastHeardSeconds: 9, lastRequestSeconds: 9 };
const { cni } = healthy.files;

const withSockets = (change: Partial<Scene['sockets']>): Scene => ({
  ...healthy,
  sockets: { ...healthy.sockets, ...change },
});
const [socket] = healthy.sockets.udp;
assert.ok(socket !== undefined && cni !== undefined);

const silent: Scene = {
  ...healthy,
  agent: { report: undefined, earlier: undefined, refusal: undefined, silence: 'ECONNREFUSED' },
  processes: [],
};

const CASES: readonly (readonly [check: string, fault: string, scene: Scene, says: RegExp])[] = [
  ['settings', 'a bad setting', { ...healthy, settingsRefusal: 'Cannot use WEFT_PORT="x"' }, /WEFT_PORT/],
  ['agent', 'nobody answers', silent, /none of its processes runs here/],
  [
    'agent',
    'no TUN, so no agent',
    { ...silent, files: { ...healthy.files, tunRefusal: 'ENOENT' } },
    /dev\/net\/tun cannot be opened \(ENOENT\)/,
  ],
  [
    'agent',
    'a refused start',
    { ...healthy, agent: { ...healthy.agent, report: undefined, refusal: 'Cannot open' } },
    /cannot start: Cannot open/,
  ],
  ['tun_device', 'TUN denied', withFiles({ tunRefusal: 'EPERM' }), /EPERM/],
  [
    'agent_processes',
    'a stopped data plane',
    {
      ...healthy,
      processes: healthy.processes.map((process) => ({
        role: process.role,
        pid: process.pid,
        openFilesLimit: undefined,
        state: process.role === 'dataplane' ? 'T' : 'S',
      })),
    },
    /dataplane \(process 4712\) is stopped/,
  ],
  [
    'agent_processes',
    'restarts that grow',
    withReport(
      { roles: [{ role: 'control', pid: 1, restarts: 2 }] },
      { earlier: { ...report, roles: [{ role: 'control', pid: 1, restarts: 1 }] } },
    ),
    /control was restarted 2 times.*just now/,
  ],
  ['agent_processes', 'no spare', { ...healthy, processes: healthy.processes.slice(0, 3) }, /no spare/],
  [
    'two_agents',
    'two keepers',
    {
      ...healthy,
      processes: [
        ...healthy.processes,
        ...healthy.processes.slice(0, 1).map((keeper) => Object.assign({}, keeper, { pid: 9000 })),
      ],
    },
    /2 agents run.*4710, 9000/,
  ],
  [
    'agent_limits',
    'few processes',
    { ...healthy, counters: { ...healthy.counters, cgroup: { ...healthy.counters.cgroup, pidsMax: 64 } } },
    /60 of 64 processes/,
  ],
  [
    'agent_limits',
    'killed for memory',
    { ...healthy, counters: { ...healthy.counters, cgroup: { ...healthy.counters.cgroup, oomKills: 1 } } },
    /ended 1 processes.*640 MiB/,
  ],
  [
    'state_directory',
    'a read-only disk',
    withFiles({ state: { ...healthy.files.state, refusal: 'EROFS' } }),
    /read-only/,
  ],
  [
    'state_directory',
    'a full disk',
    withFiles({ state: { ...healthy.files.state, freeBytes: 0 } }),
    /0 KiB left/,
  ],
  ['snapshot', 'a torn snapshot', withFiles({ snapshotRefusal: 'torn' }), /torn/],
  [
    'snapshot',
    'an old snapshot while the API is away',
    {
      ...withFiles({ snapshotAgeSeconds: 200_000 }),
      agent: withReport({ api: { ...report.api, isConnected: false } }).agent,
    },
    /56 hours old/,
  ],
  ['clock', 'a clock ahead', withApi({ clockAheadSeconds: -400 }), /6.* ahead of|400 s ahead of/],
  [
    'clock',
    'files of the future',
    withFiles({ fromTheFuture: [{ name: 'snapshot.json', aheadSeconds: 3600 }] }),
    /snapshot.json.*3600 s from now/,
  ],
  ['clock', 'an expired token', withFiles({ tokenExpiresMs: 1_000 }), /token has expired/],
  [
    'cni',
    'another configuration first',
    withFiles({ cni: { ...cni, configurations: ['05-cilium.conflist', '10-weft.conflist'] } }),
    /05-cilium/,
  ],
  [
    'cni',
    'ours is missing',
    withFiles({ cni: { ...cni, configurations: [] } }),
    /10-weft.conflist" is missing/,
  ],
  [
    'cni',
    'the plugin is missing',
    withFiles({ cni: { ...cni, pluginRefusal: 'ENOENT' } }),
    /opt\/cni\/bin\/weft" is missing/,
  ],
  [
    'kernel_tables',
    'a full connection table',
    { ...healthy, sysctls: { ...healthy.sysctls, 'net/netfilter/nf_conntrack_count': 262_144 } },
    /262144 of 262144/,
  ],
  [
    'kernel_tables',
    'a full neighbour table',
    { ...healthy, counters: { ...healthy.counters, neighbours: 1024 } },
    /1024 entries/,
  ],
  [
    'kernel_tables',
    'few namespaces',
    { ...healthy, sysctls: { ...healthy.sysctls, 'user/max_net_namespaces': 10 } },
    /at most 10 network namespaces/,
  ],
  [
    'leftovers',
    'flannel',
    withLink('lo', { name: 'flannel.1', kind: 'vxlan' }),
    /flannel: flannel.1|flannel are on the node: flannel.1/,
  ],
  [
    'leftovers',
    "Weave Net's chains",
    { ...healthy, ruleset: ruleset([{ chain: { family: 'ip', table: 'nat', name: 'WEAVE' } }]) },
    /Chains of Weave Net/,
  ],
  [
    'range_overlap',
    'an address of the range',
    {
      ...healthy,
      kernel: {
        ...healthy.kernel,
        addresses: [
          ...healthy.kernel.addresses,
          { index: 2, address: parseIpv4('10.33.0.1'), prefixLength: 24, scope: 0 },
        ],
      },
    },
    /10.33.0.1\/24 on "eth0"/,
  ],
  [
    'range_overlap',
    'a route into the range',
    withRoutes(route('10.40.0.0/16', 2, { protocol: 3 })),
    /10.40.0.0\/16 on "eth0"/,
  ],
  [
    'range_overlap',
    "Services' addresses",
    { ...healthy, serviceHost: '10.32.0.1' },
    /Service address 10.32.0.1/,
  ],
  [
    'routes',
    'the range route deleted',
    {
      ...healthy,
      kernel: {
        ...healthy.kernel,
        routes: healthy.kernel.routes.filter(({ destination }) => destination.prefixLength !== 12),
      },
    },
    /no route 10.32.0.0\/12 via "weft0"/,
  ],
  [
    'foreign_routes',
    'a more specific route',
    withRoutes(route('10.32.0.64/26', 2, { protocol: 3, gateway: parseIpv4('192.0.2.254') })),
    /route 10.32.0.64\/26 by 192.0.2.254 sends it to "eth0"/,
  ],
  [
    'foreign_routes',
    'a policy rule',
    {
      ...withRoutes(route('0.0.0.0/0', 2, { table: 99, protocol: 3 })),
      kernel: {
        ...withRoutes(route('0.0.0.0/0', 2, { table: 99, protocol: 3 })).kernel,
        rules: [...healthy.kernel.rules, rule(100, 99, { source: parseCidr('10.32.0.0/12') })],
      },
    },
    /table 99 sends it to "eth0" \(rule 100\)/,
  ],
  [
    'ip_forward',
    'no forwarding at the default route',
    withLink('eth0', { inet: { ...healthy.kernel.links[1]?.inet, forwarding: 0 } }),
    /"eth0" of the default route/,
  ],
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
  [
    'peer_loss',
    'half of the probes',
    withPeerTraffic({ probesSent: 4, probesAnswered: 1 }),
    /answered 1 of 4/,
  ],
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

describe('doctor', () => {
  it('says nothing about a healthy node', () => {
    assert.deepEqual(examine(healthy, CHECKS), []);
  });

  for (const [id, fault, scene, says] of CASES) {
    it(`${id} finds: ${fault}`, () => {
      const found = examine(scene, CHECKS).filter(({ check }) => check === id);
      assert.ok(
        found.some(({ what }) => says.test(what)),
        `expected ${says}, found ${JSON.stringify(found.map(({ what }) => what))}`,
      );
      for (const { why, fix } of found) assert.ok(why !== '' && fix !== '');
    });
  }

  it('has a case for each check, and each check a name of its own', () => {
    const ids = CHECKS.map(({ id }) => id);
    assert.equal(new Set(ids).size, ids.length);
    const tried = new Set(CASES.map(([id]) => id));
    assert.deepEqual(
      ids.filter((id) => !tried.has(id)),
      [],
    );
  });

  it('puts errors before warnings', () => {
    const scene: Scene = { ...withPeer(failed), files: withFiles({ snapshotRefusal: 'torn' }).files };
    const severities = examine(scene, CHECKS).map(({ severity }) => severity);
    assert.deepEqual(severities, severities.toSorted());
  });

  it('never proposes to delete the default route, also where no agent has made ours', () => {
    const bare = withoutLink('weft0');
    const routes = bare.kernel.routes.filter(({ protocol }) => protocol !== 0x57);
    const scene: Scene = { ...bare, agent: silent.agent, processes: [], kernel: { ...bare.kernel, routes } };
    for (const { fix } of examine(scene, CHECKS)) assert.doesNotMatch(fix, /ip route del 0\.0\.0\.0\/0/);
  });
});
