// The agent's metrics: Weave's names with Weave's meaning, so that its alerts and dashboards go on, and weft_* for the rest. Facts are
// pulled from `MetricsSource` at each scrape; what happens in between (requests, repairs) is counted by the functions of `Metrics`.
//
// Of Weave's, deliberately so: weave_connections has type="vxlan" (Weave said sleeve or fastdp, and we are neither) and every state,
// also at 0, so that alerts have data; retrying and connecting stay 0, there is nothing to dial. weave_flows does not exist: existing
// alerts fire on a low one. weave_ipam_unreachable_count has no type, since the conventions reserve _count for histograms.
import { addDataplaneMetrics } from './dataplane-metrics.ts';
import { addProcessMetrics } from './process-metrics.ts';
import { type MetricsRegistry, type Sample, createRegistry } from './registry.ts';
import { REPAIRED_OBJECTS, type RepairedObject } from './repaired-objects.ts';
import type { FirewallRefusals } from './refusal-totals.ts';
import type { Connection, StatsSnapshot } from './stats-reader.ts';

export interface MetricsSource {
  readonly version: string;
  /** A fresh observation; asked for once a scrape. */
  connections(): readonly Connection[];
  /** ConnectionTracker's. */
  terminations(): number;
  /** Whether packets to that peer are encrypted. */
  isEncrypted(peer: string): boolean;
  /** Undefined: the file is not there. Asked for once a scrape. */
  stats(): StatsSnapshot | undefined;
  /** What the node's nftables rules refused. Asked for once a scrape. */
  firewallRefusals(): FirewallRefusals;
  /** Addresses of this node. */
  pool(): {
    readonly used: number;
    readonly free: number;
    readonly pendingAllocations: number;
    readonly pendingClaims: number;
  };
  /** Blocks of this node by state. */
  ownBlocks(): Readonly<Record<'held' | 'fenced' | 'returning', number>>;
  /** Addresses in the range, and in the blocks that a peer holds. */
  rangeAddresses(): number;
  addressesOf(peer: string): number;
  /** Undefined: never. */
  api(): { readonly isConnected: boolean; readonly lastSyncAgeSeconds: number | undefined };
  snapshotAgeSeconds(): number | undefined;
  /** By role, since the keeper started. */
  roleRestarts(): Readonly<Record<string, number>>;
}

export interface Metrics {
  readonly contentType: string;
  render(): Promise<string>;
  /** `verb`: ADD, DEL …; `outcome`: ok, or the CNI error code. */
  cniOperation(operation: { verb: string; outcome: string; seconds: number }): void;
  /** `code`: the HTTP status, or the error's code when there was no answer. */
  apiRequest(request: { verb: string; resource: string; code: string }): void;
  apiRelisted(resource: string): void;
  repaired(object: RepairedObject): void;
}

const CNI_SECONDS = [
  0.001, 0.002, 0.003, 0.004, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
];

export function createMetrics(facts: MetricsSource): Metrics {
  const registry = createRegistry();
  const source = onceAScrape(facts);
  addWeaveMetrics(registry, source);
  addDataplaneMetrics(registry, source);
  addControlMetrics(registry, source);
  addProcessMetrics(registry);
  const cniOperations = registry.counter({
    name: 'weft_cni_operations_total',
    help: 'Requests of the container runtime, by CNI verb and outcome (ok, or the CNI error code).',
    labels: ['verb', 'outcome'],
  });
  const cniDuration = registry.histogram({
    name: 'weft_cni_operation_duration_seconds',
    help: 'Time that requests of the container runtime took in the agent.',
    labels: ['verb'],
    buckets: CNI_SECONDS,
  });
  const apiRequests = registry.counter({
    name: 'weft_api_requests_total',
    help: 'Requests to the Kubernetes API, by verb, resource and HTTP status (or error code without one).',
    labels: ['verb', 'resource', 'code'],
  });
  const apiRelists = registry.counter({
    name: 'weft_api_relists_total',
    help: 'Lists because a watch could not go on.',
    labels: ['resource'],
  });
  const repairs = registry.counter({
    name: 'weft_repairs_total',
    help: 'Objects of the node that were missing or changed and were put right, by kind.',
    labels: ['object'],
  });
  for (const object of REPAIRED_OBJECTS) repairs.add({ object }, 0);
  return {
    contentType: registry.contentType,
    render() {
      source.look();
      return registry.render();
    },
    cniOperation({ verb, outcome, seconds }) {
      cniOperations.add({ verb, outcome });
      cniDuration.observe({ verb }, seconds);
    },
    apiRequest: ({ verb, resource, code }) => apiRequests.add({ verb, resource, code }),
    apiRelisted: (resource) => apiRelists.add({ resource }),
    repaired: (object) => repairs.add({ object }),
  };
}

/** What is expensive to find out is the same for all metrics of a scrape. */
function onceAScrape(facts: MetricsSource): MetricsSource & { look(): void } {
  let connections: readonly Connection[] = [];
  let stats: StatsSnapshot | undefined;
  let firewallRefusals: FirewallRefusals = new Map();
  return {
    version: facts.version,
    look() {
      connections = facts.connections();
      stats = facts.stats();
      firewallRefusals = facts.firewallRefusals();
    },
    connections: () => connections,
    stats: () => stats,
    firewallRefusals: () => firewallRefusals,
    terminations: () => facts.terminations(),
    isEncrypted: (peer) => facts.isEncrypted(peer),
    pool: () => facts.pool(),
    ownBlocks: () => facts.ownBlocks(),
    rangeAddresses: () => facts.rangeAddresses(),
    addressesOf: (peer) => facts.addressesOf(peer),
    api: () => facts.api(),
    snapshotAgeSeconds: () => facts.snapshotAgeSeconds(),
    roleRestarts: () => facts.roleRestarts(),
  };
}

const CONNECTION_STATES = ['established', 'pending', 'retrying', 'failed', 'connecting'] as const;

function addWeaveMetrics(registry: MetricsRegistry, source: MetricsSource): void {
  registry.gauge({
    name: 'weave_connections',
    help: 'Number of peers by connection state; type is always vxlan, encryption is yes or empty.',
    labels: ['state', 'type', 'encryption'],
    samples() {
      const counts = new Map<string, number>(CONNECTION_STATES.map((state) => [`${state}/`, 0]));
      for (const { name, state } of source.connections()) {
        const key = `${state}/${source.isEncrypted(name) ? 'yes' : ''}`;
        counts.set(key, (counts.get(key) ?? 0) + 1);
      }
      return [...counts].map(([key, count]): Sample => {
        const [state = '', encryption = ''] = key.split('/');
        return [{ state, type: 'vxlan', encryption }, count];
      });
    },
  });
  registry.mirroredCounter({
    name: 'weave_connection_terminations_total',
    help: 'Number of peers that stopped answering; planned restarts and nodes that left do not count.',
    samples: () => [[{}, source.terminations()]],
  });
  registry.gauge({
    name: 'weave_ips',
    help: 'Number of addresses that pods of this node have.',
    labels: ['state'],
    samples: () => [[{ state: 'local-used' }, source.pool().used]],
  });
  single(registry, 'weave_max_ips', 'Size of the address range.', () => source.rangeAddresses());
  const unreachable = (): number =>
    source
      .connections()
      .filter(({ state }) => state === 'failed')
      .reduce((sum, { name }) => sum + source.addressesOf(name), 0);
  registry.untyped({
    name: 'weave_ipam_unreachable_count',
    help: 'Number of addresses in blocks of peers that do not answer.',
    samples: () => [[{}, unreachable()]],
  });
  single(
    registry,
    'weave_ipam_unreachable_percentage',
    'Share of the range that is in blocks of peers that do not answer.',
    () => (100 * unreachable()) / source.rangeAddresses(),
  );
  single(
    registry,
    'weave_ipam_pending_allocates',
    'Number of allocations under way.',
    () => source.pool().pendingAllocations,
  );
  single(
    registry,
    'weave_ipam_pending_claims',
    'Number of address blocks that this node wants and could not get yet.',
    () => source.pool().pendingClaims,
  );
}

function addControlMetrics(registry: MetricsRegistry, source: MetricsSource): void {
  registry.gauge({
    name: 'weft_build_info',
    help: 'The version that runs; the value is 1.',
    labels: ['version', 'runtime'],
    samples: () => [[{ version: source.version, runtime: process.version }, 1]],
  });
  registry.gauge({
    name: 'weft_ipam_blocks',
    help: 'Address blocks of this node by state.',
    labels: ['state'],
    samples: () => Object.entries(source.ownBlocks()).map(([state, count]): Sample => [{ state }, count]),
  });
  registry.gauge({
    name: 'weft_ipam_addresses',
    help: "Pod addresses in this node's blocks by state.",
    labels: ['state'],
    samples() {
      const { used, free } = source.pool();
      return [
        [{ state: 'used' }, used],
        [{ state: 'free' }, free],
      ];
    },
  });
  single(registry, 'weft_api_connected', 'Whether list and watch of the Kubernetes API work.', () =>
    source.api().isConnected ? 1 : 0,
  );
  single(
    registry,
    'weft_api_last_sync_age_seconds',
    'Time since the Kubernetes API was last heard.',
    () => source.api().lastSyncAgeSeconds,
  );
  single(registry, 'weft_snapshot_age_seconds', 'Time since the last-known state on disk was written.', () =>
    source.snapshotAgeSeconds(),
  );
  registry.mirroredCounter({
    name: 'weft_role_restarts_total',
    help: 'Processes of the agent that ended and were started again, by role.',
    labels: ['role'],
    samples: () => Object.entries(source.roleRestarts()).map(([role, count]): Sample => [{ role }, count]),
  });
}

/** One series without labels; none while the value is undefined. */
const single = (
  registry: MetricsRegistry,
  name: string,
  help: string,
  value: () => number | undefined,
): void => {
  registry.gauge({
    name,
    help,
    samples() {
      const now = value();
      return now === undefined ? [] : [[{}, now]];
    },
  });
};
