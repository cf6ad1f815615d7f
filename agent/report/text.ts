// The forms of text that status pages and the weft command are made of: labelled lines, tables, ages, shares. Pure.

/** What other nodes and the API say ends up on an operator's terminal: nothing of it moves the cursor. */
export const printable = (text: string): string => text.replaceAll(/\p{Cc}/gu, '\uFFFD');

/** Rows of `label: value`, the labels right-aligned. Values go on below themselves where a line would be longer than `columns`. */
export function labelled(
  rows: readonly (readonly [label: string, value: string])[],
  columns?: number,
): string {
  const width = Math.max(...rows.map(([label]) => label.length));
  const indent = ' '.repeat(width + 2);
  return rows
    .map(([label, value]) => {
      const shown = printable(value);
      const lines = columns === undefined ? [shown] : wrap(shown, columns - indent.length);
      return `${label.padStart(width)}: ${lines.join(`\n${indent}`)}\n`;
    })
    .join('');
}

export interface TableOptions {
  readonly headers?: boolean;
}

/** Columns as wide as their widest cell; the first row is the head. */
export function table(rows: readonly (readonly string[])[], { headers = true }: TableOptions = {}): string {
  const shown = headers ? rows : rows.slice(1);
  const widths = (rows[0] ?? []).map((_, column) =>
    shown.reduce((widest, row) => Math.max(widest, (row[column] ?? '').length), 0),
  );
  const line = (row: readonly string[]): string =>
    row
      .map((cell, column) => printable(cell).padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd();
  return shown.map((row) => `${line(row)}\n`).join('');
}

/** At spaces; a longer word has a line of its own. */
export function wrap(text: string, columns: number): readonly string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > columns) {
      lines.push(line);
      line = word;
    } else {
      line = line === '' ? word : `${line} ${word}`;
    }
  }
  return [...lines, line];
}

/** 7s, 3m12s, 5h04m, 2d03h. */
export function formatAge(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  const [days, hours, minutes] = [
    Math.floor(whole / 86_400),
    Math.floor(whole / 3600) % 24,
    Math.floor(whole / 60) % 60,
  ];
  const two = (value: number): string => String(value).padStart(2, '0');
  if (days > 0) return `${days}d${two(hours)}h`;
  if (hours > 0) return `${hours}h${two(minutes)}m`;
  if (minutes > 0) return `${minutes}m${two(whole % 60)}s`;
  return `${whole}s`;
}

export const ageOr = (seconds: number | undefined, otherwise: string): string =>
  seconds === undefined ? otherwise : formatAge(seconds);

/** `3m12s ago`, or what else is to be said. */
export const agoOr = (seconds: number | undefined, otherwise: string): string =>
  seconds === undefined ? otherwise : `${formatAge(seconds)} ago`;

export const formatRoundTrip = (seconds: number | undefined): string =>
  seconds === undefined ? '-' : `${(seconds * 1000).toFixed(3)}ms`;

/** Of 0 to 1, in percent; one digit behind the point below ten. */
export const formatShare = (share: number | undefined): string =>
  share === undefined ? '-' : `${Number((share * 100).toFixed(share < 0.1 ? 1 : 0))}%`;

export const orDash = (value: number | string | undefined): string =>
  value === undefined ? '-' : String(value);

/** 1 peer, 2 peers. */
export const counted = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? '' : 's'}`;
