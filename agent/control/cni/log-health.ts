// Tells once when the allocation log cannot be written, and once when it can again. Needed because a DEL succeeds either way: without
// an ADD nobody would hear of the full disk.
import type { LoggedAddressPool } from '../../ipam/address-pool.ts';
import type { Logger } from '../../telemetry/logger.ts';

export interface LogHealth {
  /** To be called every few seconds. */
  look(): void;
}

export function createLogHealth(
  pool: Pick<LoggedAddressPool, 'logFailure'>,
  log: Pick<Logger, 'info' | 'error'>,
): LogHealth {
  let failed = false;
  return {
    look() {
      const failure = pool.logFailure();
      if ((failure !== undefined) === failed) return;
      failed = !failed;
      if (failure !== undefined)
        log.error('allocation_log_unwritable', `${failure.message}; no pod gets an address until then`);
      else log.info('allocation_log_recovered', 'The allocation log can be written again');
    },
  };
}
