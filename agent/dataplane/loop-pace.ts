// How long the loop does not look for packets: what comes meanwhile waits in the kernel's queues, so this bounds the age of what waits there.
// A pass is from one look to the next; a sleep that lasts longer than it was meant to counts as well, by as much as it does, for then
// nobody ran us. Fixed memory, and plain additions to it.
import { type DataplaneStats, HISTOGRAM, PROCESS_GAUGE } from './stats.ts';

/** The longest pause is told of this long at least, and of twice as long at most. */
const MEMORY_MS = 60_000;

export class LoopPace {
  readonly #stats: DataplaneStats;
  #startMs = 0;
  #longestUs = 0;
  #rotateMs = 0;

  constructor(stats: DataplaneStats) {
    this.#stats = stats;
  }

  began(nowMs: number): void {
    this.#startMs = nowMs;
  }

  /** `carried`: there were packets. */
  ended(nowMs: number, carried: boolean): void {
    const us = (nowMs - this.#startMs) * 1000;
    if (carried) this.#stats.observe(HISTOGRAM.pass_us, us);
    if (us > this.#longestUs) this.#tell(us);
  }

  /** Woken `lateMs` after the time at the latest. */
  woke(lateMs: number): void {
    if (lateMs * 1000 > this.#longestUs) this.#tell(lateMs * 1000);
  }

  /** To be called often; forgets what is long ago. */
  forget(nowMs: number): void {
    if (nowMs < this.#rotateMs) return;
    this.#rotateMs = nowMs + MEMORY_MS;
    this.#stats.setProcess(PROCESS_GAUGE.longest_pause_before_us, this.#longestUs);
    this.#tell(0);
  }

  #tell(us: number): void {
    this.#longestUs = us;
    this.#stats.setProcess(PROCESS_GAUGE.longest_pause_us, us);
  }
}
