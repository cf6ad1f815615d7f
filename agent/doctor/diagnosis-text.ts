// What the doctor found, as text for one screen: the gravest first, each finding with its reason and remedy, at the end a line of figures.
// Pure.
import { counted, printable } from '../report/text.ts';
import type { Finding } from './check.ts';

export interface Diagnosis {
  readonly node: string;
  readonly version: string;
  readonly seconds: number;
  readonly findings: readonly (Omit<Finding, 'repairs'> & { readonly fixable: boolean })[];
  readonly checks: readonly { readonly id: string; readonly finds: string }[];
  /** What --fix did. */
  readonly repairs: readonly string[];
  /** Why --fix could not do the rest. */
  readonly failures: readonly string[];
  readonly unseen: readonly string[];
}

export interface TextOptions {
  /** Checks that found nothing are listed too. */
  readonly verbose: boolean;
  readonly columns: number;
}

const LABELS = { error: 'ERROR', warning: 'WARNING' } as const;
const INDENT = '         ';
/** Narrower is not read any better. */
const NARROWEST = 60;

export function formatDiagnosis(diagnosis: Diagnosis, { verbose, columns }: TextOptions): string {
  const { node, findings, checks, repairs, failures, unseen, seconds } = diagnosis;
  const width = Math.max(NARROWEST, columns);
  const lines = findings.flatMap(({ severity, what, why, fix, check }) => [
    ...wrapped(`${LABELS[severity].padEnd(8)} ${what} [${check}]`, width),
    ...wrapped(`${INDENT}why: ${why}`, width),
    ...wrapped(`${INDENT}fix: ${fix}`, width),
    '',
  ]);
  const found = new Set(findings.map(({ check }) => check));
  const silent = checks.filter(({ id }) => !found.has(id));
  const widest = Math.max(0, ...silent.map(({ id }) => id.length));
  const fixable = findings.filter((finding) => finding.fixable).length;
  const hint =
    fixable > 0 && repairs.length + failures.length === 0
      ? `; ${fixable} of them can be put right with --fix`
      : '';
  return [
    ...lines,
    ...(verbose && silent.length > 0 ? ['Nothing was found by these checks, which look for:'] : []),
    ...(verbose ? silent.map(({ id, finds }) => `ok       ${id.padEnd(widest)}  ${finds}`) : []),
    ...(verbose && silent.length > 0 ? [''] : []),
    ...repairs.map((words) => `fixed    ${words}`),
    ...failures.flatMap((words) => wrapped(`not done ${words}`, width)),
    ...unseen.flatMap((words) => wrapped(`unseen   ${words}`, width)),
    ...(repairs.length + failures.length + unseen.length > 0 ? [''] : []),
    `Node "${node}": ${checks.length} checks, ${counted(findings.length, 'finding')} in ${seconds.toFixed(1)} s${hint}`,
    '',
  ].join('\n');
}

/** Continued under the text of the first line. */
function wrapped(text: string, width: number): readonly string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of printable(text).split(/(?<=\S) /)) {
    const next = line === '' ? word : `${line} ${word}`;
    if (next.length > width && line.trim() !== '') {
      lines.push(line);
      line = `${INDENT}${INDENT.slice(0, text.startsWith(INDENT) ? 5 : 0)}${word}`;
    } else {
      line = next;
    }
  }
  return [...lines, line];
}
