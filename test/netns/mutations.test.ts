// What people and programs change on a node by hand comes back: ~200 random changes, one or several at once, while pods come and go. Bounds of
// the issue: 2 s where the kernel tells of it, 30 s otherwise. `npm run soak:mutations` does 10^4.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';

import { enterEnclosure } from '../lab/enclosure.ts';
import { createLab, type Lab } from '../lab/lab.ts';
import { seededRandom, testSeed } from '../support/random.ts';
import { formatChurn, startChurn } from './mutations/churn.ts';
import { formatFigures } from './mutations/figures.ts';
import { isLate, runMutations } from './mutations/run.ts';
import { setStage, type Stage } from './mutations/stage.ts';

await enterEnclosure();

const MUTATIONS = 200;

let lab: Lab;
let stage: Stage;

before(async () => {
  lab = await createLab();
  stage = await setStage(lab);
});
after(() => lab.close());

const logged = (event: string): readonly string[] =>
  readFileSync(stage.node.agent.logFile, 'utf8')
    .split('\n')
    .filter((line) => line.includes(`"event":"${event}"`));
const repairsCounted = async (): Promise<number> =>
  Number(/Repairs: +(\d+)/i.exec(await stage.node.agent.status('/status'))?.[1] ?? 0);

test('random changes by hand, under pods that come and go: everything is put back in time', async (context) => {
  const seed = testSeed();
  context.diagnostic(`seed ${seed}`);
  try {
    const churn = await startChurn(stage.node);
    const repairs = await runMutations({
      stage,
      random: seededRandom(seed),
      mutations: MUTATIONS,
      mostAtOnce: 6,
      silentRounds: 1,
    });
    for (const line of formatFigures(repairs)) context.diagnostic(line);
    const passing = await churn.end();
    await stage.probe.finish();
    const { sent, lost, longestGapMs } = await stage.probe.report();
    context.diagnostic(formatChurn(passing));
    context.diagnostic(`${lost} of ${sent} probes lost, longest pause ${longestGapMs.toFixed(0)} ms`);
    assert.deepEqual(repairs.filter(isLate), []);
  } catch (error) {
    process.stderr.write(`${lab.logs()}\n`);
    throw error;
  }
});

test('each repair is counted and logged; that it is a contest is said once', async () => {
  assert.ok((await repairsCounted()) >= MUTATIONS / 2, 'several of one kind at once are one repair');
  assert.ok(logged('network_repaired').length > 0);
  assert.equal(logged('network_contested').length, 1);
  assert.match(logged('network_contested')[0] ?? '', /process id \d+/);
});
