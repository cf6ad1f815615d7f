// kill -9 of control, of the whole agent and of the plugin at random points of a storm of attachments: no duplicate address, no leak, every
// later DEL succeeds. `npm run soak:kills` does it 1,000 times.
import { after, before, test } from 'node:test';

import { enterEnclosure } from '../lab/enclosure.ts';
import { type Lab, createLab } from '../lab/lab.ts';
import { runKillStorm } from '../lab/storm/kill-storm.ts';
import { formatTally } from '../lab/storm/tally.ts';
import { testSeed } from '../support/random.ts';

await enterEnclosure();

const KILLS = 40;
const NODES = 2;

let lab: Lab;

before(async () => {
  lab = await createLab();
});
after(() => lab.close());

test(`${KILLS} kills in a storm of ADD, DEL, CHECK and GC`, async (t) => {
  const seed = testSeed();
  t.diagnostic(`seed ${seed}; repeat with WEFT_TEST_SEED=${seed}`);
  try {
    const tally = await runKillStorm({ lab, nodes: NODES, kills: KILLS, seed, progress: () => undefined });
    t.diagnostic(formatTally(tally));
  } catch (error) {
    process.stderr.write(`${lab.logs()}\n`);
    throw error;
  }
});
