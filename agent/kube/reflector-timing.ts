// How long the reflector waits for what. Each bound grows with the number of objects (about the number of nodes), so that a small
// cluster recovers at once and a large one does not fall upon its API server. `random` answers 0 ≤ x < 1.

const between = (value: number, [least, most]: readonly [number, number]): number =>
  Math.min(Math.max(value, least), most);

/** The server ends a watch after this; spread so that agents that started together drift apart. */
export const watchSeconds = (random: () => number): number => 300 + Math.floor(random() * 300);

/**
 * Silence after which a watch counts as stalled. The real server sends a bookmark every 60–75 s, so 90 s never hits a healthy one; below
 * 450 objects the watch is renewed earlier, at most ten renewals a second over the whole cluster, and a server or proxy that hangs is
 * left after 30 s. (A path that is dead is found by TCP keep-alive after 25 s in any case.)
 */
export const silenceBoundMs = (objects: number): number => between(objects * 200, [30_000, 90_000]);

/** Whether a watch lasts long enough for one to come. Of one that is renewed earlier, being taken up at the copy's version is the proof. */
export const awaitsBookmarks = (objects: number): boolean => silenceBoundMs(objects) > LONGEST_BOOKMARK_MS;

const LONGEST_BOOKMARK_MS = 75_000;

/**
 * Full jitter: N agents that lost their server together try it once within a third of a second, then at about ten a second while it stays
 * away, and never wait longer than 30 s.
 */
export function backoffMs(options: { failures: number; objects: number; random: () => number }): number {
  const longest = between(options.objects * 100, [5_000, 30_000]);
  return 50 + options.random() * Math.min(longest - 50, 250 * 2 ** Math.min(options.failures - 1, 20));
}

/** A watch that lived as long as this was healthy: failures are forgotten. */
export const HEALTHY_MS = 10_000;

/** A full list now and then finds what a broken watch never said; about 20 bytes a second at 1 kB an object. */
export const auditMs = (objects: number, random: () => number): number =>
  between(objects * 45_000, [600_000, 86_400_000]) * (0.75 + random() / 2);

/** History that goes back (etcd restored from a backup) is believed after so many stale lists over so long a time. */
export const REWIND_AFTER_MS = 120_000;
export const REWIND_AFTER_LISTS = 3;

export const PAGE_LIMIT = 500;
