// Rate limit of log lines, one token bucket per event name and variety (error code, reason): a burst passes, then a steady trickle, so a flood
// of one failure does not hide the first line of another. What is left out is counted and told with the next line of that event and
// variety, or at the end. Bounded: an event has a bucket each for so many varieties, the others share one. Time is a parameter. Pure.
import type { LogFields } from './field-names.ts';

export interface LogRate {
  /** Undefined: leave the line out. A number: write it, that many were left out before. */
  admit(event: string, variety: string, nowMs: number): number | undefined;
  /** What is still untold, by event; empties it. */
  untold(): readonly (readonly [event: string, leftOut: number])[];
}

interface Bucket {
  tokens: number;
  filledAtMs: number;
  leftOut: number;
}

export const LOG_RATE = { burst: 20, perSecond: 1 };
export const MOST_VARIETIES = 16;
const OTHERS = '\0others';

/** `burst` lines at once, then `perSecond`. */
export function createLogRate({ burst, perSecond }: { burst: number; perSecond: number }): LogRate {
  const events = new Map<string, Map<string, Bucket>>();

  const refill = (bucket: Bucket, nowMs: number): void => {
    const elapsedMs = Math.max(0, nowMs - bucket.filledAtMs);
    bucket.tokens = Math.min(burst, bucket.tokens + (elapsedMs * perSecond) / 1000);
    bucket.filledAtMs = nowMs;
  };

  /** As good as new: nothing is lost with it. */
  const isSpent = (bucket: Bucket, nowMs: number): boolean => {
    refill(bucket, nowMs);
    return bucket.tokens === burst && bucket.leftOut === 0;
  };

  const bucketOf = (event: string, variety: string, nowMs: number): Bucket => {
    const varieties = events.get(event) ?? new Map<string, Bucket>();
    events.set(event, varieties);
    const known = varieties.get(variety);
    if (known !== undefined) return known;
    if (varieties.size >= MOST_VARIETIES) {
      for (const [name, bucket] of varieties) if (isSpent(bucket, nowMs)) varieties.delete(name);
      const shared = varieties.get(OTHERS);
      if (varieties.size >= MOST_VARIETIES && shared !== undefined) return shared;
    }
    const bucket = { tokens: burst, filledAtMs: nowMs, leftOut: 0 };
    varieties.set(varieties.size >= MOST_VARIETIES ? OTHERS : variety, bucket);
    return bucket;
  };

  return {
    admit(event, variety, nowMs) {
      const bucket = bucketOf(event, variety, nowMs);
      refill(bucket, nowMs);
      if (bucket.tokens < 1) {
        bucket.leftOut += 1;
        return undefined;
      }
      bucket.tokens -= 1;
      const { leftOut } = bucket;
      bucket.leftOut = 0;
      return leftOut;
    },
    untold() {
      const counts: [string, number][] = [];
      for (const [event, varieties] of events) {
        let count = 0;
        for (const bucket of varieties.values()) {
          count += bucket.leftOut;
          bucket.leftOut = 0;
        }
        if (count > 0) counts.push([event, count]);
      }
      return counts;
    },
  };
}

/** By what lines of one event differ in kind, not in whom they concern. */
export const varietyOf = (fields: LogFields = {}): string =>
  [fields.code, fields.cni_code, fields.reason, fields.kind].filter((word) => word !== undefined).join(' ');
