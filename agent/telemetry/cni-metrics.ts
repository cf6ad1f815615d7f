// Metrics of the container runtime's requests: by verb and outcome, and how long each step of them took.
import type { CniCommand } from '../../proto/cni.ts';
import { CNI_STEPS, type StepTaken, type SteppedVerb } from './cni-steps.ts';
import type { MetricsRegistry } from './registry.ts';

export interface CniCounters {
  /** `outcome`: ok, or the CNI error code. */
  cniOperation(operation: { verb: CniVerb; outcome: string; seconds: number }): void;
  cniStepped(taken: StepTaken): void;
}

/** `unknown`: it could not be read. */
export type CniVerb = CniCommand | 'unknown';

const VERBS: readonly CniVerb[] = ['ADD', 'DEL', 'CHECK', 'GC', 'STATUS', 'VERSION', 'unknown'];
const OPERATION_SECONDS = [
  0.001, 0.002, 0.003, 0.004, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
];
const STEP_SECONDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 2.5, 10];

export function addCniMetrics(registry: MetricsRegistry): CniCounters {
  const operations = registry.counter({
    name: 'weft_cni_operations_total',
    help: 'Requests of the container runtime, by CNI verb and outcome (ok, or the CNI error code).',
    labels: ['verb', 'outcome'],
  });
  const durations = registry.histogram({
    name: 'weft_cni_operation_duration_seconds',
    help: 'Time that requests of the container runtime took in the agent.',
    labels: ['verb'],
    buckets: OPERATION_SECONDS,
  });
  const steps = registry.histogram({
    name: 'weft_cni_step_duration_seconds',
    help: 'Time that each step of a request took; of those that failed, until they did.',
    labels: ['verb', 'step'],
    buckets: STEP_SECONDS,
  });
  const failures = registry.counter({
    name: 'weft_cni_step_failures_total',
    help: 'Requests of the container runtime that failed, by the step that did.',
    labels: ['verb', 'step'],
  });
  for (const verb of VERBS) operations.add({ verb, outcome: 'ok' }, 0);
  const stepped = Object.keys(CNI_STEPS) as SteppedVerb[]; // as: keys() forgets the names
  for (const verb of stepped) {
    durations.start({ verb });
    for (const step of CNI_STEPS[verb]) {
      steps.start({ verb, step });
      if (step !== 'wait') failures.add({ verb, step }, 0);
    }
  }
  return {
    cniOperation({ verb, outcome, seconds }) {
      operations.add({ verb, outcome });
      durations.observe({ verb }, seconds);
    },
    cniStepped({ verb, step, seconds, isFailed }) {
      steps.observe({ verb, step }, seconds);
      if (isFailed) failures.add({ verb, step });
    },
  };
}
