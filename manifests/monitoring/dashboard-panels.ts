// What a panel of the dashboard is, and the queries that come up again and again.
import { once } from './alert.ts';

export interface Query {
  readonly expression: string;
  /** Grafana's template of a series' name. */
  readonly legend: string;
}

export interface Panel {
  readonly title: string;
  readonly kind: 'graph' | 'number' | 'table';
  /** Grafana's name of the unit. */
  readonly unit: string;
  readonly description: string;
  /** Of 24. */
  readonly width: number;
  readonly queries: readonly Query[];
}

export interface Row {
  readonly title: string;
  readonly panels: readonly Panel[];
}

/** Braces of a selector: the nodes that are chosen, and more. */
export const of = (...more: readonly string[]): string => `{${['node=~"$node"', ...more].join(',')}}`;
export const PEER = 'peer=~"$peer"';
export const rate = (series: string): string => `rate(${series}[$__rate_interval])`;
/** Without the label "pod": both pods of an agent that is being replaced are answered by one of the two. */
export const sum = (by: string, series: string): string => `sum by (${by}) (${once(series)})`;
export const quantile = (share: number, { by = '', series }: { by?: string; series: string }): string =>
  `histogram_quantile(${share}, ${sum(by === '' ? 'le' : `${by}, le`, rate(series))})`;

export const graph = (
  title: string,
  panel: Omit<Panel, 'title' | 'kind' | 'width'> & { width?: number },
): Panel => ({
  width: 8,
  ...panel,
  title,
  kind: 'graph',
});

/** The middle one and the slowest of a hundred. */
export const times = (series: string, by = ''): readonly Query[] =>
  [0.5, 0.99].map((share) => ({
    expression: quantile(share, { by, series }),
    legend: `${
      by === ''
        ? ''
        : `${by
            .split(', ')
            .map((label) => `{{${label}}}`)
            .join(' ')} `
    }p${share * 100}`,
  }));
