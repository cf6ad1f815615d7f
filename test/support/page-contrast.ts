// Measures contrast on an open page, as WCAG 2.2 defines it: of each text on what is behind it, and of each sign's colour on its ground.
import type { Page } from './chromium.ts';

export interface Contrast {
  readonly what: string;
  readonly ratio: number;
}

/** Runs in the page. Colours are as computed; a ground is the nearest background that is not transparent. */
const MEASURE = `(() => {
  const canvas = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });
  const rgb = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const luminance = (colour) => {
    const [r, g, b] = rgb(colour).slice(0, 3).map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (a, b) => {
    const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
    return (high + 0.05) / (low + 0.05);
  };
  const groundOf = (element) => {
    for (let at = element; at !== null; at = at.parentElement) {
      const { backgroundColor } = getComputedStyle(at);
      if (rgb(backgroundColor)[3] === 255) return backgroundColor;
    }
    return getComputedStyle(document.documentElement).backgroundColor;
  };
  const isSeen = (element) => element.checkVisibility({ opacityProperty: true, visibilityProperty: true }) && element.closest('.unseen, .skip') === null;
  const texts = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const { parentElement, data } = walker.currentNode;
    if (data.trim() === '' || parentElement instanceof SVGElement || !isSeen(parentElement)) continue;
    texts.push({ what: 'text "' + data.slice(0, 30) + '"', ratio: ratio(getComputedStyle(parentElement).color, groundOf(parentElement)) });
  }
  const signs = [];
  for (const cell of document.querySelectorAll('.cell, .swatch, .kind, .card, .fill')) {
    if (!isSeen(cell)) continue;
    const style = getComputedStyle(cell);
    const say = (part, colour, ground) => signs.push({ what: cell.className + ' ' + part, ratio: ratio(colour, ground) });
    const around = groundOf(cell.parentElement);
    if (cell.matches('.card')) {
      say('edge', style.borderTopColor, around);
      say('state', style.borderLeftColor, style.backgroundColor);
    } else if (cell.matches('.failed.cell')) {
      say('ground', style.backgroundColor, around);
      say('mark', getComputedStyle(cell, '::before').color, style.backgroundColor);
    } else if (cell.matches('.pending.cell')) {
      say('mark', getComputedStyle(cell, '::before').color, style.backgroundColor);
    } else if (cell.matches('.kind.free')) {
      say('edge', style.borderTopColor, around);
    } else if (cell.matches('.kind, .fill')) {
      say('ground', style.backgroundColor, around);
    } else if (style.getPropertyValue('--hue') !== '') {
      const probe = document.createElement('i');
      probe.style.color = 'var(--hue)';
      cell.append(probe);
      const hue = getComputedStyle(probe).color;
      probe.remove();
      say('hue', hue, cell.matches('.cell') ? style.backgroundColor : around);
    }
  }
  for (const wire of document.querySelectorAll('.wire, .trunk, #strip .mine, #strip .others, #strip .waiting')) {
    if (!isSeen(wire)) continue;
    const { stroke, fill } = getComputedStyle(wire);
    const free = wire.closest('#strip')?.querySelector('.free');
    const colour = stroke === 'none' ? fill : stroke;
    signs.push({ what: wire.getAttribute('class'), ratio: ratio(colour, free ? getComputedStyle(free).fill : groundOf(wire.closest('section'))) });
  }
  return { texts, signs };
})()`;

/** What is below the bounds of WCAG's level AA: 4.5 for text, 3 for signs. */
export async function lowContrasts(
  page: Page,
): Promise<{ readonly measured: number; readonly low: readonly Contrast[] }> {
  const { texts, signs } = await page.evaluate<{ texts: Contrast[]; signs: Contrast[] }>(MEASURE);
  return {
    measured: texts.length + signs.length,
    low: [...texts.filter(({ ratio }) => ratio < 4.5), ...signs.filter(({ ratio }) => ratio < 3)],
  };
}
