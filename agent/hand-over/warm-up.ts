// What a new agent waits for beside the old one, so that the moment without either is short: its data plane has loaded everything
// ("ready"), and its control waits for the allocation log ("waiting"). Control that refuses to start never says so: the old agent stays.

export interface WarmUp {
  /** To be called with what the roles say. */
  readonly said: (text: string) => void;
  /** Resolves when both are warm, or the predecessor is gone. */
  readonly done: Promise<void>;
}

export function createWarmUp(predecessorGone: Promise<void>): WarmUp {
  const missing = new Set(['ready', 'waiting']);
  const { promise, resolve } = Promise.withResolvers<void>();
  void predecessorGone.then(resolve);
  return {
    said(text) {
      missing.delete(text);
      if (missing.size === 0) resolve();
    },
    done: promise,
  };
}
