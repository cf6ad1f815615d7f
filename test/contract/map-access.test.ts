// The live map for everybody: by keyboard, with a screen reader, on a phone, in light and dark, and without telling colours apart.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { describe, it } from 'node:test';

import { lowContrasts } from '../support/page-contrast.ts';
import { FEW, few, many, seed, text, withPage } from './map-stage.ts';

/** A folder for a picture of each state, to be looked at. */
const PICTURES = process.env['WEFT_MAP_PICTURES'];

describe(`the live map for everybody (seed ${seed})`, () => {
  it('can be used by keyboard alone: one stop in the list, arrows by place, the choice is kept', async () => {
    await withPage(few(), async ({ page, tick }) => {
      const focused = (): Promise<string> =>
        page.evaluate<string>(
          `document.activeElement.ariaLabel ?? (document.activeElement.id || document.activeElement.className)`,
        );
      await page.press('Tab');
      assert.equal(await focused(), 'skip');
      await page.press('Tab');
      assert.match(await focused(), /^node-1:/);
      const outline = `(() => { const { outlineStyle, outlineWidth } = getComputedStyle(document.activeElement); return outlineStyle === 'solid' && parseFloat(outlineWidth) >= 2; })()`;
      assert.equal(await page.evaluate(outline), true);
      await page.press('ArrowRight');
      assert.match(await focused(), /^node-2:/);
      assert.equal(await text(page, 'details-heading'), 'node-2');
      assert.match(await text(page, 'details-body'), /Underlay\s+172\.31\.0\.12/);
      await page.press('ArrowLeft');
      await page.press('ArrowDown');
      assert.match(await focused(), /^node-3:/);
      await page.press('Home');
      assert.match(await focused(), /^node-1:/);
      await page.press('End');
      await tick();
      assert.match(await focused(), /^node-3:/, 'the focus stays where it is when an answer comes');
      assert.equal(await page.evaluate('location.hash'), '#peer=node-3');
      assert.equal(await page.evaluate(`document.querySelectorAll('[role=option][tabindex="0"]').length`), 1);
      await page.press('Escape');
      assert.match(await focused(), /^node-3:/);
      assert.deepEqual(
        [await page.evaluate('location.hash'), await text(page, 'details-heading')],
        ['', 'Details'],
      );
      await page.press('Tab');
      assert.equal(await focused(), 'part');
      const before = await text(page, 'part-body');
      await page.press('Home');
      assert.match(
        await text(page, 'part-body'),
        /^10\.32\.0\.0\/26 to 10\.32\.31\.192\/26: \d+ blocks? of 128 held/,
      );
      assert.notEqual(await text(page, 'part-body'), before);
      assert.equal(await page.evaluate(outline), true);
    });
  });

  it('has landmarks, headings and names for a screen reader, and the same facts as a table', async () => {
    await withPage(few(), async ({ page, rig, tick }) => {
      rig.behave('node-3', { answers: false });
      await page.evaluate(`document.getElementById('table-details').open = true`);
      await tick(8);
      const nodes = await page.accessibleNodes();
      const named = (role: string): readonly string[] =>
        nodes.filter((node) => node.role === role).map(({ name }) => name);
      for (const landmark of ['main', 'banner', 'contentinfo'])
        assert.equal(named(landmark).length, 1, landmark);
      assert.deepEqual(named('heading').toSorted(), [
        'All links as a table',
        'Blocks of the range',
        'Blocks of this node',
        'Details',
        'Links of node-0',
        'Needs a look',
        'Refused packets',
        'This node',
        'node-0',
      ]);
      assert.deepEqual(named('listbox'), ['Peers']);
      assert.deepEqual(
        named('option').map((name) => name.replace(/: .*/, '')),
        FEW,
      );
      assert.deepEqual(named('slider'), ['Part of the range']);
      assert.equal(named('status').length, 1);
      for (const role of ['button', 'listbox', 'option', 'slider', 'region', 'columnheader']) {
        for (const name of named(role)) assert.notEqual(name, '', `${role} without a name`);
      }
      const rows = await page.evaluate<string[][]>(
        `[...document.querySelectorAll('#table tbody tr')].map((row) => [...row.cells].map((cell) => cell.textContent))`,
      );
      assert.deepEqual(
        rows.map(([name]) => name),
        FEW,
      );
      assert.match(rows[2]?.[1] ?? '', /^failed/);
      assert.match(
        rows[0]?.join(' ') ?? '',
        /^node-1 answers 0\.\d\d ms no loss 1450 .*bit\/s .*bit\/s 1 172\.31\.0\.11 0\.1\.0$/,
      );
    });
  });

  for (const [name, make] of [
    ['3', few],
    ['1000', many],
  ] as const) {
    it(`${name} peers, light and dark, wide and on a phone: contrast, no sideways scrolling, targets of 24 pixels`, async (t) => {
      const rig = make();
      await withPage(rig, async ({ page, tick }) => {
        rig.behave(rig.names[1]!, { answers: false }); // !: there are three or more
        rig.behave(rig.names[2]!, { roundTripMs: 3.2, loss: 0.2 }); // !: there are three or more
        for (let answer = 0; answer < 5; answer += 1) await tick(4);
        await page.evaluate(
          `document.querySelectorAll('#peers > *')[2].click(); document.activeElement.blur()`,
        );
        for (const width of [360, 1280]) {
          for (const scheme of ['light', 'dark'] as const) {
            await page.setViewport({ width, height: 800, scheme, isMobile: width === 360 });
            await tick();
            const { measured, low } = await lowContrasts(page);
            assert.deepEqual(low, [], `${scheme} ${width}`);
            t.diagnostic(`${scheme} ${width}: ${measured} contrasts measured`);
            assert.equal(await page.evaluate('document.documentElement.scrollWidth'), width);
            const small = await page.evaluate<string[]>(
              `[...document.querySelectorAll('button, input, select, summary, [role=option]')].filter((each) => each.checkVisibility()).filter((each) => { const { width, height } = each.getBoundingClientRect(); return width < 24 || height < 24; }).map(({ outerHTML }) => outerHTML)`,
            );
            assert.deepEqual(small, []);
            if (PICTURES !== undefined)
              writeFileSync(join(PICTURES, `${name}-${width}-${scheme}.png`), await page.screenshot());
          }
        }
      });
    });
  }
});
