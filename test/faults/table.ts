// The tour's table: what happened, and what was seen of it.
import type { Row } from './tour.ts';

const WIDTH = 108;

export function formatRow(row: Row): string {
  const { fault, node, doctorSeconds, finding, metric, before, after, lines, event, wrong, healedSeconds } =
    row;
  const mark = wrong.length === 0 ? 'seen  ' : 'MISSED';
  return [
    `${mark} ${fault.name}: ${fault.what}`,
    `       doctor   ${doctorSeconds === undefined ? 'silent' : `${doctorSeconds.toFixed(1)} s`} on ${node} [${fault.check}] ${doctorSeconds === undefined ? finding : shortened(finding)}`,
    `       metric   ${metric} ${valueOf(before)} → ${valueOf(after)}`,
    `       log      ${event}, ${lines.length} ×: ${shortened(lines[0] ?? '')}`,
    `       undone   ${healedSeconds === undefined ? 'still found' : `silent after ${healedSeconds.toFixed(1)} s`}`,
    ...(lines.length > 1 ? lines.map((text) => `                ${text}`) : []),
    ...wrong.map((text) => `       WRONG    ${text}`),
  ].join('\n');
}

const valueOf = (value: number | undefined): string => (value === undefined ? 'none' : String(value));
const shortened = (text: string): string => (text.length <= WIDTH ? text : `${text.slice(0, WIDTH)}…`);

/** As Markdown: one line a fault. */
export function formatTable(rows: readonly Row[]): string {
  const head = ['fault', 'named by the doctor', 'metric', 'log, once', ''];
  const cells = rows.map(({ fault, node, doctorSeconds, metric, before, after, event, wrong }) => [
    fault.what,
    doctorSeconds === undefined ? 'no' : `\`${fault.check}\` on ${node} after ${doctorSeconds.toFixed(0)} s`,
    `\`${metric}\` ${valueOf(before)} → ${valueOf(after)}`,
    `\`${event}\``,
    wrong.join('; '),
  ]);
  return [head, head.map(() => '---'), ...cells].map((line) => `| ${line.join(' | ')} |`).join('\n');
}
