// Order of resource versions. The API promises decimal integers that grow (KEP-5504); anything else compares with nothing.

/** Negative, zero or positive as `a` is older than, equal to or newer than `b`; undefined when either is no decimal integer. */
export function compareResourceVersions(a: string, b: string): number | undefined {
  if (!DECIMAL.test(a) || !DECIMAL.test(b)) return undefined;
  if (a.length !== b.length) return a.length - b.length;
  return a < b ? -1 : a > b ? 1 : 0;
}

export const isOlder = (a: string, b: string | undefined): boolean =>
  b !== undefined && (compareResourceVersions(a, b) ?? 0) < 0;

const DECIMAL = /^(0|[1-9]\d{0,29})$/;
