// What the doctor must find of the agent, its files, its clock and its firewall.
import { parseCidr, parseIpv4 } from '../../proto/address-text.ts';
import { healthy, report, route, rule, ruleset } from './doctor-scene.ts';
import {
  type DoctorCase,
  cni,
  withReport,
  withLink,
  withRoutes,
  withFiles,
  withApi,
  silent,
} from './doctor-changes.ts';

export const NODE_CASES: readonly DoctorCase[] = [
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
];
