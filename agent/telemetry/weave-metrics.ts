// Weave's metrics. Deliberately so: weave_connections has type="vxlan" (Weave said sleeve or fastdp, and we are neither) and every state,
// also at 0, so that alerts have data; retrying and connecting stay 0, there is nothing to dial. weave_flows does not exist: existing
// alerts fire on a low one. weave_ipam_unreachable_count has no type, since the conventions reserve _count for histograms.
import type { Look, MetricsSource } from './metrics.ts';
import { type MetricsRegistry, type Sample, single } from './registry.ts';

const CONNECTION_STATES = ['established', 'pending', 'retrying', 'failed', 'connecting'] as const;

const OF_ALL = { type: 'vxlan', encryption: '' };

export function addWeaveMetrics(registry: MetricsRegistry, source: MetricsSource, look: () => Look): void {
  registry.gauge({
    name: 'weave_connections',
    help: 'Number of peers by connection state; type is always vxlan, encryption always empty.',
    samples() {
      const counts = new Map<string, number>(CONNECTION_STATES.map((state) => [state, 0]));
      for (const { state } of look().connections) counts.set(state, (counts.get(state) ?? 0) + 1);
      return Array.from(counts, ([state, count]): Sample => [{ state, ...OF_ALL }, count]);
    },
  });
  registry.mirroredCounter({
    name: 'weave_connection_terminations_total',
    help: 'Number of peers that stopped answering; planned restarts and nodes that left do not count.',
    samples: single(() => source.terminations()),
  });
  registry.gauge({
    name: 'weave_ips',
    help: 'Number of addresses that pods of this node have.',
    samples: () => [[{ state: 'local-used' }, source.pool().used]],
  });
  registry.gauge({
    name: 'weave_max_ips',
    help: 'Size of the address range.',
    samples: single(() => source.rangeAddresses()),
  });
  const unreachable = (): number =>
    look()
      .connections.filter(({ state }) => state === 'failed')
      .reduce((sum, { name }) => sum + source.addressesOf(name), 0);
  registry.untyped({
    name: 'weave_ipam_unreachable_count',
    help: 'Number of addresses in blocks of peers that do not answer.',
    samples: single(unreachable),
  });
  registry.gauge({
    name: 'weave_ipam_unreachable_percentage',
    help: 'Share of the range that is in blocks of peers that do not answer.',
    samples: single(() => (100 * unreachable()) / source.rangeAddresses()),
  });
  registry.gauge({
    name: 'weave_ipam_pending_allocates',
    help: 'Number of allocations under way.',
    samples: single(() => source.pool().pendingAllocations),
  });
  registry.gauge({
    name: 'weave_ipam_pending_claims',
    help: 'Number of address blocks that this node wants and could not get yet.',
    samples: single(() => source.pool().pendingClaims),
  });
}
