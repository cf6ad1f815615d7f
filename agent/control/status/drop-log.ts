// Tells when packets begin to be refused for a reason that somebody should know of, once for each reason and peer, and when that has ended; the
// counters tell how many. A single packet is no news: it has to go on over several looks. What pods and networks do all the time is left
// to the counters (refusal-words.ts).
import { DROP_REASONS, type RefusalReason } from '../../../proto/drop-reason.ts';
import { NO_PEER_ROW, SELF_ROW } from '../../../proto/dataplane-stats.ts';
import type { Logger } from '../../telemetry/logger.ts';
import { type FirewallRefusals, refusalTotals } from '../../telemetry/refusal-totals.ts';
import { REFUSAL_WORDS } from '../../telemetry/refusal-words.ts';
import type { StatsSnapshot } from '../../telemetry/stats-reader.ts';

export interface DropSources {
  readonly stats: Pick<StatsSnapshot, 'drops'>;
  /** Of the statistics, for each peer. */
  readonly rows: readonly { readonly peer: string; readonly row: number }[];
  readonly firewall: FirewallRefusals;
}

export interface DropLog {
  /** To be called every few seconds. */
  look(sources: () => DropSources | undefined, nowMs: number): void;
}

const LOOK_MS = 6000;
/** So many looks in which it grew, of so many. */
const GROWING = { looks: 3, of: 5 };
const CALM_MS = 600_000;

const isNews = (reason: RefusalReason): boolean => REFUSAL_WORDS[reason].isNews;

interface Watched {
  readonly peer: string | undefined;
  count: number;
  /** Of the looks at which it had grown, the last ones. */
  grewAt: readonly number[];
  toldAtCount: number | undefined;
}

export function createDropLog(log: Pick<Logger, 'info' | 'warn'>): DropLog {
  const watched = new Map<string, Watched>();
  let isFirst = true;
  let looks = 0;
  let lookedAtMs = Number.NEGATIVE_INFINITY;

  const take = (key: Key, count: number): void => {
    const name = `${key.reason} ${key.peer ?? ''}`;
    let one = watched.get(name);
    if (one === undefined) {
      if (count === 0) return;
      // At the first look there may be a history; later it is new.
      one = { peer: key.peer, count: isFirst ? count : 0, grewAt: [], toldAtCount: undefined };
      watched.set(name, one);
    }
    if (count < one.count) {
      // It began anew, as when somebody deletes the nftables tables.
      if (one.toldAtCount !== undefined) one.toldAtCount -= one.count;
      one.count = 0;
    }
    if (count > one.count) {
      one.grewAt = [...one.grewAt, looks].slice(-GROWING.looks);
      one.count = count;
      const isLasting = one.grewAt.length === GROWING.looks && looks - (one.grewAt[0] ?? 0) < GROWING.of;
      if (isLasting && one.toldAtCount === undefined) {
        one.toldAtCount = count;
        tellBegin(key, count);
      }
    } else if (one.toldAtCount !== undefined && (looks - (one.grewAt.at(-1) ?? 0)) * LOOK_MS >= CALM_MS) {
      log.info(
        'packet_drops_ended',
        `No packet${whose(key)} has been refused (${key.reason}) for ten minutes`,
        {
          reason: key.reason,
          peer: key.peer,
          count: count - one.toldAtCount,
        },
      );
      one.toldAtCount = undefined;
    }
  };

  const tellBegin = ({ reason, peer }: Key, count: number): void => {
    const { meaning, remedy } = REFUSAL_WORDS[reason];
    log.warn(
      'packet_dropped',
      `Packets${whose({ reason, peer })} are refused (${reason}): ${meaning}. What to do: ${remedy}`,
      {
        reason,
        peer,
        count,
      },
    );
  };

  /** A node that comes back under its name counts from 0. */
  const forgetAllBut = (rows: DropSources['rows']): void => {
    const peers = new Set(rows.map(({ peer }) => peer));
    for (const [name, { peer }] of watched) {
      if (peer !== undefined && !peers.has(peer)) watched.delete(name);
    }
  };

  return {
    look(sources, nowMs) {
      if (nowMs - lookedAtMs < LOOK_MS) return;
      lookedAtMs = nowMs;
      const found = sources();
      if (found === undefined) return;
      const { stats, rows, firewall } = found;
      looks += 1;
      forgetAllBut(rows);
      for (const reason of DROP_REASONS.filter(isNews)) {
        for (const { peer, row } of rows) {
          const count = stats.drops(row, reason);
          if (count > 0) take({ reason, peer }, count);
        }
      }
      const nobodys = refusalTotals({ stats, rows: [NO_PEER_ROW, SELF_ROW], firewall });
      for (const [reason, count] of nobodys) {
        if (isNews(reason)) take({ reason, peer: undefined }, count);
      }
      isFirst = false;
    },
  };
}

interface Key {
  readonly reason: RefusalReason;
  readonly peer: string | undefined;
}

const whose = ({ peer }: Key): string => (peer === undefined ? '' : ` to or from "${peer}"`);
