// The live map in a real browser for its tests, served by the real status server with the facts of made-up clusters. Time is the test's:
// the page asks when it is told to, and each answer is so many seconds after the one before.
import assert from 'node:assert/strict';
import { after, before } from 'node:test';

import { type StatusServer, openStatusServer } from '../../agent/control/status/status-server.ts';
import { type Chromium, type Page, openChromium } from '../support/chromium.ts';
import { type MapRig, createMapRig } from '../support/map-rig.ts';
import { ipamReport, nodeReport } from '../support/node-report.ts';
import { testSeed } from '../support/random.ts';

/** One for each file of tests. */
let browser: Chromium;
before(async () => {
  browser = await openChromium();
});
after(() => browser.close());

const host = '127.0.0.1';
export const seed: number = testSeed();
export const FEW: readonly string[] = ['node-1', 'node-2', 'node-3'];
const MANY: readonly string[] = Array.from(
  { length: 1000 },
  (_, at) => `node-${String(at + 1).padStart(4, '0')}`,
);

/** The page's next question waits until the test asks for it. */
const HELD_BACK = `{
  const later = setTimeout;
  window.due = [];
  window.setTimeout = (run, ms, ...rest) => (ms === 2000 ? window.due.push(run) : later(run, ms, ...rest));
}`;

export interface Stage {
  readonly page: Page;
  readonly rig: MapRig;
  readonly origin: string;
  server: StatusServer;
  /** Asks once more, after the cluster lived on for so long, and shows the answer. */
  readonly tick: (seconds?: number) => Promise<void>;
}

/** The status server of the rig's node; port 0: a free one. */
export const serveMap = (rig: MapRig, port: number): Promise<StatusServer> =>
  openStatusServer({
    source: {
      facts: () => nodeReport,
      notReady: () => [],
      ipam: () => ipamReport,
      metrics: async () => ({ contentType: 'text/plain', text: '' }),
      map: () => rig.facts(),
    },
    status: { host, port },
    metrics: { host, port: 0 },
    failed: (path, error) => assert.fail(`${path}: ${String(error)}`),
  });

export async function withPage(rig: MapRig, body: (stage: Stage) => Promise<void>): Promise<void> {
  const server = await serveMap(rig, 0);
  const page = await browser.newPage();
  const stage: Stage = {
    page,
    rig,
    server,
    origin: `http://${host}:${server.statusPort}`,
    async tick(seconds = 2) {
      rig.pass(seconds);
      await page.evaluate('window.due.splice(0).forEach((ask) => ask())');
      await page.until('window.due.length > 0');
    },
  };
  try {
    await page.setViewport({ width: 1280, height: 800 });
    await page.runFirst(HELD_BACK);
    await page.open(`${stage.origin}/map`);
    await page.until('window.due?.length > 0');
    await body(stage);
  } finally {
    await stage.server.close();
  }
}

export const text = (page: Page, id: string): Promise<string> =>
  page.evaluate<string>(`document.getElementById('${id}').innerText`);
export const labels = (page: Page): Promise<readonly string[]> =>
  page.evaluate<string[]>(`[...document.querySelectorAll('#peers > *')].map((each) => each.ariaLabel)`);

export function few(): MapRig {
  const rig = createMapRig({ names: FEW, seed, abandoned: 1, quarantined: 1 });
  rig.report = { drops: { unknown_sender: 120, pod_spoofed: 8 } };
  rig.pass(60);
  return rig;
}

/** One of each sign. */
export function many(): MapRig {
  const rig = createMapRig({ names: MANY, seed, blocksEach: 2, abandoned: 6, quarantined: 40 });
  rig.report = {
    drops: { unknown_sender: 120 },
    problems: ['peer "node-0002" has the VTEP MAC of "node-0001"'],
  };
  const behave = (numbers: readonly number[], behaviour: Parameters<MapRig['behave']>[1]): void => {
    for (const number of numbers) rig.behave(MANY[number]!, behaviour); // !: below 1,000
  };
  behave([998], { answers: false });
  rig.pass(60);
  behave([44, 700], { loss: 0.03 });
  behave([9], { loss: 0.3 });
  behave([50, 51], { roundTripMs: 70 });
  behave([60], { pathMtu: 1350 });
  behave([120, 121], { roundTripMs: 1 });
  behave([130, 131], { roundTripMs: 5 });
  behave([140, 141], { roundTripMs: 20 });
  behave([77], { answers: false });
  return rig;
}
