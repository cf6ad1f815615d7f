// A figure of a measure, and what it is called in a table, in a plot and beside a goal.
import type { Measure } from './measures.ts';

export interface Figure {
  readonly key: string;
  /** Of the measure; empty for the figure that the measure is named after. */
  readonly part: string;
  readonly unit: string;
  readonly digits: number;
  readonly better: 'more' | 'less';
  /** `alone`: nobody asks for its ratio; `detail`: and it is not in the plot either. */
  readonly use?: 'alone' | 'detail';
}

export const fullTitle = ({ title }: Measure, { part }: Figure): string =>
  part === '' ? title : `${title}: ${part}`;

/** In a table with a row for each figure: only the first names the measure. */
export const rowTitle = (measure: Measure, figure: Figure): string =>
  figure === measure.figures[0] ? fullTitle(measure, figure) : `  ${figure.part}`;
