// How soon an object of ours that was deleted or changed by somebody else is written again: at once the first time, then after growing
// pauses while it does not last. Two agents under one name, or Kubernetes collecting what belongs to a Node that is gone, would otherwise
// be answered as fast as the API server goes. Time is a parameter.

/** What lasted so long was accepted: the next loss is a new story. */
const LASTING_MS = 60_000;
const PAUSE_MS = { first: 1000, most: 30_000 };

export class RewritePace {
  #inRow = 0;
  #writtenAtMs = Number.NEGATIVE_INFINITY;

  /** Milliseconds until it may be written again; 0 = now. */
  remaining(nowMs: number): number {
    if (this.#inRow < 2) return 0;
    const pauseMs = Math.min(PAUSE_MS.most, PAUSE_MS.first * 2 ** Math.min(this.#inRow - 2, 16));
    return Math.max(0, this.#writtenAtMs + pauseMs - nowMs);
  }

  /** To be told of every write; answers how many in a row did not last. */
  wrote(nowMs: number): number {
    this.#inRow = nowMs - this.#writtenAtMs < LASTING_MS ? this.#inRow + 1 : 0;
    this.#writtenAtMs = nowMs;
    return this.#inRow;
  }
}
