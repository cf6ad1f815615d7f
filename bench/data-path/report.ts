// The run's tables: medians with their spread for every side, then Weft's ratios beside what it is held to.
import { formatTable } from '../figures.ts';
import { COMPARISONS, type Goal, LIMITS, judge } from './goals.ts';
import type { Figure } from './measures.ts';
import type { Results, Spread } from './results.ts';
import { SIDE_TITLES } from './side.ts';

const NOTHING = '–';

const figuresOf = ({ measures }: Results): readonly Figure[] => measures.flatMap(({ figures }) => figures);

const spreadText = (spread: Spread | undefined, digits: number): string =>
  spread === undefined
    ? NOTHING
    : `${spread.median.toFixed(digits)} (${spread.least.toFixed(digits)}–${spread.most.toFixed(digits)})`;

export function formatFigures(results: Results): string {
  const rows = figuresOf(results).map((figure) => [
    `${figure.title}, ${figure.unit}`,
    ...results.sides.map((side) => spreadText(results.figure(side, figure), figure.digits)),
  ]);
  return formatTable([['median (least–most)', ...results.sides.map((side) => SIDE_TITLES[side])], ...rows]);
}

export function formatRatios(results: Results): string {
  const comparisons = COMPARISONS.filter(({ of, to }) =>
    [of, to].every((side) => results.sides.includes(side)),
  );
  if (comparisons.length === 0) return '';
  const heads = comparisons.flatMap(({ of, to, goals }) => [
    `${SIDE_TITLES[of]} ÷ ${SIDE_TITLES[to]}`,
    ...(goals.length === 0 ? [] : ['must', 'aim', '']),
  ]);
  const rows = figuresOf(results).map((figure) => [
    figure.title,
    ...comparisons.flatMap(({ of, to, goals }) => {
      const ratio = results.ratio(figure, of, to);
      const cell = spreadText(ratio, 2);
      if (goals.length === 0) return [cell];
      const goal = goals.find(({ key }) => key === figure.key);
      return [cell, ...goalCells(ratio, goal, figure)];
    }),
  ]);
  return formatTable([['ratio, median (least–most)', ...heads], ...rows]);
}

/** What Weft is held to by itself. */
export function formatLimits(results: Results): string {
  const rows = figuresOf(results).flatMap((figure) => {
    const limit = LIMITS.find(({ key }) => key === figure.key);
    const value = results.figure('weft', figure);
    if (limit === undefined || value === undefined) return [];
    const [must = '', , verdict = ''] = goalCells(value, limit, figure);
    return [[`${figure.title}, ${figure.unit}`, value.median.toFixed(figure.digits), must, verdict]];
  });
  return rows.length === 0 ? '' : formatTable([['Weft', 'median', 'must', ''], ...rows]);
}

function goalCells(value: Spread | undefined, goal: Goal | undefined, { better }: Figure): readonly string[] {
  if (goal === undefined) return ['', '', ''];
  const sign = better === 'more' ? '≥' : '≤';
  const bound = (limit: number | undefined): string => (limit === undefined ? '' : `${sign} ${limit}`);
  const verdict = value === undefined ? NOTHING : judge(value.median, goal, better);
  return [bound(goal.must), bound(goal.aim), verdict];
}
