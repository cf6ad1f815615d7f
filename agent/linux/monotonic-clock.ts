// Time as the data plane counts it, and the kernel: CLOCK_MONOTONIC.
import { hrtime } from 'node:process';

export function monotonicMs(): number {
  const [seconds, nanoseconds] = hrtime();
  return seconds * 1000 + nanoseconds / 1e6;
}
