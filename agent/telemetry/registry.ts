// The Prometheus registry: the only importer of prom-client. Metrics are declared by family. Those that mirror facts kept elsewhere are read
// when somebody asks and written here: prom-client would hash the labels of each series at each scrape, and is slow in writing them (text
// exposition format 0.0.4; HELP lines are ours and hold nothing to escape).
import { Counter, Histogram, Registry } from 'prom-client';

import { invariant } from '../../proto/invariant.ts';

export type Labels = Readonly<Record<string, string>>;
export type Sample = readonly [labels: Labels, value: number];

export interface CounterFamily {
  /** By 1 unless told; 0 makes the series. */
  add(labels: Labels, value?: number): void;
}
export interface HistogramFamily {
  observe(labels: Labels, seconds: number): void;
  /** Makes the series. */
  start(labels: Labels): void;
}

export interface FamilyOptions {
  readonly name: string;
  readonly help: string;
}
interface KeptFamilyOptions extends FamilyOptions {
  readonly labels?: readonly string[];
}
interface MirroredFamilyOptions extends FamilyOptions {
  /** At each read; a series that it leaves out is gone. */
  readonly samples: () => Iterable<Sample>;
}

/** Not cumulative: a value counts in one bucket. */
export interface BucketCounts {
  /** Upper bounds, included. */
  readonly bounds: readonly number[];
  /** One more than bounds: what is above all of them. */
  readonly counts: readonly number[];
  readonly sum: number;
}

export interface MetricsRegistry {
  readonly contentType: string;
  counter(options: KeptFamilyOptions): CounterFamily;
  histogram(options: KeptFamilyOptions & { readonly buckets: readonly number[] }): HistogramFamily;
  gauge(options: MirroredFamilyOptions): void;
  /** `samples` gives totals. */
  mirroredCounter(options: MirroredFamilyOptions): void;
  /** Without a type, for a name that the conventions allow no type for. */
  untyped(options: MirroredFamilyOptions): void;
  mirroredHistogram(
    options: FamilyOptions & { readonly series: () => Iterable<readonly [Labels, BucketCounts]> },
  ): void;
  /** The text exposition format. */
  render(): Promise<string>;
}

export function createRegistry(): MetricsRegistry {
  const registry = new Registry();
  const mirrors: (() => string)[] = [];
  const declared = new Set<string>();
  const declare = ({ name, help }: FamilyOptions, type: string): string => {
    invariant(!declared.has(name), () => `metric "${name}" is declared twice`);
    declared.add(name);
    return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`;
  };
  const configuration = ({ name, help, labels }: KeptFamilyOptions) => ({
    name,
    help,
    labelNames: [...(labels ?? [])],
    registers: [registry],
  });
  const mirrored =
    (type: string) =>
    (options: MirroredFamilyOptions): void => {
      const head = declare(options, type);
      mirrors.push(() => {
        let text = head;
        for (const [labels, value] of options.samples()) text += formatSample(options.name, labels, value);
        return text;
      });
    };
  return {
    contentType: registry.contentType,
    counter(options) {
      const counter = new Counter(configuration(options));
      return { add: (labels, value = 1) => counter.inc(labels, value) };
    },
    histogram(options) {
      const histogram = new Histogram({ ...configuration(options), buckets: [...options.buckets] });
      return {
        observe: (labels, seconds) => histogram.observe(labels, seconds),
        start: (labels) => histogram.zero(labels),
      };
    },
    gauge: mirrored('gauge'),
    mirroredCounter: mirrored('counter'),
    untyped: mirrored('untyped'),
    mirroredHistogram(options) {
      const head = declare(options, 'histogram');
      mirrors.push(() => {
        let text = head;
        for (const [labels, counts] of options.series()) text += formatBuckets(options.name, labels, counts);
        return text;
      });
    },
    async render() {
      const text = mirrors.map((mirror) => mirror()).join('\n'); // before anything else runs: facts of one moment
      return `${text}\n${await registry.metrics()}`;
    },
  };
}

function formatBuckets(name: string, labels: Labels, { bounds, counts, sum }: BucketCounts): string {
  let text = '';
  let total = 0;
  for (const [at, count] of counts.entries()) {
    total += count;
    text += formatSample(`${name}_bucket`, { ...labels, le: formatNumber(bounds[at] ?? Infinity) }, total);
  }
  return text + formatSample(`${name}_sum`, labels, sum) + formatSample(`${name}_count`, labels, total);
}

function formatSample(name: string, labels: Labels, value: number): string {
  let inside = '';
  for (const label of Object.keys(labels)) {
    inside += `${inside === '' ? '' : ','}${label}="${escapeLabel(labels[label] ?? '')}"`;
  }
  return `${name}${inside === '' ? '' : `{${inside}}`} ${formatNumber(value)}\n`;
}

const SPECIAL = /[\\\n"]/;
const escapeLabel = (value: string): string =>
  SPECIAL.test(value) ? value.replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('"', '\\"') : value;

const formatNumber = (value: number): string =>
  value === Infinity ? '+Inf' : value === -Infinity ? '-Inf' : String(value);

/** One series without labels; none while the value is undefined. */
export const single =
  (value: () => number | undefined): (() => readonly Sample[]) =>
  () => {
    const now = value();
    return now === undefined ? [] : [[{}, now]];
  };
