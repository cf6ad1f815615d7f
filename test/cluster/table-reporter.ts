// Reporter of node:test for runs that take minutes: node's own `spec` lines as they come, and at the end a table of all steps, with the
// figures that each gave to context.diagnostic(). The runner hands over every event after its test; a diagnostic belongs to the last one.
import { basename } from 'node:path';
import { Readable } from 'node:stream';
import { spec } from 'node:test/reporters';

/** The part of node's test events that is used here; every event has `type`, the rest depends on it. */
export interface TestEvent {
  readonly type: string;
  readonly data: {
    readonly name?: string;
    readonly nesting?: number;
    readonly message?: string;
    /** Source of the call that made the test; the file that the runner started is entryFile. */
    readonly file?: string;
    readonly entryFile?: string;
    readonly skip?: string | boolean;
    readonly details?: { readonly duration_ms?: number };
  };
}

export interface StepRow {
  readonly file: string;
  readonly step: string;
  readonly result: 'passed' | 'failed' | 'skipped';
  readonly durationMs: number;
  readonly figures: string[];
}

/** Adds what an event says to the rows. */
export function recordEvent(rows: StepRow[], { type, data }: TestEvent): void {
  const { name = '', entryFile, file, message = '', skip, details } = data;
  const source = entryFile ?? file;
  switch (type) {
    case 'test:pass':
    case 'test:fail': {
      const skipped = skip !== undefined && skip !== false;
      rows.push({
        file: basename(source ?? '').replace(/\.test\.ts$/, ''),
        step: `${'  '.repeat(data.nesting ?? 0)}${name}`,
        result: skipped ? 'skipped' : type === 'test:pass' ? 'passed' : 'failed',
        durationMs: details?.duration_ms ?? 0,
        figures: [],
      });
      break;
    }
    case 'test:diagnostic':
      // The runner's own closing counts come from no file.
      if (source !== undefined) rows.at(-1)?.figures.push(message);
      break;
    default:
      break; // spec prints it
  }
}

/** A line per step; its further figures on lines of their own. */
export function formatTable(rows: readonly StepRow[]): string {
  const lines: string[][] = [['file', 'step', 'result', 'seconds', 'figures']];
  for (const [index, { file, step, result, durationMs, figures }] of rows.entries()) {
    const shown = rows[index - 1]?.file === file ? '' : file;
    const [first = '', ...others] = figures;
    lines.push([shown, step, result, (durationMs / 1000).toFixed(1), first]);
    for (const figure of others) lines.push(['', '', '', '', figure]);
  }
  const widths = [0, 1, 2, 3].map((column) => Math.max(...lines.map((words) => words[column]?.length ?? 0)));
  lines.splice(
    1,
    0,
    widths.map((columns) => '─'.repeat(columns)),
  );
  const format = (words: readonly string[]): string =>
    words
      .map((word, column) =>
        column === 3 ? word.padStart(widths[3] ?? 0) : word.padEnd(widths[column] ?? 0),
      )
      .join('  ')
      .trimEnd();
  return ['', ...lines.map(format), ''].join('\n');
}

export default async function* reportTable(source: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  const rows: StepRow[] = [];
  async function* observe(): AsyncGenerator<TestEvent> {
    for await (const event of source) {
      recordEvent(rows, event);
      yield event;
    }
  }
  for await (const text of Readable.from(observe()).pipe(new spec())) yield String(text);
  if (rows.length > 0) yield formatTable(rows);
}
