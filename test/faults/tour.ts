// The fault tour: one fault after the other is made, seen and unmade; each is a row of the table, with what an operator saw.
import { setTimeout as pause } from 'node:timers/promises';

import { until } from '../lab/condition.ts';
import type { Fault } from './fault.ts';
import { type Sighting, DOCTOR_BOUND_SECONDS, baseline, linesOf, sumOf, watchFault } from './sighting.ts';
import type { Stage } from './stage.ts';

const HEALING_SECONDS = 30;

export interface Row extends Sighting {
  readonly fault: Fault;
  readonly node: string;
  /** Until the doctor was silent again; undefined: it was not, within the bound. */
  readonly healedSeconds: number | undefined;
  /** What is not as it must be; empty: all is. */
  readonly wrong: readonly string[];
}

/** Resolves when every node has heard of both others, and its doctor finds nothing. */
export async function allAnswer({ nodes }: Stage): Promise<void> {
  for (const node of nodes) {
    await until(
      async () => sumOf((await node.metrics()) ?? '', 'weave_connections{state="established"}') === 2,
      { what: `the peers of "${node.name}" to answer`, boundMs: 60_000, intervalMs: 200 },
    );
    const findings = await node.doctor();
    if (findings.length > 0)
      throw new Error(
        `The doctor finds on the healthy "${node.name}": ${findings.map(({ what }) => what).join('; ')}`,
      );
  }
}

export async function playFault(stage: Stage, fault: Fault): Promise<Row> {
  const node = stage.nodes[fault.at];
  const before = await baseline(fault, node);
  const undo = await fault.inject(stage);
  let sighting: Sighting;
  try {
    sighting = await watchFault(fault, node, before);
  } finally {
    await undo();
  }
  const healedSeconds = await healed(stage, fault);
  const lines = await linesOf(fault, node, before);
  const row = { ...sighting, lines, fault, node: node.name, healedSeconds };
  return { ...row, wrong: wrongWith(row) };
}

async function healed(
  stage: Stage,
  { at, check, says, healsInSeconds = HEALING_SECONDS }: Fault,
): Promise<number | undefined> {
  if (healsInSeconds === 0) return 0;
  const startMs = performance.now(); // printed; the bound is for failures
  do {
    const findings = await stage.nodes[at].doctor();
    const seconds = (performance.now() - startMs) / 1000;
    // By its own look too, or the next fault of the same check would be none that is new.
    const told = sumOf((await stage.nodes[at].metrics()) ?? '', `weft_faults{check="${check}"}`);
    const isFound = findings.some((finding) => finding.check === check && says.test(finding.what));
    if (!isFound && told === undefined) return seconds;
    await pause(500);
  } while (performance.now() - startMs < healsInSeconds * 1000);
  return undefined;
}

function wrongWith(row: Omit<Row, 'wrong'>): readonly string[] {
  const { doctorSeconds, before, after, lines, healedSeconds, event, metric, fault } = row;
  return [
    doctorSeconds === undefined && `the doctor did not name it in ${DOCTOR_BOUND_SECONDS} s`,
    doctorSeconds !== undefined && doctorSeconds > DOCTOR_BOUND_SECONDS && 'the doctor named it too late',
    before === after && `${metric} did not move`,
    lines.length !== 1 && `${event} was told ${lines.length} times`,
    healedSeconds === undefined && `${fault.check} was found still after it was undone`,
  ].filter((text) => text !== false);
}
