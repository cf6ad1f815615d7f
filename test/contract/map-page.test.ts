// The live map as a person uses it: what it shows of few and of many peers, that it is live, that it outlives its agent, that it trusts nobody.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { createMapRig } from '../support/map-rig.ts';
import { few, labels, many, seed, serveMap, text, withPage } from './map-stage.ts';

describe(`the live map (seed ${seed})`, () => {
  it('shows this node, its peers, blocks and refused packets; asks nobody else; complains of nothing', async () => {
    await withPage(few(), async ({ page, rig, origin, tick }) => {
      rig.report = { drops: { unknown_sender: 140, pod_spoofed: 8 } };
      await tick(10);
      assert.match(await text(page, 'summary'), /172\.31\.0\.10 · sees 3 peers: 3 answer/);
      assert.match(await text(page, 'links-note'), /What node-0 itself sees/);
      for (const [at, label] of (await labels(page)).entries()) {
        assert.match(label, new RegExp(`^node-${at + 1}: 0\\.\\d\\d ms · no loss$`));
      }
      assert.match(
        await text(page, 'blocks-note'),
        /16,384 blocks of 64 addresses\. 1 of this node, 4 of others, 2 in quarantine/,
      );
      assert.match(await text(page, 'own-blocks'), /^10\.\d+\.\d+\.\d+\/26\s+11 of 64 used$/);
      assert.match(await text(page, 'drops'), /unknown_sender\s+2\.0\/s\s+140\s+pod_spoofed\s+0\/s\s+8/);
      assert.match(await text(page, 'attention'), /Nothing: peers answer/);
      assert.equal(await page.evaluate(`document.querySelectorAll('.wire.established').length`), 3);
      const foreign = page.requests.filter((each) => !each.startsWith(`GET ${origin}/map`));
      assert.deepEqual(foreign, []);
      assert.deepEqual(page.complaints, []);
    });
  });

  it('tells of a peer that fails and comes back, by its sign, in words and aloud, once', async () => {
    await withPage(few(), async ({ page, rig, tick }) => {
      rig.behave('node-2', { answers: false });
      await tick(5);
      assert.match((await labels(page))[1] ?? '', /^node-2: failed \ds ago$/);
      assert.match(await text(page, 'attention'), /node-2: failed/);
      assert.equal(await page.evaluate(`document.querySelectorAll('.wire.failed').length`), 1);
      assert.equal(await page.evaluate(`document.querySelector('.mark-text.failed').textContent`), '✕');
      assert.equal(await text(page, 'news'), 'node-2 has failed.');
      await page.evaluate(
        `new MutationObserver(() => { window.said = true; }).observe(document.getElementById('news'), { childList: true, characterData: true, subtree: true })`,
      );
      await tick();
      assert.equal(await page.evaluate('window.said === true'), false);
      rig.behave('node-2', { answers: false, asks: true });
      await page.evaluate(`document.querySelectorAll('#peers > *')[1].click()`);
      await tick();
      assert.match(
        await text(page, 'details-body'),
        /^Its own probes arrive here.*blocked.*UDP 6784 on the way to 172\.31\.0\.12/,
      );
      rig.behave('node-2', { answers: true });
      await tick();
      assert.equal(await text(page, 'news'), 'node-2 answers.');
      assert.equal(await page.evaluate(`document.querySelectorAll('.wire.failed').length`), 0);
    });
  });

  it('says that the agent does not answer, keeps what it heard, and goes on by itself', async () => {
    await withPage(few(), async (stage) => {
      const { page, tick, rig } = stage;
      await stage.server.close();
      await tick();
      assert.match(
        await text(page, 'away'),
        /^No answer since .*cannot be reached.*What you see is from then/,
      );
      assert.equal(await text(page, 'news'), 'The agent does not answer.');
      assert.equal((await labels(page)).length, 3);
      stage.server = await serveMap(rig, stage.server.statusPort);
      await tick();
      assert.equal(await page.evaluate(`document.getElementById('away').hidden`), true);
      assert.match(await text(page, 'freshness'), /^live/);
      assert.match(await text(page, 'news'), /^The agent answers again\./);
    });
  });

  it('says of an answer that it cannot draw nothing about the agent, and goes on', async () => {
    await withPage(few(), async ({ page, tick }) => {
      await page.evaluate(`document.getElementById('title').id = 'renamed'`);
      await tick();
      assert.equal(await page.evaluate(`document.getElementById('away').hidden`), true);
      assert.match(await text(page, 'freshness'), /^live/);
      assert.equal(page.complaints.length, 1);
      await page.evaluate(`document.getElementById('renamed').id = 'title'`);
      await tick();
      assert.equal(page.complaints.length, 1);
    });
  });

  it('opens with nobody chosen where the address has a name that was cut off', async () => {
    await withPage(few(), async ({ page, origin }) => {
      await page.open(`${origin}/map?cut#peer=node%2`);
      await page.until('window.due?.length > 0');
      assert.equal((await labels(page)).length, 3);
      assert.deepEqual(page.complaints, []);
    });
  });

  it('asks nothing while nobody looks at it', async () => {
    await withPage(few(), async ({ page }) => {
      const see = (isHidden: boolean): Promise<unknown> =>
        page.evaluate(
          `Object.defineProperty(document, 'hidden', { configurable: true, value: ${isHidden} }); document.dispatchEvent(new Event('visibilitychange'))`,
        );
      await see(true);
      const asked = page.requests.length;
      await page.evaluate('window.due.splice(0).forEach((ask) => ask())');
      assert.deepEqual([await page.evaluate('window.due.length'), page.requests.length], [0, asked]);
      await see(false);
      await page.until('window.due.length > 0');
      assert.equal(page.requests.length, asked + 1);
    });
  });

  it('shows hostile names as text', async () => {
    const hostile = [
      `<img src=x onerror="window.pwned=1">`,
      `"><script>window.pwned=1</script>`,
      'javascript:window.pwned=1',
    ];
    const rig = createMapRig({ names: hostile, seed });
    rig.report = {
      problems: [`peer "<svg onload=window.pwned=1>" is odd`],
      lastError: { text: '<b id="bold">error</b>', ageSeconds: 1 },
      notReady: ['<i>not</i>'],
    };
    rig.pass(60);
    rig.behave(hostile[0]!, { answers: false }); // !: there are three
    await withPage(rig, async ({ page, tick }) => {
      await tick(6);
      await page.evaluate(
        `document.getElementById('table-details').open = true; document.querySelector('#peers > *').click()`,
      );
      await tick();
      assert.equal(
        await page.evaluate(`document.querySelectorAll('img, b[id], i, main script, svg[onload]').length`),
        0,
      );
      assert.equal(await page.evaluate('window.pwned === undefined'), true);
      for (const name of hostile) assert.ok((await text(page, 'peers')).includes(name), name);
      assert.ok((await text(page, 'table')).includes(hostile[0]!)); // !: there are three
      assert.match(await text(page, 'attention'), /<svg onload=window\.pwned=1>[^]*<b id="bold">/);
      assert.deepEqual(page.complaints, []);
    });
  });

  it('is a heat map of 1,000 peers: those in need first, found by name, ordered, chosen', async (t) => {
    await withPage(many(), async ({ page, tick }) => {
      for (let answer = 0; answer < 8; answer += 1) await tick(10);
      assert.equal((await labels(page)).length, 1000);
      assert.match(await text(page, 'summary'), /sees 1,000 peers: 998 answer, 1 failed, 1 not heard yet/);
      assert.match(
        await text(page, 'attention'),
        /VTEP MAC[^]*node-0078: failed[^]*node-0999: has not answered[^]*node-0010: .*% loss/,
      );
      const signs = await page.evaluate<string[]>(
        `[...document.querySelectorAll('#peers > *')].map(({ className }) => className)`,
      );
      assert.equal(signs[77], 'cell failed');
      assert.equal(signs[998], 'cell pending');
      assert.match(signs[9] ?? '', /^cell established rtt-1 loss-much$/);
      assert.deepEqual(
        [signs[120], signs[130], signs[140], signs[50]],
        [2, 3, 4, 5].map((each) => `cell established rtt-${each}`),
      );
      assert.equal(signs[60], 'cell established rtt-1 path-low');

      await page.evaluate(`document.getElementById('filter').focus()`);
      await page.type('0078');
      assert.equal(await text(page, 'matches'), '1 node of 1000');
      await page.press('Enter');
      assert.equal(await text(page, 'details-heading'), 'node-0078');
      assert.match(await text(page, 'details-body'), /UDP 6784 is open/);
      await page.evaluate(
        `document.getElementById('filter').value = ''; document.getElementById('filter').dispatchEvent(new Event('input'))`,
      );
      await page.evaluate(
        `document.getElementById('order').value = 'worst'; document.getElementById('order').dispatchEvent(new Event('change'))`,
      );
      assert.deepEqual(
        (await labels(page)).slice(0, 2).map((label) => label.slice(0, 9)),
        ['node-0078', 'node-0999'],
      );
      await page.press('ArrowDown');
      assert.match(await page.evaluate<string>('document.activeElement.ariaLabel'), /^node-/);

      const milliseconds = await page.evaluate<number>(
        `(async () => { const start = performance.now(); window.due.splice(0).forEach((ask) => ask()); while (window.due.length === 0) await new Promise((next) => requestAnimationFrame(next)); return performance.now() - start; })()`,
      );
      t.diagnostic(`an answer with 1,000 peers is asked for and shown in ${milliseconds.toFixed(0)} ms`);
      assert.deepEqual(page.complaints, []);
    });
  });
});
