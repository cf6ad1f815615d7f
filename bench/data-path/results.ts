// All samples of a run, by side and round, and what is made of them.
import { percentile } from '../figures.ts';
import type { Figure } from './figure.ts';
import type { Measure, Sample } from './measures.ts';
import type { SideName } from './side.ts';

export interface Spread {
  readonly median: number;
  readonly least: number;
  readonly most: number;
}

export interface Results {
  readonly measures: readonly Measure[];
  readonly sides: readonly SideName[];
  readonly add: (side: SideName, measure: string, sample: Sample) => void;
  /** In the order of rounds. */
  readonly samples: (side: SideName, measure: string) => readonly Sample[];
  /** Undefined where there is nothing to tell: no sample, or the kernel carries and the figure is of programs. */
  readonly figure: (side: SideName, figure: Figure) => Spread | undefined;
  readonly ratio: (figure: Figure, of: SideName, to: SideName) => Spread | undefined;
}

export function createResults(measures: readonly Measure[], sides: readonly SideName[]): Results {
  const kept = new Map<string, Sample[]>();
  const samples = (side: SideName, measure: string): readonly Sample[] =>
    kept.get(`${side} ${measure}`) ?? [];
  const values = (side: SideName, { key }: Figure): readonly number[] => {
    const measure = measures.find(({ figures }) => figures.some((figure) => figure.key === key));
    return samples(side, measure?.name ?? '').map((sample) => sample[key] ?? Number.NaN);
  };
  return {
    measures,
    sides,
    samples,
    add: (side, measure, sample) => {
      kept.set(`${side} ${measure}`, [...samples(side, measure), sample]);
    },
    figure: (side, figure) => spreadOf(values(side, figure)),
    ratio: (figure, of, to) => {
      const below = values(to, figure);
      return spreadOf(values(of, figure).map((value, round) => value / (below[round] ?? Number.NaN)));
    },
  };
}

function spreadOf(values: readonly number[]): Spread | undefined {
  const real = values.filter((value) => Number.isFinite(value));
  if (real.length === 0) return undefined;
  const sorted = real.toSorted((a, b) => a - b);
  const middle = sorted.length / 2;
  const median = Number.isInteger(middle)
    ? ((sorted[middle - 1] ?? Number.NaN) + (sorted[middle] ?? Number.NaN)) / 2
    : percentile(sorted, 0.5);
  return { median, least: Math.min(...real), most: Math.max(...real) };
}
