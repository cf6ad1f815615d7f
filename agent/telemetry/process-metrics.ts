// Metrics of the control process itself: the conventional process_* names, and how long its event loop was held up.
import { readdirSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';

import type { MetricsRegistry } from './registry.ts';

const RESOLUTION_MS = 500;

export function addProcessMetrics(registry: MetricsRegistry): void {
  const startedAtSeconds = Date.now() / 1000 - process.uptime();
  const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  delay.enable();
  registry.mirroredCounter({
    name: 'process_cpu_seconds_total',
    help: 'User and system CPU time of the control process.',
    samples() {
      const { user, system } = process.cpuUsage();
      return [[{}, (user + system) / 1e6]];
    },
  });
  registry.gauge({
    name: 'process_resident_memory_bytes',
    help: 'Resident memory of the control process.',
    samples: () => [[{}, process.memoryUsage.rss()]],
  });
  registry.gauge({
    name: 'process_start_time_seconds',
    help: 'Start of the control process, since the epoch.',
    samples: () => [[{}, startedAtSeconds]],
  });
  registry.gauge({
    name: 'process_open_fds',
    help: 'Open descriptors of the control process.',
    samples: () => [[{}, readdirSync('/proc/self/fd').length - 1]],
  });
  registry.gauge({
    name: 'weft_event_loop_delay_seconds',
    help: "Delay of the control process' event loop since the last scrape.",
    samples() {
      const nanoseconds = { median: delay.percentile(50), p99: delay.percentile(99), max: delay.max };
      const count = delay.count;
      delay.reset();
      return Object.entries(nanoseconds).map(([statistic, value]) => [
        { statistic },
        // It measures the whole interval of its own timer.
        count === 0 ? 0 : Math.max(0, value / 1e9 - RESOLUTION_MS / 1000),
      ]);
    },
  });
}
