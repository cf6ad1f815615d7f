// A healthy node as the doctor sees it: two pods, two peers, its own rules in the kernel. Cases change one thing of it.
import { parseCidr, parseIpv4, parseMac } from '../../proto/address-text.ts';
import type { Ipv4 } from '../../proto/address.ts';
import type { NodeReport, PeerStatus } from '../../proto/node-report.ts';
import type { Link } from '../../proto/rtnetlink-link.ts';
import type { Route } from '../../proto/rtnetlink-route.ts';
import type { PolicyRule } from '../../proto/rtnetlink-rule.ts';
import { vni } from '../../proto/address.ts';
import { firewallCommands } from '../../agent/control/node/firewall-rules.ts';
import { bridgeWanted, tunWanted } from '../../agent/control/node/node-network.ts';
import { formatAlias, hostMacOf, podMacOf } from '../../agent/control/node/pod-ports.ts';
import { PORT_SETTINGS } from '../../agent/control/node/port-upkeep.ts';
import { readRuleset, type Ruleset } from '../../agent/doctor/ruleset.ts';
import type { PeerTraffic, Scene } from '../../agent/doctor/scene.ts';
import { parseSettings } from '../../agent/settings.ts';

export const NODE_IP: Ipv4 = parseIpv4('192.0.2.1');
export const PEER_IPS: readonly Ipv4[] = [parseIpv4('192.0.2.2'), parseIpv4('192.0.2.3')];
export const GATEWAY: Ipv4 = parseIpv4('10.32.0.1');
const MTU = 1450;
const RANGE = parseCidr('10.32.0.0/12');

export const settings: Scene['settings'] = parseSettings({
  HOSTNAME: 'node-a',
  WEFT_NODE_IP: '192.0.2.1',
  WEFT_CNI_CONF_DIR: '/host/etc/cni/net.d',
});

const plain: Link = {
  index: 1,
  name: 'lo',
  up: true,
  running: true,
  mtu: 65_536,
  txQueueLength: 1000,
  address: undefined,
  master: undefined,
  peerIndex: undefined,
  alias: undefined,
  kind: undefined,
  tunType: undefined,
  port: undefined,
  bridge: undefined,
  inet: { forwarding: 1, rp_filter: 0, accept_local: 0, send_redirects: 1, accept_redirects: 1 },
  ipv6Addresses: false,
};

export const POD_ADDRESSES: readonly Ipv4[] = [parseIpv4('10.32.0.2'), parseIpv4('10.32.0.3')];
const aliasOf = (address: Ipv4, at: number): string =>
  formatAlias({ containerId: `c${at}`, interfaceName: 'eth0', address, mac: undefined });

const bridgeSettings = bridgeWanted(NODE_IP, MTU);
const tunSettings = tunWanted(MTU);
const links: readonly Link[] = [
  plain,
  { ...plain, index: 2, name: 'eth0', mtu: 1500, address: parseMac('52:54:00:00:00:01') },
  {
    ...plain,
    index: 3,
    name: 'weave',
    kind: 'bridge',
    mtu: MTU,
    address: bridgeSettings.address,
    bridge: { spanningTree: 0 },
    inet: { ...plain.inet, ...bridgeSettings.inet },
  },
  {
    ...plain,
    index: 4,
    name: 'weft0',
    kind: 'tun',
    tunType: 1,
    mtu: MTU,
    txQueueLength: tunSettings.txQueueLength ?? 0,
    inet: { ...plain.inet, ...tunSettings.inet },
  },
  ...POD_ADDRESSES.map((address, at): Link => {
    const alias = aliasOf(address, at);
    const made = { index: 10 + at, name: `vethwepod${at}`, kind: 'veth', mtu: MTU, master: 3, alias };
    return Object.assign({}, plain, made, {
      address: hostMacOf(alias),
      port: { state: 3, ...PORT_SETTINGS },
    });
  }),
];

export const route = (destination: string, index: number, more: Partial<Route> = {}): Route => ({
  destination: parseCidr(destination),
  table: 254,
  protocol: 0x57,
  scope: 253,
  type: 1,
  index,
  gateway: undefined,
  preferredSource: undefined,
  priority: 0,
  onLink: false,
  ...more,
});

export const rule = (priority: number, table: number, more: Partial<PolicyRule> = {}): PolicyRule => ({
  priority,
  source: undefined,
  destination: undefined,
  mark: undefined,
  inputInterface: undefined,
  outputInterface: undefined,
  action: 1,
  table,
  suppressedPrefixLength: -1,
  isInverted: false,
  isSelective: false,
  ...more,
});

const peerStatus = (name: string, address: string, at: number): PeerStatus => ({
  name,
  address,
  port: 6784,
  vtepMac: `0e:00:00:00:00:0${at}`,
  version: '0.1.0',
  state: 'established',
  sinceSeconds: 100,
  lastHeardSeconds: 0.4,
  lastRequestSeconds: 0.5,
  roundTripSeconds: 0.0002,
  probeLoss: 0,
  pathMtu: MTU,
  egressPackets: 10,
  ingressPackets: 10,
  blocks: 1,
});

export const report: NodeReport = {
  version: '0.1.0',
  node: { name: 'node-a', uid: 'uid-a', address: '192.0.2.1', port: 6784, vtepMac: '0e:00:00:00:00:01' },
  notReady: [],
  api: { isConnected: true, lastSyncAgeSeconds: 12, source: 'api' },
  network: {
    range: '10.32.0.0/12',
    blockPrefixLength: 26,
    gateway: '10.32.0.1',
    mtu: MTU,
    masquerade: true,
  },
  ipam: {
    total: 62,
    used: 2,
    free: 60,
    ownBlocks: [{ cidr: '10.32.0.0/26', state: 'held', used: 2 }],
    blocksByNode: { 'node-a': 1, 'node-b': 1, 'node-c': 1 },
    rangeBlocks: 16_384,
    quarantinedBlocks: 0,
    allocations: ['10.32.0.2', '10.32.0.3'].map((address, at) => ({
      address,
      containerId: `c${at}`,
      interfaceName: 'eth0',
      podName: `default/pod-${at}`,
      hostInterface: `vethwepod${at}`,
      sinceSeconds: 60,
    })),
    logFailure: undefined,
  },
  peers: [peerStatus('node-b', '192.0.2.2', 2), peerStatus('node-c', '192.0.2.3', 3)],
  dataplane: { processId: 4711, generation: 7, upSeconds: 100 },
  drops: {},
  roles: [{ role: 'dataplane', pid: 4711, restarts: 0 }],
  repairs: { count: 0, last: undefined },
  lastError: undefined,
  recent: [],
  problems: [],
  settings: {},
};

const peerTraffic = (address: Ipv4, slot: number): PeerTraffic => ({
  slot,
  address,
  port: 6784,
  vtepMac: parseMac(`0e:00:00:00:00:0${slot + 2}`),
  probes: true,
  drops: {},
});

/** Our own tables as the kernel would list them, with `foreign` objects beside. */
export function ruleset(foreign: readonly Readonly<Record<string, unknown>>[] = [], text = ''): Ruleset {
  const commands = firewallCommands(
    { range: RANGE, tunnelPort: 6784, peerAddresses: [NODE_IP, ...PEER_IPS], masquerade: true },
    { inetChains: [], inetSets: [], bridgeChains: [] },
  );
  const own = commands.flatMap(({ add }): readonly Readonly<Record<string, unknown>>[] => {
    if (typeof add !== 'object' || add === null) return [];
    const { element, ...others } = add as Readonly<Record<string, unknown>>; // as: an object, checked above
    return [element === undefined ? others : { set: Object.assign({}, element, { name: 'peers' }) }];
  });
  return readRuleset([...own, ...foreign], text);
}

const owners = new Uint16Array(16_384);
owners.set([1, 2, 3]); // this node, the peer in slot 0, the peer in slot 1

export const healthy: Scene = {
  settings,
  settingsRefusal: undefined,
  nodeIp: NODE_IP,
  agent: { report, earlier: report, refusal: undefined, silence: undefined },
  processes: (['keeper', 'control', 'dataplane', 'dataplane'] as const).map((role, at) => ({
    role,
    pid: 4710 + at,
    state: 'S',
    openFilesLimit: 1_048_576,
  })),
  sockets: {
    udp: [
      {
        address: '192.0.2.1',
        port: 6784,
        inode: '100',
        drops: 5,
        queuedBytes: 0,
        owner: { pid: 4710, command: 'node', isAgent: true },
      },
    ],
    udpEarlier: [
      { address: '192.0.2.1', port: 6784, inode: '100', drops: 5, queuedBytes: 0, owner: undefined },
    ],
    tcp: [
      {
        address: '127.0.0.1',
        port: 6784,
        inode: '101',
        drops: 0,
        queuedBytes: 0,
        owner: { pid: 4711, command: 'node', isAgent: true },
      },
    ],
  },
  traffic: {
    table: {
      generation: 7,
      range: RANGE,
      blockPrefixLength: 26,
      vni: vni(1),
      vtepMac: parseMac('0e:00:00:00:00:01'),
      gateway: GATEWAY,
      peers: [],
      owners,
    },
    seconds: 2.2,
    peers: PEER_IPS.map(peerTraffic),
    drops: {},
    loops: 40,
    generation: 7,
  },
  kernel: {
    links,
    addresses: [
      { index: 2, address: NODE_IP, prefixLength: 24, scope: 0 },
      { index: 3, address: GATEWAY, prefixLength: 32, scope: 0 },
      { index: 4, address: GATEWAY, prefixLength: 32, scope: 0 },
    ],
    routes: [
      route('0.0.0.0/0', 2, { protocol: 3, gateway: parseIpv4('192.0.2.254') }),
      route('192.0.2.0/24', 2, { protocol: 2 }),
      route('10.32.0.0/12', 4, { preferredSource: GATEWAY }),
      route('10.32.0.0/26', 3, { preferredSource: GATEWAY }),
      route('10.32.0.1/32', 3, { table: 255, type: 2, protocol: 2 }),
    ],
    rules: [rule(0, 255), rule(32_766, 254), rule(32_767, 253)],
    neighbours: PEER_IPS.map((address, at) => ({
      index: 2,
      address,
      mac: parseMac(`52:54:00:00:00:0${at + 2}`),
      permanent: false,
    })),
    missing: new Set(),
  },
  ruleset: ruleset(),
  legacyTables: [],
  pods: POD_ADDRESSES.map((address, at) => ({
    hostInterface: `vethwepod${at}`,
    mac: podMacOf(aliasOf(address, at)),
    address,
  })),
  sysctls: {
    'net/ipv4/ip_forward': 1,
    'net/ipv4/conf/all/rp_filter': 0,
    'net/ipv4/neigh/default/gc_thresh3': 1024,
    'net/netfilter/nf_conntrack_count': 100,
    'net/netfilter/nf_conntrack_max': 262_144,
    'user/max_net_namespaces': 60_000,
  },
  counters: {
    udpChecksumErrors: 0,
    neighbourTableFulls: 0,
    neighbours: 20,
    cgroup: {
      pidsMax: undefined,
      pidsCurrent: 60,
      memoryMax: 640 << 20,
      memoryCurrent: 120 << 20,
      oomKills: 0,
    },
  },
  files: {
    state: { path: '/var/lib/weft', refusal: undefined, freeBytes: 1 << 30, freeInodes: 1 << 20 },
    run: { path: '/run/weft', refusal: undefined, freeBytes: 1 << 30, freeInodes: 1 << 20 },
    snapshotAgeSeconds: 60,
    snapshotRefusal: undefined,
    fromTheFuture: [],
    stateId: '0123456789abcdef0123456789abcdef',
    cni: {
      directory: '/host/etc/cni/net.d',
      refusal: undefined,
      configurations: ['10-weft.conflist'],
      pluginDirectory: '/opt/cni/bin',
      pluginRefusal: undefined,
    },
    tunRefusal: undefined,
    tokenExpiresMs: 2_000_000_000_000,
  },
  api: {
    server: 'https://10.96.0.1:443',
    configuration: undefined,
    node: {
      status: 200,
      failure: undefined,
      milliseconds: 12,
      clockAheadSeconds: -0.4,
      body: { metadata: { name: 'node-a', uid: 'uid-a' } },
    },
    peer: {
      status: 200,
      failure: undefined,
      milliseconds: 12,
      clockAheadSeconds: -0.4,
      body: { spec: { stateId: '0123456789abcdef0123456789abcdef', addresses: ['192.0.2.1'] } },
    },
  },
  reach: new Map(),
  nowMs: 1_900_000_000_000,
  serviceHost: '10.96.0.1',
  version: '0.1.0',
  unseen: [],
};
