// The Prometheus registry: the only importer of prom-client. Metrics are declared by family; those that mirror facts kept elsewhere are
// filled when they are read.
import { Counter, Gauge, Histogram, Registry } from 'prom-client';

export type Labels = Readonly<Record<string, string>>;
export type Sample = readonly [labels: Labels, value: number];

export interface CounterFamily {
  add(labels: Labels, value?: number): void;
}
export interface HistogramFamily {
  observe(labels: Labels, seconds: number): void;
}

export interface FamilyOptions {
  readonly name: string;
  readonly help: string;
  readonly labels?: readonly string[];
}

export interface MetricsRegistry {
  readonly contentType: string;
  counter(options: FamilyOptions): CounterFamily;
  histogram(options: FamilyOptions & { readonly buckets: readonly number[] }): HistogramFamily;
  /** Filled by `samples` at each read; a series that it leaves out is gone. */
  gauge(options: FamilyOptions & { readonly samples: () => Iterable<Sample> }): void;
  /** The same for a counter that is kept elsewhere: `samples` gives totals. */
  mirroredCounter(options: FamilyOptions & { readonly samples: () => Iterable<Sample> }): void;
  /** The same without a type, for a name that the conventions allow no type for. */
  untyped(options: FamilyOptions & { readonly samples: () => Iterable<Sample> }): void;
  /** The text exposition format. */
  render(): Promise<string>;
}

class UntypedGauge extends Gauge {
  override async get(): ReturnType<Gauge['get']> {
    const family = await super.get();
    return { ...family, type: 'untyped' as never }; // as: prom-client lacks the type, and prints what it is given
  }
}

export function createRegistry(): MetricsRegistry {
  const registry = new Registry();
  const configuration = ({ name, help, labels }: FamilyOptions) => ({
    name,
    help,
    labelNames: [...(labels ?? [])],
    registers: [registry],
  });
  const fillGauge = (gauge: Gauge, samples: () => Iterable<Sample>): void => {
    gauge.reset();
    gauge.remove({}); // without labels, reset leaves a 0 that nobody measured
    for (const [labels, value] of samples()) gauge.set(labels, value);
  };
  return {
    contentType: registry.contentType,
    counter(options) {
      const counter = new Counter(configuration(options));
      return { add: (labels, value = 1) => counter.inc(labels, value) };
    },
    histogram(options) {
      const histogram = new Histogram({ ...configuration(options), buckets: [...options.buckets] });
      return { observe: (labels, seconds) => histogram.observe(labels, seconds) };
    },
    gauge(options) {
      const gauge: Gauge = new Gauge({
        ...configuration(options),
        collect: () => fillGauge(gauge, options.samples),
      });
    },
    untyped(options) {
      const gauge: Gauge = new UntypedGauge({
        ...configuration(options),
        collect: () => fillGauge(gauge, options.samples),
      });
    },
    mirroredCounter(options) {
      const counter: Counter = new Counter({
        ...configuration(options),
        collect() {
          counter.reset();
          for (const [labels, value] of options.samples()) counter.inc(labels, value);
        },
      });
    },
    render: () => registry.metrics(),
  };
}
