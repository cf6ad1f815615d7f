// The plot: for each figure a panel with a bar for each side, its median, and the least and most of all rounds. A dashed mark shows what
// Weft must reach, from the C loop's or wireguard-go's median. Plain SVG, written by hand.
import { COMPARISONS, LIMITS } from './goals.ts';
import type { Figure } from './figure.ts';
import type { Results, Spread } from './results.ts';
import { SIDE_TITLES, type SideName } from './side.ts';

const COLUMNS = 3;
const PANEL = { width: 380, padding: 14, head: 36, bar: 15, step: 21, label: 88, value: 62 } as const;
const TOP = 64;
const COLORS: Readonly<Record<SideName, string>> = {
  weft: '#d1495b',
  limit: '#30638e',
  furnished: '#7ba7c9',
  vxlan: '#7d8ca3',
  wireguard: '#b5a642',
  none: '#c3cad6',
};

interface Bar {
  readonly side: SideName;
  readonly value: Spread;
}

interface Panel {
  readonly figure: Figure;
  /** Of the measure. */
  readonly title: string;
  readonly bars: readonly Bar[];
  /** What Weft must reach, in the figure's unit. */
  readonly must: number | undefined;
}

/** `caption`: one line on the machine. */
export function drawPlot(results: Results, caption: string): string {
  const panels = panelsOf(results);
  const height =
    Math.max(0, ...panels.map(({ bars }) => bars.length)) * PANEL.step + PANEL.head + 2 * PANEL.padding;
  const size = {
    width: COLUMNS * PANEL.width + PANEL.padding,
    height: TOP + Math.ceil(panels.length / COLUMNS) * height,
  };
  const drawn = panels.map((panel, index) => {
    const x = PANEL.padding + (index % COLUMNS) * PANEL.width;
    const y = TOP + Math.floor(index / COLUMNS) * height;
    return `<g transform="translate(${x} ${y})">\n${drawPanel(panel)}\n</g>`;
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${size.width}" height="${size.height}" font-family="sans-serif" font-size="11">`,
    `<rect width="${size.width}" height="${size.height}" fill="#ffffff"/>`,
    textAt(
      PANEL.padding,
      24,
      'Weft’s data path beside others: median, least and most',
      'font-size="16" font-weight="bold"',
    ),
    textAt(PANEL.padding, 44, caption, 'fill="#555555"'),
    ...drawn,
    '</svg>\n',
  ].join('\n');
}

function panelsOf(results: Results): readonly Panel[] {
  return results.measures.flatMap(({ title, figures }) =>
    figures.flatMap((figure) => {
      const bars = results.sides.flatMap((side) => {
        const value = results.figure(side, figure);
        return value === undefined ? [] : [{ side, value }];
      });
      if (bars.length === 0 || figure.use === 'detail') return [];
      return [{ figure, title, bars, must: mustOf(results, figure) }];
    }),
  );
}

/** Of several, the one that asks for most. */
function mustOf(results: Results, figure: Figure): number | undefined {
  const bounds = COMPARISONS.filter(({ of }) => of === 'weft').flatMap(({ to, goals }) => {
    const goal = goals.find(({ key }) => key === figure.key);
    const other = results.figure(to, figure);
    return goal === undefined || other === undefined ? [] : [goal.must * other.median];
  });
  const all = [...bounds, ...LIMITS.filter(({ key }) => key === figure.key).map(({ must }) => must)];
  if (all.length === 0) return undefined;
  return figure.better === 'more' ? Math.max(...all) : Math.min(...all);
}

function drawPanel({ figure, title, bars, must }: Panel): string {
  const room = PANEL.width - PANEL.label - PANEL.value - PANEL.padding;
  const largest = Math.max(Number.MIN_VALUE, must ?? 0, ...bars.map(({ value }) => value.most));
  const scale = (value: number): number => PANEL.label + (value / largest) * room;
  const lines = bars.map(({ side, value }, index) => {
    const y = PANEL.head + index * PANEL.step;
    const middle = y + PANEL.bar / 2;
    return [
      textAt(PANEL.label - 6, middle + 4, SIDE_TITLES[side], 'text-anchor="end"'),
      `<rect x="${PANEL.label}" y="${y}" width="${(scale(value.median) - PANEL.label).toFixed(1)}" height="${PANEL.bar}" fill="${COLORS[side]}"/>`,
      lineBetween([scale(value.least), middle], [scale(value.most), middle], 'stroke="#111111"'),
      ...[value.least, value.most].map((end) =>
        lineBetween([scale(end), middle - 3], [scale(end), middle + 3], 'stroke="#111111"'),
      ),
      textAt(
        scale(Math.max(value.most, side === 'weft' ? (must ?? 0) : 0)) + 5,
        middle + 4,
        value.median.toFixed(figure.digits),
        '',
      ),
    ].join('\n');
  });
  const mark =
    must === undefined || !bars.some(({ side }) => side === 'weft') ? [] : [drawMust(bars, scale(must))];
  const note = [figure.part, figure.unit, figure.better === 'more' ? '' : 'less is better'];
  return [
    textAt(0, 12, title, 'font-weight="bold"'),
    textAt(0, 27, note.filter((part) => part !== '').join(', '), 'fill="#555555"'),
    ...lines,
    ...mark,
  ].join('\n');
}

function drawMust(bars: readonly Bar[], x: number): string {
  const y = PANEL.head + bars.findIndex(({ side }) => side === 'weft') * PANEL.step;
  return lineBetween(
    [x, y - 3],
    [x, y + PANEL.bar + 3],
    'stroke="#111111" stroke-width="2" stroke-dasharray="3 2"',
  );
}

const lineBetween = (
  [x1, y1]: readonly [number, number],
  [x2, y2]: readonly [number, number],
  style: string,
): string => `<line x1="${x1.toFixed(1)}" y1="${y1}" x2="${x2.toFixed(1)}" y2="${y2}" ${style}/>`;

const textAt = (...[x, y, text, style]: readonly [number, number, string, string]): string =>
  `<text x="${x.toFixed(1)}" y="${y}" ${style}>${text.replaceAll('&', '&amp;').replaceAll('<', '&lt;')}</text>`;
