// The agent's metrics: Weave's names with Weave's meaning (weave-metrics.ts), so that its alerts and dashboards go on, and weft_* for the
// rest. Facts are pulled from `MetricsSource` at each scrape; what happens in between (requests, repairs) is counted by the functions of
// `Metrics`. docs/operations/metrics.md has each of them; a test compares it with what a filled source renders.
import { type ApiCounters, type ApiFacts, addApiMetrics } from './api-metrics.ts';
import { type CniCounters, addCniMetrics } from './cni-metrics.ts';
import { addDataplaneMetrics } from './dataplane-metrics.ts';
import { type IpamCounters, type IpamFacts, addIpamMetrics } from './ipam-metrics.ts';
import type { TunnelDrops } from './kernel-counters.ts';
import { type NodeCounters, type NodeFacts, addNodeMetrics } from './node-metrics.ts';
import { addPeerMetrics } from './peer-metrics.ts';
import { addProcessMetrics } from './process-metrics.ts';
import type { FirewallRefusals } from './refusal-totals.ts';
import { createRegistry } from './registry.ts';
import { type RoleFacts, addRoleMetrics } from './role-metrics.ts';
import type { Connection, StatsSnapshot } from './stats-reader.ts';
import { addWeaveMetrics } from './weave-metrics.ts';

/** What is expensive to find out: once a scrape, and the same for all metrics of it. */
export interface Look {
  /** CLOCK_MONOTONIC, as the data plane's gauges have it. */
  readonly nowMs: number;
  readonly connections: readonly Connection[];
  /** Share of the peer's last probes without an answer; undefined: too few to say. */
  readonly lossOf: (peer: string) => number | undefined;
  /** Undefined: the data plane's file is not there. */
  readonly stats: StatsSnapshot | undefined;
  /** What the node's nftables rules refused. */
  readonly firewallRefusals: FirewallRefusals;
  readonly tunnelDrops: TunnelDrops;
  readonly roles: RoleFacts;
}

export interface MetricsSource extends ApiFacts, IpamFacts, NodeFacts {
  look(): Look;
  /** ConnectionTracker's. */
  terminations(): number;
  /** Addresses in the range, and in the blocks that a peer holds. */
  rangeAddresses(): number;
  addressesOf(peer: string): number;
}

export interface Metrics extends ApiCounters, CniCounters, IpamCounters, NodeCounters {
  readonly contentType: string;
  render(): Promise<string>;
}

export function createMetrics(source: MetricsSource): Metrics {
  const registry = createRegistry();
  let last: Look | undefined;
  const look = (): Look => (last ??= source.look());
  addWeaveMetrics(registry, source, look);
  const node = addNodeMetrics(registry, source);
  addRoleMetrics(registry, look);
  addProcessMetrics(registry);
  addDataplaneMetrics(registry, look);
  addPeerMetrics(registry, look);
  const ipam = addIpamMetrics(registry, source);
  const cni = addCniMetrics(registry);
  const api = addApiMetrics(registry, source);
  return {
    ...node,
    ...ipam,
    ...cni,
    ...api,
    contentType: registry.contentType,
    render() {
      last = undefined;
      return registry.render();
    },
  };
}
