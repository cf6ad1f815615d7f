// The live map of a real agent, in a browser, through a forward as a person would have one: it follows what happens to peers, pods and to
// the agent itself.
//
//   enclosure: browser ── forward ── :node-1 agent 127.0.0.1:6784    node-2, node-3 (its cable is taken out)
import { after, before, test } from 'node:test';

import { enterEnclosure } from '../lab/enclosure.ts';
import { type Forward, openForward } from '../lab/forward.ts';
import { type Lab, type LabNode, createLab } from '../lab/lab.ts';
import { type Chromium, type Page, openChromium } from '../support/chromium.ts';

await enterEnclosure();

let lab: Lab;
let nodes: readonly [LabNode, LabNode, LabNode];
let forward: Forward;
let browser: Chromium;
let page: Page;

before(async () => {
  lab = await createLab();
  nodes = (await lab.addNodes(['node-1', 'node-2', 'node-3'])) as unknown as typeof nodes; // as: three were asked for
  forward = await openForward({ enter: nodes[0].namespace.place.enter, port: 0 });
  browser = await openChromium();
  page = await browser.newPage();
  await page.setViewport({ width: 1280, height: 800 });
  await page.open(`http://127.0.0.1:${forward.port}/map`);
});

after(async () => {
  await browser.close();
  forward.close();
  await forward.ended;
  await lab.close();
});

const says = (id: string, what: string): Promise<unknown> =>
  page.until(`document.getElementById('${id}').innerText.includes(${JSON.stringify(what)})`);

test('it shows the peers with their round trips, and who holds which blocks', async () => {
  await says('summary', `${nodes[0].address} · sees 2 peers: 2 answer`);
  await page.until(
    `[...document.querySelectorAll('#peers > *')].every(({ ariaLabel }) => /^node-[23]: \\d+(\\.\\d+)? ms/.test(ariaLabel))`,
  );
  const blocks = await lab.api.blocks();
  const own = blocks.filter(({ spec }) => spec.node === 'node-1');
  await says('blocks-note', `${own.length} of this node, ${blocks.length - own.length} of others`);
  for (const { spec } of own) await says('own-blocks', spec.cidr);
});

test('a pod is seen in the fill of its block', async () => {
  const before = await page.evaluate<string>(`document.getElementById('own-blocks').innerText`);
  const pod = await nodes[0].addPod('seen');
  await page.until(`document.getElementById('own-blocks').innerText !== ${JSON.stringify(before)}`);
  await pod.delete();
  await page.until(`document.getElementById('own-blocks').innerText === ${JSON.stringify(before)}`);
});

test('a peer whose cable is out fails, and answers again', async () => {
  await nodes[2].namespace.setCable(false);
  await says('attention', 'node-3: failed');
  await says('news', 'node-3 has failed.');
  await nodes[2].namespace.setCable(true);
  await says('news', 'node-3 answers.');
});

test('control that is killed is missed, and seen again when it is back', async () => {
  await page.evaluate(
    `new MutationObserver(() => { window.missed ||= !document.getElementById('away').hidden; }).observe(document.getElementById('away'), { attributes: true })`,
  );
  await nodes[0].agent.restored('control', nodes[0].agent.killRole('control'));
  await page.until(
    `document.getElementById('away').hidden && /^live/.test(document.getElementById('freshness').innerText)`,
  );
  await says('summary', 'sees 2 peers: 2 answer');
});

test('the whole agent that is gone is said, and the page goes on by itself when it is back', async () => {
  await nodes[0].agent.stop();
  await says('away', 'No answer since');
  nodes[0].agent.start();
  await nodes[0].agent.ready();
  await says('freshness', 'live');
  await says('summary', 'sees 2 peers');
});
