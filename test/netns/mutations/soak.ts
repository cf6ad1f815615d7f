// The changes by hand of mutations.test.ts for longer: 10^4, or as many as the first argument says. Ends with 1 when something is late or stuck.
import { enterEnclosure } from '../../lab/enclosure.ts';
import { withLab } from '../../lab/lab.ts';
import { seededRandom, testSeed } from '../../support/random.ts';
import { formatChurn, startChurn } from './churn.ts';
import { formatFigures } from './figures.ts';
import { isLate, type Repair, runMutations } from './run.ts';
import { setStage } from './stage.ts';

await enterEnclosure();

const PROGRESS = 500;
const mutations = Number(process.argv[2] ?? 10_000);
const silentRounds = Math.ceil(mutations / 1000);
const seed = testSeed();
console.log(`Seed ${seed}; repeat with WEFT_TEST_SEED=${seed}`);

await withLab({}, async (lab) => {
  const stage = await setStage(lab);
  const churn = await startChurn(stage.node);
  let told = 0;
  let slowest = 0;
  const repairs = await runMutations({
    stage,
    random: seededRandom(seed),
    mutations,
    mostAtOnce: 40,
    silentRounds,
    done: (repair: Repair, count) => {
      if (repair.told === 'event') slowest = Math.max(slowest, repair.repairMs);
      if (isLate(repair))
        console.log(
          `late: ${repair.kinds.join(', ')}: ${repair.repairMs.toFixed(0)} ms, a look took up to ${repair.lookMs.toFixed(0)} ms`,
        );
      if (count - told < PROGRESS) return;
      told = count;
      console.log(`${count} of ${mutations} mutations, slowest repair ${slowest.toFixed(0)} ms`);
    },
  });
  console.log(formatFigures(repairs).join('\n'));
  const passing = await churn.end();
  await stage.probe.finish();
  const { sent, lost, longestGapMs } = await stage.probe.report();
  console.log(formatChurn(passing));
  console.log(`${lost} of ${sent} probes lost, longest pause ${longestGapMs.toFixed(0)} ms`);
  const late = repairs.filter(isLate).length;
  console.log(`${late} late, 0 stuck`);
  if (late > 0) process.exitCode = 1;
});
