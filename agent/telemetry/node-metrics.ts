// Metrics of the node as a whole: what runs, whether it serves pods, what a person has to put right, and what was put right without one.
import { type MetricsRegistry, type Sample, single } from './registry.ts';
import { REPAIRED_OBJECTS, type RepairedObject } from './repaired-objects.ts';

export interface NodeFacts {
  readonly version: string;
  /** Whether pods can be attached. */
  isReady(): boolean;
  /** Every code that there can be, and whether it is so now. */
  troubles(): ReadonlyMap<string, boolean>;
  /** By check and severity: how many findings the last self-check had. */
  faults(): readonly Sample[];
  /** Undefined: there is never one. */
  selfCheckAgeSeconds(): number | undefined;
  /** Contradictions in the cluster's objects. */
  clusterProblems(): number;
  /** Inside new pods. */
  mtu(): number;
  /** Undefined: never written. */
  snapshotAgeSeconds(): number | undefined;
}

export interface NodeCounters {
  repaired(object: RepairedObject): void;
}

export function addNodeMetrics(registry: MetricsRegistry, facts: NodeFacts): NodeCounters {
  registry.gauge({
    name: 'weft_build_info',
    help: 'The version that runs; the value is 1.',
    samples: () => [[{ version: facts.version, runtime: process.version }, 1]],
  });
  registry.gauge({
    name: 'weft_ready',
    help: 'Whether pods can be attached to this node.',
    samples: single(() => (facts.isReady() ? 1 : 0)),
  });
  registry.gauge({
    name: 'weft_trouble',
    help: 'Whether there is something that a person has to put right, by code; /status and the log say what.',
    samples: () => Array.from(facts.troubles(), ([code, is]): Sample => [{ code }, is ? 1 : 0]),
  });
  registry.gauge({
    name: 'weft_faults',
    help: "What the agent's last look at its node by weft doctor found, by check and severity.",
    samples: () => facts.faults(),
  });
  registry.gauge({
    name: 'weft_self_check_age_seconds',
    help: "Since the agent's last look at its node by weft doctor that ended well.",
    samples: single(() => facts.selfCheckAgeSeconds()),
  });
  registry.gauge({
    name: 'weft_cluster_problems',
    help: 'Contradictions in the objects of the cluster, such as two peers of one address.',
    samples: single(() => facts.clusterProblems()),
  });
  registry.gauge({
    name: 'weft_mtu_bytes',
    help: 'Largest inner packet of this node: the MTU of new pods.',
    samples: single(() => facts.mtu()),
  });
  registry.gauge({
    name: 'weft_snapshot_age_seconds',
    help: 'Time since the last-known state on disk was written.',
    samples: single(() => facts.snapshotAgeSeconds()),
  });
  const repairs = registry.counter({
    name: 'weft_repairs_total',
    help: 'Objects of the node that were missing or changed and were put right, by kind.',
    labels: ['object'],
  });
  for (const object of REPAIRED_OBJECTS) repairs.add({ object }, 0);
  return { repaired: (object) => repairs.add({ object }) };
}
