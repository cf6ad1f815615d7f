// What the data plane says to people: a few events in its life, and failing syscalls at most once in ten seconds each. Nothing is said per
// packet; the counters tell how many.
import type { OperationContext } from '../operation-error.ts';
import type { EventName } from '../telemetry/event-names.ts';
import type { Clock } from './clock.ts';

export interface Reported {
  readonly level: 'info' | 'warn' | 'error';
  readonly event: EventName;
  /** A sentence for people: what happened and, where something is to be done, what. */
  readonly message: string;
  readonly fields?: OperationContext;
}
export type Report = (reported: Reported) => void;
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
    const code = nameOf(errno);
    report({
      level: 'warn',
      event: 'dataplane_io_failed',
      message: `${operation} failed (${code}); the packets are counted as dropped, and this is said once in ${QUIET_MS / 1000} s`,
      fields: { operation, code },
    });
  };
}
