// Rate limit of log lines, one token bucket per event name: a burst passes, then a steady trickle; what is left out is counted and
// told with the next line of that event, or at the end. Time is a parameter.

export interface LogRate {
  /** Undefined: leave the line out. A number: write it, that many were left out before. */
  admit(event: string, nowMs: number): number | undefined;
  /** What is still untold, by event; empties it. */
  untold(): readonly (readonly [event: string, leftOut: number])[];
}

interface Bucket {
  tokens: number;
  filledAtMs: number;
  leftOut: number;
}

/** `burst` lines at once, then `perSecond`. */
export function createLogRate({ burst, perSecond }: { burst: number; perSecond: number }): LogRate {
  const buckets = new Map<string, Bucket>();
  return {
    admit(event, nowMs) {
      let bucket = buckets.get(event);
      if (bucket === undefined) {
        bucket = { tokens: burst, filledAtMs: nowMs, leftOut: 0 };
        buckets.set(event, bucket);
      }
      const elapsedMs = Math.max(0, nowMs - bucket.filledAtMs);
      bucket.tokens = Math.min(burst, bucket.tokens + (elapsedMs * perSecond) / 1000);
      bucket.filledAtMs = nowMs;
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
      for (const [event, bucket] of buckets) {
        if (bucket.leftOut > 0) counts.push([event, bucket.leftOut]);
        bucket.leftOut = 0;
      }
      return counts;
    },
  };
}
