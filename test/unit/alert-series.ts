// Series of agents as promtool's tests take them, and what a case of an alert is. Values are one a minute.

/** promtool's notation: "0x5 1+1x30" is six zeros, then 1, 2 … 31; "_x5" is five missed scrapes; "stale": it is gone. */
export type Series = Readonly<Record<string, string>>;

export interface FiringCase {
  readonly alert: string;
  readonly series: Series;
  /** The first minute in which the expression is true; it is from then on. */
  readonly from: number;
  /** Beside severity. */
  readonly labels: Readonly<Record<string, string>>;
  readonly summary: string;
}

/** What comes near, and must not fire within two hours (or three times the alert's patience). */
export interface QuietCase {
  readonly alert: string;
  readonly when: string;
  readonly series: Series;
}

export const where = (node: string): Readonly<Record<string, string>> => ({
  node,
  instance: `${node}:6782`,
});

const JOB = { job: 'weft' };

export const labelsOf = (
  node: string,
  more: Readonly<Record<string, string>> = {},
): Record<string, string> => ({
  ...JOB,
  ...where(node),
  ...more,
});

/** A series of the agent of a node. */
export const on = (node: string, name: string, more: Readonly<Record<string, string>> = {}): string =>
  named(name, labelsOf(node, more));

export const named = (name: string, labels: Readonly<Record<string, string>>): string =>
  `${name}{${Object.entries(labels)
    .map(([label, value]) => `${label}="${value}"`)
    .join(',')}}`;

/** Of a node whose roll-out is stuck: both pods are targets, and answered by one of the two agents. */
export const twice = (series: Series): Series => ({
  ...series,
  ...Object.fromEntries(
    Object.entries(series).map(([each, values]) => [each.replace('{', '{pod="weft-new",'), values]),
  ),
});
