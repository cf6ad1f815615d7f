// What the data plane says to people: a few events in its life, and failing syscalls at most once in ten seconds each. Nothing is said per
// packet; the counters tell how many.
import type { OperationContext } from '../operation-error.ts';
import type { Clock } from './clock.ts';

export type Report = (event: string, fields: OperationContext) => void;
/** A syscall on the packet path failed with an errno. */
export type ReportFailure = (operation: string, errno: number) => void;

const QUIET_MS = 10_000;

export function limitFailures(
  report: Report,
  clock: Clock,
  nameOf: (errno: number) => string,
): ReportFailure {
  const quietUntil = new Map<string, number>();
  return (operation, errno) => {
    if (clock.nowMs < (quietUntil.get(operation) ?? 0)) return;
    quietUntil.set(operation, clock.nowMs + QUIET_MS);
    report('dataplane_io_failed', { operation, code: nameOf(errno) });
  };
}
