// Clusters of simulated nodes that run the agent's own modules: no address twice, none lost, none leaked, whatever dies when. test/simulator/
// has the model; `npm run soak` goes on for longer.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { formatCampaign, formatFailure, runCampaign } from '../simulator/campaign.ts';
import { MUTATIONS } from '../simulator/mutations.ts';
import { simulate } from '../simulator/simulation.ts';
import { testSeed } from '../support/random.ts';

const OPERATIONS = 1_000_000;
const CRASHES = 10_000;
/** The mutations' campaigns are always the same: whether a mechanism matters is no matter of luck. */
const FIXED_SEED = 1;

/** They failed once, with what was wrong then; what is found by a test of its own does not depend on them. */
const KEPT_SEEDS: readonly { readonly seed: number; readonly operations: number; readonly wrong: string }[] =
  [
    {
      seed: 15,
      operations: 20_000,
      wrong: 'a log that went back in time cost running pods their interfaces',
    },
    {
      seed: 1_885_377_841,
      operations: 100_000,
      wrong: 'an address of a block that was lost was given out while a request about blocks was under way',
    },
    {
      seed: 1009,
      operations: 100_000,
      wrong: "a block that a list did not show was given out of before it was seen to be another machine's",
    },
    {
      seed: 50_005,
      operations: 100_000,
      wrong: 'a node without a free address took back no blocks of nodes that were gone',
    },
  ];

describe('simulator', () => {
  const seed = testSeed();

  it(`${OPERATIONS} operations with ${CRASHES} crashes: no address twice, none lost, none leaked`, async (context) => {
    context.diagnostic(`seeds from ${seed}; repeat with WEFT_TEST_SEED=${seed}`);
    const outcome = await runCampaign({ seed, operations: OPERATIONS });
    context.diagnostic(formatCampaign(outcome));
    assert.equal(outcome.failure === undefined ? '' : formatFailure(outcome.failure), '');
    assert.ok(outcome.crashes >= CRASHES, `only ${outcome.crashes} crashes`);
  });

  for (const { seed: kept, operations, wrong } of KEPT_SEEDS) {
    it(`seed ${kept}: ${wrong}`, async () => {
      assert.deepEqual((await simulate({ seed: kept, operations })).violations, []);
    });
  }

  it('the same seed gives the same run', async () => {
    const once = await simulate({ seed, operations: 5000 });
    assert.deepEqual(await simulate({ seed, operations: 5000 }), once);
  });

  for (const { name, options, breaks } of MUTATIONS) {
    it(`notices what is turned off: ${name}`, async (context) => {
      const { failure, operations } = await runCampaign({
        seed: FIXED_SEED,
        operations: OPERATIONS,
        options,
      });
      assert.ok(failure !== undefined, `nothing noticed in ${operations} operations`);
      context.diagnostic(`after ${operations} operations: ${formatFailure(failure)}`);
      assert.ok(breaks.includes(failure.violations[0]!.invariant), formatFailure(failure)); // !: a failure has violations
    });
  }
});
