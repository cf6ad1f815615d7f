// Our own bugs: a broken invariant ends the process, its parent restarts it. Never used for input from outside.

/** Throws with the values that broke the rule. The message is built only on failure. */
export function invariant(condition: boolean, message: () => string): asserts condition {
  if (!condition) throw new Error(`invariant broken: ${message()}`);
}
