// Works side by side of which none goes on when the whole is given up.

/** Resolves when all have, rejects with the first failure when all have ended. */
export async function allEnded(works: readonly Promise<unknown>[]): Promise<void> {
  await Promise.allSettled(works);
  await Promise.all(works);
}
