// What the data plane says to people: a few events in its life, and failing syscalls, each kind of failure once when it begins and ever more
// seldom while it goes on. Nothing is said per packet; the counters tell how many.
import type { EventAt } from '../telemetry/event-names.ts';
import type { LogFields } from '../telemetry/field-names.ts';
import type { Clock } from './clock.ts';

type ReportLevel = 'info' | 'warn' | 'error';

export type Reported = {
  readonly [L in ReportLevel]: {
    readonly level: L;
    readonly event: EventAt<L>;
    /** A sentence for people: what happened and, for a warning or an error, what is to be done. */
    readonly message: string;
    readonly fields?: LogFields;
  };
}[ReportLevel];
export type Report = (reported: Reported) => void;
/** A syscall on the packet path failed with an errno. */
export type ReportFailure = (operation: string, errno: number) => void;

/** How long a failure that goes on is not told again; the last one for all further ones. */
const QUIET_MS = [10_000, 60_000, 600_000] as const;
const LONGEST_QUIET_MS = QUIET_MS[2];

const REMEDIES: Readonly<Record<string, string>> = {
  send: 'look whether the underlay interface is up and its queue not full (`ip -s link`)',
  tun_write: 'the agent sets weft0 up again; where it goes on, look what takes it down (`ip monitor link`)',
};

interface Told {
  quietUntilMs: number;
  times: number;
  repeated: number;
}

export function limitFailures(
  report: Report,
  clock: Clock,
  nameOf: (errno: number) => string,
): ReportFailure {
  const known = new Map<number, Map<string, Told>>();
  return (operation, errno) => {
    const operations = known.get(errno) ?? new Map<string, Told>();
    known.set(errno, operations);
    const told = operations.get(operation) ?? { quietUntilMs: 0, times: 0, repeated: 0 };
    operations.set(operation, told);
    told.repeated += 1;
    if (clock.nowMs < told.quietUntilMs) return;
    // Calm for so long after it might have been told: another story.
    if (clock.nowMs - told.quietUntilMs > LONGEST_QUIET_MS) told.times = 0;
    told.quietUntilMs = clock.nowMs + (QUIET_MS[told.times] ?? LONGEST_QUIET_MS);
    told.times += 1;
    const code = nameOf(errno);
    report({
      level: 'warn',
      event: 'dataplane_io_failed',
      message: `${operation} failed (${code}); the packets are counted as dropped: ${REMEDIES[operation] ?? 'look at /status for what is dropped'}`,
      fields: { operation, code, ...(told.repeated > 1 && { repeated: told.repeated }) },
    });
    told.repeated = 0;
  };
}
