// The simulator for longer than tests have time: 10^7 operations, or as many as the first argument says. Ends with 1 at the first violation.
import { testSeed } from '../support/random.ts';
import { formatCampaign, formatFailure, runCampaign } from './campaign.ts';

const operations = Number(process.argv[2] ?? 1e7);
const seed = testSeed();
console.log(`Seeds from ${seed}; repeat with WEFT_TEST_SEED=${seed}`);
let done = 0;
const outcome = await runCampaign({
  seed,
  operations,
  done: (episode) => {
    done += episode.operations;
    console.log(`seed ${episode.seed}: ${episode.crashes} crashes; ${done} of ${operations} operations done`);
  },
});
console.log(formatCampaign(outcome));
if (outcome.failure !== undefined) {
  console.error(formatFailure(outcome.failure));
  process.exitCode = 1;
}
