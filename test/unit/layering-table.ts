// The authority on layering: which part of the sources may import what; layering.test.ts holds the sources to it. Extend it here; each
// departure states its reason.

export const ANY_NODE = 'any';

export interface Area {
  /** A folder (with the slash) or one file. The longest that matches a file is its area. */
  readonly path: string;
  /** Beside its own files. Only areas further up in the table, so there are no cycles between areas. */
  readonly mayImport: readonly string[];
  /** Built-in modules of Node: none for pure logic. */
  readonly node: readonly string[] | typeof ANY_NODE;
}

/** From the bottom up. `agent/` itself is the keeper and its roles, a program; control and the data plane are programs of their own. */
export const AREAS: readonly Area[] = [
  // Pure: no I/O.
  { path: 'proto/', mayImport: [], node: [] },
  { path: 'agent/operation-error.ts', mayImport: [], node: [] },
  { path: 'agent/secrets.ts', mayImport: [], node: [] },
  { path: 'agent/setting-table.ts', mayImport: [], node: [] },
  {
    path: 'agent/settings.ts',
    mayImport: ['proto/', 'agent/operation-error.ts', 'agent/setting-table.ts'],
    node: [],
  },
  { path: 'agent/version.ts', mayImport: [], node: ['node:fs'] },
  { path: 'agent/role-states.ts', mayImport: [], node: ['node:fs'] },
  // What is told of a node, as text.
  { path: 'agent/report/', mayImport: ['proto/'], node: [] },
  { path: 'agent/ipam/', mayImport: ['proto/', 'agent/operation-error.ts'], node: [] },
  { path: 'agent/dataplane/', mayImport: ['proto/', 'agent/operation-error.ts'], node: [] },
  { path: 'agent/wire/', mayImport: ['proto/', 'agent/operation-error.ts'], node: [] },
  // Adapters: they know their technology and not each other.
  { path: 'agent/linux/', mayImport: ['proto/', 'agent/operation-error.ts'], node: ANY_NODE },
  {
    path: 'agent/kube/',
    mayImport: ['proto/', 'agent/operation-error.ts', 'agent/secrets.ts'],
    node: ANY_NODE,
  },
  { path: 'agent/telemetry/', mayImport: ['proto/', 'agent/operation-error.ts'], node: ANY_NODE },
  {
    path: 'agent/hand-over/',
    mayImport: ['proto/', 'agent/operation-error.ts', 'agent/linux/'],
    node: [],
  },
  {
    path: 'agent/preflight.ts',
    mayImport: ['proto/', 'agent/operation-error.ts', 'agent/settings.ts', 'agent/linux/'],
    node: ['node:fs', 'node:path'],
  },
  // Programs.
  {
    path: 'agent/control/',
    mayImport: [
      'proto/',
      'agent/operation-error.ts',
      'agent/setting-table.ts',
      'agent/settings.ts',
      'agent/preflight.ts',
      'agent/version.ts',
      'agent/role-states.ts',
      'agent/report/',
      'agent/ipam/',
      'agent/linux/',
      'agent/kube/',
      'agent/telemetry/',
    ],
    node: ANY_NODE,
  },
  // What a browser runs: no Node, no packages.
  { path: 'agent/control/map/page/', mayImport: [], node: [] },
  {
    path: 'agent/',
    mayImport: [
      'proto/',
      'agent/operation-error.ts',
      'agent/settings.ts',
      'agent/preflight.ts',
      'agent/version.ts',
      'agent/role-states.ts',
      'agent/linux/',
      'agent/hand-over/',
      'agent/telemetry/',
    ],
    node: ANY_NODE,
  },
  {
    // Holds a node against what control makes of one, by control's own words for it.
    path: 'agent/doctor/',
    mayImport: [
      'proto/',
      'agent/operation-error.ts',
      'agent/setting-table.ts',
      'agent/settings.ts',
      'agent/preflight.ts',
      'agent/version.ts',
      'agent/report/',
      'agent/linux/',
      'agent/kube/',
      'agent/telemetry/',
      'agent/control/',
    ],
    node: [],
  },
  {
    path: 'agent/cli/',
    mayImport: [
      'proto/',
      'agent/operation-error.ts',
      'agent/secrets.ts',
      'agent/setting-table.ts',
      'agent/settings.ts',
      'agent/version.ts',
      'agent/report/',
      'agent/linux/',
      'agent/kube/',
      'agent/doctor/',
      'agent/role-states.ts',
      'agent/wire/',
      'agent/telemetry/',
    ],
    node: ANY_NODE,
  },
  { path: 'embedded-api/', mayImport: ['proto/'], node: ANY_NODE },
  { path: 'manifests/', mayImport: ['proto/', 'agent/setting-table.ts', 'agent/report/'], node: ANY_NODE },
  // Nothing that ships imports these.
  { path: 'test/', mayImport: ['proto/', 'agent/', 'embedded-api/', 'manifests/'], node: ANY_NODE },
  { path: 'bench/', mayImport: ['proto/', 'agent/', 'embedded-api/', 'test/'], node: ANY_NODE },
];

export interface Departure {
  readonly files: readonly string[];
  /** Areas, beside its area's. */
  readonly mayImport?: readonly string[];
  readonly node?: readonly string[] | typeof ANY_NODE;
  readonly because: string;
}

export const DEPARTURES: readonly Departure[] = [
  {
    files: ['agent/ipam/address-log.ts'],
    mayImport: ['agent/linux/'],
    node: ['node:fs', 'node:fs/promises', 'node:path'],
    because: 'the adapter of the pool: the log on disk, synced and locked',
  },
  {
    files: ['agent/dataplane/main.ts', 'agent/dataplane/prepare.ts'],
    mayImport: ['agent/settings.ts', 'agent/linux/', 'agent/telemetry/'],
    node: ANY_NODE,
    because: 'the composition root of the data plane',
  },
  {
    files: ['agent/dataplane/log-line.ts', 'agent/dataplane/report.ts'],
    mayImport: ['agent/linux/', 'agent/telemetry/'],
    because: 'the vocabulary of the logs, and the adapter that writes lines; types, and the pure log-text.ts',
  },
  {
    files: [
      'agent/dataplane/loop.ts',
      'agent/dataplane/probe-socket.ts',
      'agent/dataplane/receiver.ts',
      'agent/dataplane/transmitter.ts',
      'agent/dataplane/tun-port.ts',
    ],
    mayImport: ['agent/linux/'],
    node: ['node:os'],
    because: 'adapters of the data plane: the system calls of one descriptor, and the loop over them',
  },
  {
    files: ['agent/dataplane/capture-file.ts'],
    mayImport: ['agent/linux/'],
    node: ['node:fs', 'node:path'],
    because: 'adapter of the tap: maps the file that `weft capture` makes',
  },
  {
    files: ['agent/dataplane/packet-kernels.ts'],
    node: ['node:fs'],
    because: 'reads the WebAssembly kernels beside it',
  },
  {
    files: ['agent/dataplane/assemble.ts'],
    node: ['node:child_process', 'node:fs', 'node:path'],
    because: 'a build step: makes the WebAssembly kernels from their source',
  },
  {
    files: ['agent/cli/trace-tables.ts'],
    mayImport: ['agent/control/'],
    because: 'reads what control makes, by the names and marks that control gives it',
  },
  {
    files: ['agent/cli/commands/trace.ts'],
    mayImport: ['agent/dataplane/'],
    because: "tells the data plane's choice of a send socket, by its own pure function",
  },
  {
    files: ['agent/cli/node-removal.ts'],
    mayImport: ['agent/control/'],
    because: 'takes away what control makes, by the names and marks that control gives it',
  },
  {
    files: [
      'agent/doctor/gather.ts',
      'agent/doctor/sources/cluster.ts',
      'agent/doctor/sources/files.ts',
      'agent/doctor/sources/proc-files.ts',
      'agent/doctor/sources/processes.ts',
      'agent/doctor/sources/reach.ts',
      'agent/doctor/sources/sockets.ts',
      'agent/doctor/sources/traffic.ts',
    ],
    node: ANY_NODE,
    because: 'adapters of the doctor: they gather the scene that its checks are pure functions of',
  },
];

/** Where each npm package is imported: one file, or one folder of the tests. Tests may import any of them. */
export const PACKAGES: Readonly<Record<string, string>> = {
  'ipaddr.js': 'proto/address-text.ts',
  koffi: 'agent/linux/libc.ts',
  '@kubernetes/client-node': 'agent/kube/cluster-config.ts',
  pino: 'agent/telemetry/logger.ts',
  'prom-client': 'agent/telemetry/registry.ts',
  'dgram-as-promised': 'test/lab/',
};
