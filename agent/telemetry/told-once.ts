// Changes are told, not states: what keeps failing is told when it begins, when it fails in another way, and when it is over; what many
// requests meet alike is told once, and again only after a while, with how often it was. Pure; time is a parameter.

/** One thing that is tried until it succeeds. */
export class LastingFailure {
  #told: string | undefined;

  /** True when it is to be told: it begins, or `kind` (an error's code) is another one than last time. */
  isNews(kind: string): boolean {
    const isNews = this.#told !== kind;
    this.#told = kind;
    return isNews;
  }

  /** To be called with each success: true when a failure was told before. */
  isOver(): boolean {
    const wasFailing = this.#told !== undefined;
    this.#told = undefined;
    return wasFailing;
  }
}

const QUIET_MS = 600_000;
const MOST = 200;

/** Things that happen alike to many. Bounded: the one that was told the longest ago is forgotten first. */
export class Repeats {
  readonly #told = new Map<string, { readonly atMs: number; count: number }>();

  /** Undefined: it was told lately. Else how often it happened since, this time included. */
  admit(what: string, nowMs: number): number | undefined {
    const known = this.#told.get(what);
    if (known !== undefined && nowMs - known.atMs < QUIET_MS) {
      known.count += 1;
      return undefined;
    }
    this.#told.delete(what);
    this.#told.set(what, { atMs: nowMs, count: 0 });
    const [oldest] = this.#told.keys();
    if (this.#told.size > MOST && oldest !== undefined) this.#told.delete(oldest);
    return (known?.count ?? 0) + 1;
  }
}
