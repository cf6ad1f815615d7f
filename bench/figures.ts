// Figures of a benchmark's samples: percentiles, spread, slope, and how they are printed.
export const percentile = (values: readonly number[], share: number): number =>
  values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * share))] ??
  Number.NaN;

const mean = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length;

/** Least squares, per value, as a share of the mean; 0 for values that are all alike. */
export function slope(values: readonly number[]): number {
  const average = mean(values);
  const middle = (values.length - 1) / 2;
  const [above, below] = values.reduce(
    ([top, bottom], value, at) => [top + (at - middle) * (value - average), bottom + (at - middle) ** 2],
    [0, 0],
  );
  return above === 0 ? 0 : above / below / average;
}

/** `p50 / p99` of milliseconds. */
export const halfAndTail = (values: readonly number[], digits = 1): string =>
  values.length === 0
    ? '–'
    : `${percentile(values, 0.5).toFixed(digits)} / ${percentile(values, 0.99).toFixed(digits)} ms`;

/** Median, and least to most, of milliseconds in seconds. */
export function middleAndSpread(values: readonly number[]): string {
  const seconds = values.map((value) => value / 1000);
  return `${percentile(seconds, 0.5).toFixed(2)} s (${Math.min(...seconds).toFixed(2)}–${Math.max(...seconds).toFixed(2)})`;
}

/** Columns as wide as their widest cell, the first to the left, the others to the right. */
export function formatTable(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_cell, column) =>
    Math.max(...rows.map((row) => (row[column] ?? '').length)),
  );
  const line = (row: readonly string[]): string =>
    row
      .map((cell, column) =>
        column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0),
      )
      .join('  ');
  return rows.map((row) => `${line(row)}\n`).join('');
}
