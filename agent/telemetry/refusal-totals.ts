// Adds up refused packets: what the data plane counted in rows of its statistics, and what the nftables rules counted before it.
import {
  DROP_REASONS,
  REFUSAL_REASONS,
  type FirewallReason,
  type RefusalReason,
} from '../../proto/drop-reason.ts';
import type { StatsSnapshot } from './stats-reader.ts';

/** Packets by reason; a reason that is not in it could not be read. */
export type FirewallRefusals = ReadonlyMap<FirewallReason, number>;

export interface RefusalSources {
  readonly stats: StatsSnapshot | undefined;
  /** Of the statistics. */
  readonly rows: readonly number[];
  readonly firewall: FirewallRefusals;
}

/** Every reason, also those at 0. */
export function refusalTotals({ stats, rows, firewall }: RefusalSources): ReadonlyMap<RefusalReason, number> {
  const totals = new Map<RefusalReason, number>(REFUSAL_REASONS.map((reason) => [reason, 0]));
  const add = (reason: RefusalReason, count: number): void => {
    totals.set(reason, (totals.get(reason) ?? 0) + count);
  };
  for (const reason of DROP_REASONS) for (const row of rows) add(reason, stats?.drops(row, reason) ?? 0);
  for (const [reason, count] of firewall) add(reason, count);
  return totals;
}
