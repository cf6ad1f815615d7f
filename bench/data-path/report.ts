// The run's tables: medians with their spread for every side, then Weft's ratios beside what it is held to.
import { formatTable } from '../figures.ts';
import { COMPARISONS, type Comparison, type Goal, LIMITS, judge } from './goals.ts';
import { type Figure, fullTitle, rowTitle } from './figure.ts';
import type { Measure } from './measures.ts';
import type { Results, Spread } from './results.ts';
import { SIDE_TITLES } from './side.ts';
import type { Wire, WireLook } from './wire.ts';

const WIRE_TITLES: Readonly<Record<Wire, string>> = { super: 'super-frames', mtu: 'MTU-sized frames' };

const NOTHING = '–';

interface Row {
  readonly measure: Measure;
  readonly figure: Figure;
}

const rowsOf = ({ measures }: Results): readonly Row[] =>
  measures.flatMap((measure) => measure.figures.map((figure) => ({ measure, figure })));

const spreadText = (spread: Spread | undefined, digits: number): string =>
  spread === undefined
    ? NOTHING
    : `${spread.median.toFixed(digits)} (${spread.least.toFixed(digits)}–${spread.most.toFixed(digits)})`;

export function formatFigures(results: Results): string {
  const rows = rowsOf(results).map(({ measure, figure }) =>
    [`${rowTitle(measure, figure)}, ${figure.unit}`].concat(
      results.sides.map((side) => spreadText(results.figure(side, figure), figure.digits)),
    ),
  );
  return formatTable([['median (least–most)', ...results.sides.map((side) => SIDE_TITLES[side])], ...rows]);
}

export function formatRatios(results: Results): string {
  const comparisons = COMPARISONS.filter(({ of, to }) =>
    [of, to].every((side) => results.sides.includes(side)),
  );
  if (comparisons.length === 0) return '';
  const heads = comparisons.flatMap(({ of, to, goals }) => {
    const title = `${SIDE_TITLES[of]} ÷ ${SIDE_TITLES[to]}`;
    return goals.length === 0 ? [title] : [title, 'must', 'aim', ''];
  });
  const rows = rowsOf(results)
    .filter(({ figure }) => figure.use === undefined)
    .map(({ measure, figure }) =>
      [rowTitle(measure, figure)].concat(comparisons.flatMap((each) => ratioCells(results, figure, each))),
    );
  if (rows.length === 0) return '';
  return formatTable([['ratio, median (least–most)', ...heads], ...rows]);
}

function ratioCells(results: Results, figure: Figure, { of, to, goals }: Comparison): readonly string[] {
  const ratio = results.ratio(figure, of, to);
  const cell = [spreadText(ratio, 2)];
  if (goals.length === 0) return cell;
  const goal = goals.find(({ key }) => key === figure.key);
  return cell.concat(goalCells(ratio, goal, figure));
}

/** Also the run that lets every side warm up. */
export const formatWires = (looks: readonly WireLook[]): string =>
  looks
    .map(
      ({ side, wire, largest }) =>
        `${SIDE_TITLES[side]}, ${WIRE_TITLES[wire]}: IP packets of up to ${largest} B crossed`,
    )
    .join('\n');

/** What Weft is held to by itself. */
export function formatLimits(results: Results): string {
  const rows = rowsOf(results).flatMap(({ measure, figure }) => {
    const limit = LIMITS.find(({ key }) => key === figure.key);
    const value = results.figure('weft', figure);
    if (limit === undefined || value === undefined) return [];
    const [must = '', , verdict = ''] = goalCells(value, limit, figure);
    const title = `${fullTitle(measure, figure)}, ${figure.unit}`;
    return [[title, spreadText(value, figure.digits), must, verdict]];
  });
  return rows.length === 0
    ? ''
    : formatTable([['Weft by itself', 'median (least–most)', 'must', ''], ...rows]);
}

function goalCells(value: Spread | undefined, goal: Goal | undefined, { better }: Figure): readonly string[] {
  if (goal === undefined) return ['', '', ''];
  const sign = better === 'more' ? '≥' : '≤';
  const bound = (limit: number | undefined): string => (limit === undefined ? '' : `${sign} ${limit}`);
  const verdict = value === undefined ? NOTHING : judge(value.median, goal, better);
  return [bound(goal.must), bound(goal.aim), verdict];
}
