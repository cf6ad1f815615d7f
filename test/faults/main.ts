// Program: `npm run faults [-- FAULT…]` and `npm run faults:cluster`, the fault tour in the lab, or on the real cluster. Prints a row for each fault and the table at
// the end; exit code 1 when one was not seen as it must be.
import process from 'node:process';

import { faultsFor } from './catalogue.ts';
import type { Stage } from './stage.ts';
import { formatRow, formatTable } from './table.ts';
import { type Row, allAnswer, playFault } from './tour.ts';

const words = process.argv.slice(2);
const kind: Stage['kind'] = words.includes('--cluster') ? 'cluster' : 'lab';
const faults = faultsFor(
  kind,
  words.filter((word) => word !== '--cluster'),
);
const rows: Row[] = [];
/** Faults that could not be made or unmade. */
const broken: string[] = [];
const stage = await (kind === 'lab' ? labStage() : clusterStage());
try {
  await allAnswer(stage);
  for (const fault of faults) {
    try {
      const row = await playFault(stage, fault);
      rows.push(row);
      console.log(`${formatRow(row)}\n`);
    } catch (error) {
      broken.push(fault.name);
      console.log(`BROKEN ${fault.name}: ${error instanceof Error ? error.message : String(error)}\n`);
    }
  }
} finally {
  await stage.close();
}
const missed = broken.length + rows.filter(({ wrong }) => wrong.length > 0).length;
console.log(
  `${formatTable(rows)}\n\n${faults.length} faults, ${faults.length - missed} seen as they must be`,
);
process.exitCode = missed === 0 ? 0 : 1;

/** Loaded where it is needed: each has an enclosure of its own. */
async function labStage(): Promise<Stage> {
  const { enterEnclosure } = await import('../lab/enclosure.ts');
  await enterEnclosure();
  const { createLabStage } = await import('./lab-stage.ts');
  return createLabStage();
}

async function clusterStage(): Promise<Stage> {
  const { createCluster, enterClusterEnclosure } = await import('../cluster/cluster.ts');
  await enterClusterEnclosure();
  const { createClusterStage } = await import('./cluster-stage.ts');
  const say = (text: string): void => console.log(`cluster: ${text}`);
  return createClusterStage(await createCluster({ nodes: 3, proxyMode: 'nftables', say }), say);
}
