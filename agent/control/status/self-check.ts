// The node looks after itself: `weft doctor` runs now and then as a child, and what it finds is told once in the log, stays in the metrics
// and on the status page, and is told as over when it is. One line a check: what a check finds about a hundred peers is one matter.
import type { NodeFault } from '../../../proto/node-report.ts';
import type { Clock } from '../../kube/clock.ts';
import { type Logger, errorFields } from '../../telemetry/logger.ts';

export interface SelfCheckOptions {
  /** 0: never. */
  readonly intervalMs: number;
  readonly clock: Clock;
  /** Throws when it could not look. */
  readonly examine: () => Promise<readonly NodeFault[]>;
  readonly log: Pick<Logger, 'info' | 'warn' | 'error'>;
}

export interface SelfCheck {
  /** Of the last run that ended well. */
  faults(): readonly NodeFault[];
  /** Since that, or since the start while there was none; undefined: there is never one. */
  ageSeconds(): number | undefined;
  close(): void;
}

/** An agent that has just started is still putting things right. */
const FIRST_AFTER_MS = 30_000;

export function startSelfCheck(options: SelfCheckOptions): SelfCheck {
  const { intervalMs, clock, log } = options;
  let faults: readonly NodeFault[] = [];
  let endedMs = clock.now();
  let failed = false;
  let cancel = (): void => undefined;
  let closed = false;

  const look = async (): Promise<void> => {
    try {
      const found = await options.examine();
      if (closed) return;
      tell(faults, found, log);
      faults = found;
      endedMs = clock.now();
      failed = false;
    } catch (error) {
      if (!failed && !closed) {
        log.warn(
          'self_check_failed',
          'The node could not be looked over: look why with "weft doctor" in the agent\'s container',
          errorFields(error),
        );
      }
      failed = true;
    }
    if (!closed) cancel = clock.setTimer(intervalMs, () => void look());
  };
  if (intervalMs > 0) cancel = clock.setTimer(Math.min(FIRST_AFTER_MS, intervalMs), () => void look());

  return {
    faults: () => faults,
    ageSeconds: () => (intervalMs > 0 ? (clock.now() - endedMs) / 1000 : undefined),
    close() {
      closed = true;
      cancel();
    },
  };
}

function tell(before: readonly NodeFault[], now: readonly NodeFault[], log: SelfCheckOptions['log']): void {
  const [was, is] = [byCheck(before), byCheck(now)];
  for (const [check, [gravest, ...others]] of is) {
    if (gravest === undefined || was.get(check)?.[0]?.severity === gravest.severity) continue;
    const more = others.length === 0 ? '' : ` (and ${others.length} more: weft doctor --only ${check})`;
    const message = `${gravest.what}. What to do: ${gravest.fix}${more}`;
    const fields = { check };
    if (gravest.severity === 'error') log.error('fault_found', message, fields);
    else log.warn('fault_found', message, fields);
  }
  for (const [check, [gravest]] of was) {
    if (is.has(check)) continue;
    log.info('fault_gone', `No longer so: ${gravest?.what ?? check}`, { check });
  }
}

/** Errors first. */
function byCheck(faults: readonly NodeFault[]): ReadonlyMap<string, readonly NodeFault[]> {
  const errorsFirst = faults.toSorted(
    (a, b) => Number(a.severity === 'warning') - Number(b.severity === 'warning'),
  );
  return Map.groupBy(errorsFirst, ({ check }) => check);
}
