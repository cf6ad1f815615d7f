// Adds up refused packets: what the data plane counted in rows of its statistics, and what the nftables rules counted before it.
import {
  DROP_REASONS,
  FIREWALL_REASONS,
  REFUSAL_REASONS,
  type FirewallReason,
  type RefusalReason,
} from '../../proto/drop-reason.ts';
import type { StatsSnapshot } from './stats-reader.ts';

/** Packets by reason; a reason that is not in it could not be read. */
export type FirewallRefusals = ReadonlyMap<FirewallReason, number>;

export interface RefusalSources {
  readonly stats: Pick<StatsSnapshot, 'drops'> | undefined;
  /** Of the statistics. */
  readonly rows: readonly number[];
  readonly firewall: FirewallRefusals;
}

/** Every reason, also those at 0; without those whose counter of nftables could not be read: a part of the sum would be a count that falls. */
export function refusalTotals({ stats, rows, firewall }: RefusalSources): ReadonlyMap<RefusalReason, number> {
  const unread = new Set<RefusalReason>(FIREWALL_REASONS.filter((reason) => !firewall.has(reason)));
  const totals = new Map<RefusalReason, number>();
  for (const reason of REFUSAL_REASONS) if (!unread.has(reason)) totals.set(reason, 0);
  const add = (reason: RefusalReason, count: number): void => {
    const before = totals.get(reason);
    if (before !== undefined) totals.set(reason, before + count);
  };
  for (const reason of DROP_REASONS) for (const row of rows) add(reason, stats?.drops(row, reason) ?? 0);
  for (const [reason, count] of firewall) add(reason, count);
  return totals;
}
