// What a new agent waits for beside the old one, so that the moment without either is short: its data plane's workers have loaded
// everything ("ready", each), and its control waits for the allocation log ("waiting"). Control that refuses to start never says so: the old agent stays.

export interface WarmUp {
  /** To be called with what the roles say. */
  readonly said: (text: string) => void;
  /** Resolves when all are warm, or the predecessor is gone. */
  readonly done: Promise<void>;
}

export function createWarmUp(workers: number, predecessorGone: Promise<void>): WarmUp {
  const missing = new Map([
    ['ready', workers],
    ['waiting', 1],
  ]);
  const { promise, resolve } = Promise.withResolvers<void>();
  void predecessorGone.then(resolve);
  return {
    said(text) {
      missing.set(text, (missing.get(text) ?? 0) - 1);
      if ([...missing.values()].every((count) => count <= 0)) resolve();
    },
    done: promise,
  };
}
