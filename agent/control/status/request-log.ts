// Requests for status pages and metrics that could not be answered: a scrape every few seconds meets the same fault each time, so it is told
// once in ten minutes, with how often it was.
import { type Logger, errorFields } from '../../telemetry/logger.ts';
import { Repeats } from '../../telemetry/told-once.ts';

export function createRequestLog(
  log: Pick<Logger, 'warn'>,
  nowMs: () => number = () => performance.now(),
): (path: string, error: unknown) => void {
  const repeats = new Repeats();
  return (path, error) => {
    const fields = errorFields(error);
    const repeated = repeats.admit(`${path} ${fields.code}`, nowMs());
    if (repeated === undefined) return;
    log.warn(
      'status_failed',
      `Cannot answer ${path}: ${fields.error}; traffic is not concerned. Report this line`,
      repeated > 1 ? { ...fields, repeated } : fields,
    );
  };
}
