// Reads the Prometheus text format as far as our tests need it, and what `promtool check metrics` has against names, by the rules of
// promlint (client_golang, prometheus/testutil/promlint/validations), for where that program is not installed.

export interface Family {
  readonly name: string;
  readonly type: string;
  readonly help: string;
  /** Of all its series, in the order of their first appearance; without a histogram's "le". */
  readonly labels: readonly string[];
  readonly series: number;
}

export function parseFamilies(text: string): readonly Family[] {
  const families = new Map<string, { type: string; help: string; labels: Set<string>; series: number }>();
  for (const line of text.split('\n')) {
    const [, kind, name = '', rest = ''] = /^# (HELP|TYPE) (\S+) (.*)$/.exec(line) ?? [];
    if (kind === 'HELP') families.set(name, { type: '', help: rest, labels: new Set(), series: 0 });
    const named = families.get(name);
    if (kind === 'TYPE' && named !== undefined) named.type = rest;
    if (line === '' || line.startsWith('#')) continue;
    const [, sample = '', , labels = ''] = /^([a-z_]+)({(.*)})? \S+$/.exec(line) ?? [];
    const family = families.get(sample) ?? families.get(sample.replace(/_(bucket|sum|count)$/, ''));
    if (family === undefined) throw new Error(`"${line}" is no sample of a family that was declared`);
    family.series += 1;
    for (const [, label = ''] of labels.matchAll(/([a-z_]+)="/g))
      if (label !== 'le') family.labels.add(label);
  }
  return Array.from(families, ([name, { labels, ...family }]) => ({ ...family, name, labels: [...labels] }));
}

const TYPES = ['gauge', 'counter', 'summary', 'histogram', 'untyped'];
const OTHER_UNITS =
  /(^|_)(milliseconds|microseconds|nanoseconds|minutes|hours|days|weeks|kilobytes|megabytes|gigabytes|kibibytes|mebibytes|bits|percent)(_|$)/;
const ABBREVIATIONS = /(^|_)(s|ms|us|ns|sec|b|kb|mb|gb|tb|pb|m|h|d)(_|$)/;

/** What promtool would say of the family; empty: nothing. */
export function complaints({ name, type, help, labels }: Family): readonly string[] {
  const suffix = /_(total|sum|count|bucket|info)$/.exec(name)?.[1];
  const found: [boolean, string][] = [
    [help === '', 'no help text'],
    [!TYPES.includes(type), `type "${type}"`],
    [type === 'counter' && suffix !== 'total', 'counters should have "_total" suffix'],
    [type === 'gauge' && suffix === 'total', 'non-counters should not have "_total" suffix'],
    [type === 'histogram' && suffix === 'total', 'non-counters should not have "_total" suffix'],
    [
      ['gauge', 'counter'].includes(type) && ['sum', 'count', 'bucket'].includes(suffix ?? ''),
      'suffix of a histogram',
    ],
    [type !== 'gauge' && suffix === 'info', 'only a gauge may have "_info"'],
    [TYPES.some((word) => name.split('_').includes(word)), "metric name should not include its type's name"],
    [!/^[a-z][a-z0-9_]*$/.test(name), 'metric names should be written in snake_case'],
    [labels.some((label) => !/^[a-z][a-z0-9_]*$/.test(label)), 'label names should be written in snake_case'],
    [labels.includes('le') || labels.includes('quantile'), 'reserved label'],
    [OTHER_UNITS.test(name), 'use base units'],
    [ABBREVIATIONS.test(name), 'metric names should not contain abbreviated units'],
  ];
  return found.flatMap(([is, text]) => (is ? [`${name}: ${text}`] : []));
}
