// Tells when the last-known state cannot be written, and when it can again; what lasts is a trouble. Tries go on every half minute, unsaid.
import type { OperationError } from '../../operation-error.ts';
import { type Logger, errorFields } from '../../telemetry/logger.ts';
import { LastingFailure } from '../../telemetry/told-once.ts';
import { type Trouble, troubleOf } from '../trouble.ts';

export interface SnapshotHealth {
  /** SNAPSHOT_UNWRITABLE, with the errno in its context. */
  failed(error: OperationError): void;
  written(): void;
  trouble(): Trouble | undefined;
}

export function createSnapshotHealth(log: Pick<Logger, 'info' | 'warn'>): SnapshotHealth {
  const failure = new LastingFailure();
  let trouble: Trouble | undefined;
  return {
    failed(error) {
      trouble = troubleOf(error);
      const isNews = failure.isNews(String(error.context['errno']));
      if (isNews) log.warn('snapshot_failed', error.message, errorFields(error));
    },
    written() {
      trouble = undefined;
      if (failure.isOver()) log.info('snapshot_recovered', 'The last-known state can be written again');
    },
    trouble: () => trouble,
  };
}
