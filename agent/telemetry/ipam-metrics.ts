// Metrics of addresses: this node's blocks and what is free in them, the range, and how claims of blocks went.
import { type MetricsRegistry, type Sample, single } from './registry.ts';

export interface IpamFacts {
  /** Addresses of this node. */
  pool(): {
    readonly used: number;
    readonly free: number;
    readonly pendingAllocations: number;
    readonly pendingClaims: number;
    /** How long the next address has been free; undefined: never used, or none is free. */
    readonly reuseAgeSeconds: number | undefined;
    readonly isLogWritable: boolean;
  };
  /** Blocks of this node by state. */
  ownBlocks(): Readonly<Record<'held' | 'fenced' | 'returning', number>>;
  /** Blocks of the range by state, as this node knows the cluster. */
  rangeBlocks(): Readonly<Record<'held' | 'quarantined' | 'free', number>>;
}

const CLAIM_OUTCOMES = ['claimed', 'contested', 'failed'] as const;
export type ClaimOutcome = (typeof CLAIM_OUTCOMES)[number];

export interface IpamCounters {
  /** `seconds`: since a block was wanted. */
  blockClaimed(attempt: { readonly outcome: ClaimOutcome; readonly seconds: number }): void;
}

const SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];

export function addIpamMetrics(registry: MetricsRegistry, facts: IpamFacts): IpamCounters {
  const byState = (counts: () => Readonly<Record<string, number>>): (() => Sample[]) => {
    return () => Object.entries(counts()).map(([state, count]): Sample => [{ state }, count]);
  };
  registry.gauge({
    name: 'weft_ipam_blocks',
    help: 'Address blocks of this node by state.',
    samples: byState(() => facts.ownBlocks()),
  });
  registry.gauge({
    name: 'weft_ipam_addresses',
    help: "Pod addresses in this node's blocks by state.",
    samples: byState(() => {
      const { used, free } = facts.pool();
      return { used, free };
    }),
  });
  registry.gauge({
    name: 'weft_ipam_range_blocks',
    help: 'Address blocks of the whole range by state, as this node knows the cluster.',
    samples: byState(() => facts.rangeBlocks()),
  });
  registry.gauge({
    name: 'weft_ipam_reuse_age_seconds',
    help: 'How long the address that the next pod gets has been free; none if it was never used, or none is free.',
    samples: single(() => facts.pool().reuseAgeSeconds),
  });
  registry.gauge({
    name: 'weft_ipam_log_writable',
    help: 'Whether the log of allocations could be written the last time.',
    samples: single(() => (facts.pool().isLogWritable ? 1 : 0)),
  });
  const claims = registry.counter({
    name: 'weft_ipam_claims_total',
    help: 'Attempts to claim a block: claimed, contested (another node was faster), or failed.',
    labels: ['outcome'],
  });
  const durations = registry.histogram({
    name: 'weft_ipam_claim_duration_seconds',
    help: 'Time from when this node wanted a block until it held it.',
    buckets: SECONDS,
  });
  for (const outcome of CLAIM_OUTCOMES) claims.add({ outcome }, 0);
  return {
    blockClaimed({ outcome, seconds }) {
      claims.add({ outcome });
      if (outcome === 'claimed') durations.observe({}, seconds);
    },
  };
}
