// The storm of kills for longer than tests have time: 1,000 kills, or as many as the first argument says. Ends with 1 at the first violation.
import { testSeed } from '../../support/random.ts';
import { enterEnclosure } from '../enclosure.ts';
import { withLab } from '../lab.ts';
import { runKillStorm } from './kill-storm.ts';
import { formatTally } from './tally.ts';

await enterEnclosure();

const PROGRESS_EVERY = 50;
const kills = Number(process.argv[2] ?? 1000);
const nodes = Number(process.argv[3] ?? 2);
const seed = testSeed();
const start = performance.now();
const seconds = (): string => `${((performance.now() - start) / 1000).toFixed(0)} s`;
console.log(`${kills} kills on ${nodes} nodes, seed ${seed}; repeat with WEFT_TEST_SEED=${seed}`);
const tally = await withLab({}, (lab) =>
  runKillStorm({
    lab,
    nodes,
    kills,
    seed,
    progress: (count, { done, addresses }) => {
      if (count % PROGRESS_EVERY !== 0) return;
      console.log(
        `${count} kills in ${seconds()}: ${done.ADD} ADDs, ${done.DEL} DELs, ${addresses.size} addresses`,
      );
    },
  }),
);
console.log(`no duplicate, no leak, every DEL succeeded; ${seconds()}\n${formatTally(tally)}`);
