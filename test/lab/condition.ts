// Waiting for a condition, with a bound: the only way in which the lab waits. The bound is for failures; no result depends on it.
import { setTimeout as pause } from 'node:timers/promises';

export interface ConditionOptions {
  /** What is awaited, for the failure's message. */
  readonly what: string;
  readonly boundMs?: number;
  readonly intervalMs?: number;
}

/** Resolves to the first value of `observe` that is not undefined. Throws after the bound, with the last error that `observe` threw. */
export async function condition<T>(
  observe: () => Promise<T | undefined> | T | undefined,
  { what, boundMs = 20_000, intervalMs = 20 }: ConditionOptions,
): Promise<T> {
  const end = performance.now() + boundMs;
  let last: unknown;
  for (;;) {
    try {
      const value = await observe();
      if (value !== undefined) return value;
    } catch (error) {
      last = error;
    }
    if (performance.now() >= end) {
      throw new Error(`Waited ${boundMs} ms in vain for ${what}`, last === undefined ? {} : { cause: last });
    }
    await pause(intervalMs);
  }
}

/** As `condition`, for something that is true or not. */
export const until = async (
  observe: () => Promise<boolean> | boolean,
  options: ConditionOptions,
): Promise<void> => {
  await condition(async () => ((await observe()) ? true : undefined), options);
};
