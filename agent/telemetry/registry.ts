// The Prometheus registry: the only importer of prom-client. Metrics are declared by family; those that mirror facts kept elsewhere are
// read when somebody asks, and go past prom-client's own store, which would hash the labels of each series at each scrape.
import { Counter, Histogram, Registry } from 'prom-client';

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

interface Value {
  readonly labels: Labels;
  readonly value: number;
  readonly metricName?: string;
}

export function createRegistry(): MetricsRegistry {
  const registry = new Registry();
  const configuration = ({ name, help, labels }: KeptFamilyOptions) => ({
    name,
    help,
    labelNames: [...(labels ?? [])],
    registers: [registry],
  });
  const mirror = (type: string, { name, help }: FamilyOptions, values: () => Value[]): void => {
    const metric = { name, get: async () => ({ name, help, type, values: values(), aggregator: 'sum' }) };
    registry.registerMetric(metric as unknown as Counter); // as: all that the registry asks of a metric
  };
  const mirrored =
    (type: string) =>
    (options: MirroredFamilyOptions): void =>
      mirror(type, options, () =>
        Array.from(options.samples(), ([labels, value]): Value => ({ labels, value })),
      );
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
    mirroredHistogram: (options) =>
      mirror('histogram', options, () =>
        Array.from(options.series(), ([labels, counts]) => bucketValues(options.name, labels, counts)).flat(),
      ),
    render: () => registry.metrics(),
  };
}

function bucketValues(name: string, labels: Labels, { bounds, counts, sum }: BucketCounts): Value[] {
  let total = 0;
  const buckets = counts.map((count, at): Value => {
    total += count;
    const le = at < bounds.length ? String(bounds[at]) : '+Inf';
    return { metricName: `${name}_bucket`, labels: { ...labels, le }, value: total };
  });
  return [
    ...buckets,
    { metricName: `${name}_sum`, labels, value: sum },
    { metricName: `${name}_count`, labels, value: total },
  ];
}

/** One series without labels; none while the value is undefined. */
export const single =
  (value: () => number | undefined): (() => readonly Sample[]) =>
  () => {
    const now = value();
    return now === undefined ? [] : [[{}, now]];
  };
