// Metrics of the agent's processes by role: whether they run, how often they were started again, and what they take.
import type { MetricsRegistry, Sample } from './registry.ts';
import type { UsageReading } from './role-usage.ts';

export interface RoleFacts {
  /** As the keeper has it. */
  readonly states: readonly {
    readonly role: string;
    readonly pid: number;
    readonly pids?: readonly number[];
    readonly restarts: number;
  }[];
  readonly usage: UsageReading;
}

export function addRoleMetrics(registry: MetricsRegistry, look: () => { readonly roles: RoleFacts }): void {
  const states = (): RoleFacts['states'] => look().roles.states;
  const usage = (): UsageReading => look().roles.usage;
  registry.gauge({
    name: 'weft_role_up',
    help: 'Whether any process of the role works.',
    samples: () =>
      states().map(({ role, pid, pids = [pid] }): Sample => [
        { role },
        pids.some((each) => each > 0) ? 1 : 0,
      ]),
  });
  registry.mirroredCounter({
    name: 'weft_role_restarts_total',
    help: 'Processes of the agent that ended and were started again, by role.',
    samples: () => states().map(({ role, restarts }): Sample => [{ role }, restarts]),
  });
  registry.gauge({
    name: 'weft_role_memory_bytes',
    help: "Memory of the role's processes: resident (rss), and with shared pages by shares (pss), which is up to 30 s older.",
    samples: () => [
      ...usage().roles.map(({ role, residentBytes }): Sample => [{ role, kind: 'rss' }, residentBytes]),
      ...usage().roles.flatMap(({ role, proportionalBytes }): readonly Sample[] =>
        proportionalBytes === undefined ? [] : [[{ role, kind: 'pss' }, proportionalBytes]],
      ),
    ],
  });
  registry.mirroredCounter({
    name: 'weft_role_cpu_seconds_total',
    help: "User and system CPU time that the role's processes have used since control started.",
    samples: () => usage().roles.map(({ role, cpuSeconds }): Sample => [{ role }, cpuSeconds]),
  });
  registry.mirroredCounter({
    name: 'weft_dataplane_run_delay_seconds_total',
    help: 'Time that a worker of the data plane was ready to run and waited for a processor.',
    samples: () =>
      usage().runDelaySeconds.flatMap((seconds, worker): readonly Sample[] =>
        seconds === undefined ? [] : [[{ worker: String(worker) }, seconds]],
      ),
  });
}
