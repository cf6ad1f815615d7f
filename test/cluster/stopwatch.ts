// How long things take, for people: told, never asserted.

/** Tells what is done, and how long after now. */
export function stopwatch(tell: (line: string) => void): (what: string) => void {
  const start = performance.now();
  return (what) => tell(`${what} after ${((performance.now() - start) / 1000).toFixed(1)} s`);
}
