// The share of probes to each peer that were lost, over the last half to whole minute, by the statistics' counters. Time is a parameter.
import { type ConnectionPeer, type StatsSnapshot, peerRow } from '../../telemetry/stats-reader.ts';

export interface ProbeLoss {
  /** To be called often: the shorter in between, the better the window is kept. */
  observe(peers: Iterable<ConnectionPeer>, stats: StatsSnapshot, nowMs: number): void;
  /** 0 to 1; undefined: nobody asked, or not for long enough to say. */
  of(name: string): number | undefined;
}

interface Mark {
  readonly sent: number;
  readonly answered: number;
}

interface Window {
  readonly slot: number;
  /** Of the window's beginning, and of the moment that becomes it next. */
  first: Mark;
  next: Mark;
  nextAtMs: number;
  now: Mark;
}

const HALF_MS = 30_000;
/** Of fewer probes one that is late would be a share worth telling. */
const FEWEST = 20;

export function createProbeLoss(): ProbeLoss {
  let windows = new Map<string, Window>();
  return {
    observe(peers, stats, nowMs) {
      const observed = new Map<string, Window>();
      for (const { name, slot, probes } of peers) {
        if (!probes) continue;
        const now = markOf(stats, slot, nowMs);
        const before = windows.get(name);
        const window =
          before === undefined || before.slot !== slot || now.sent < before.now.sent || isFirst(before, now)
            ? { slot, first: now, next: now, nextAtMs: nowMs, now }
            : before;
        if (nowMs - window.nextAtMs >= HALF_MS) {
          window.first = window.next;
          window.next = now;
          window.nextAtMs = nowMs;
        }
        window.now = now;
        observed.set(name, window);
      }
      windows = observed;
    },
    of(name) {
      const window = windows.get(name);
      if (window === undefined) return undefined;
      const sent = window.now.sent - window.first.sent;
      const answered = window.now.answered - window.first.answered;
      return sent < FEWEST ? undefined : Math.min(1, Math.max(0, (sent - answered) / sent));
    },
  };
}

/** Probes that a peer could not answer yet, since it had not heard of this node, are none that a path has lost. */
const isFirst = (before: Window, now: Mark): boolean => before.now.answered === 0 && now.answered > 0;

/** How long an answer may be under way. */
const ANSWER_MS = 1000;

/** Without the request that may be answered yet. */
function markOf(stats: StatsSnapshot, slot: number, nowMs: number): Mark {
  const row = peerRow(slot);
  const unansweredMs = stats.gauge(row, 'first_unanswered_probe_ms');
  const isUnderWay = unansweredMs > 0 && nowMs - unansweredMs < ANSWER_MS;
  const sent = stats.counter(row, 'probes_sent');
  return { sent: isUnderWay ? Math.max(0, sent - 1) : sent, answered: stats.counter(row, 'probes_answered') };
}
