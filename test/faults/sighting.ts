// Watches one node while a fault lasts: when its doctor names it, when a metric moves, how often the log tells it.
import { setTimeout as pause } from 'node:timers/promises';

import type { LogLine } from '../cluster/agent-log.ts';
import type { Fault } from './fault.ts';
import type { StageNode } from './stage.ts';

export const DOCTOR_BOUND_SECONDS = 30;
/** The agent's own look at the node comes every few seconds on the tour; a watch that hangs is given up after some time. */
const TELLING_BOUND_SECONDS = 90;

export interface Sighting {
  /** Undefined: not within the bound. */
  readonly doctorSeconds: number | undefined;
  readonly finding: string;
  readonly metric: string;
  readonly before: number | undefined;
  readonly after: number | undefined;
  /** The lines that told it; one is right. */
  readonly lines: readonly string[];
  readonly event: string;
}

export interface Baseline {
  readonly metric: number | undefined;
  readonly logLines: number;
}

export const metricOf = ({ metric, check }: Fault): string => metric ?? `weft_faults{check="${check}"}`;
export const eventOf = ({ log }: Fault): string => log?.event ?? 'fault_found';

export async function baseline(fault: Fault, node: StageNode): Promise<Baseline> {
  const text = await node.metrics();
  return {
    metric: text === undefined ? undefined : sumOf(text, metricOf(fault)),
    logLines: (await node.log()).length,
  };
}

export async function watchFault(fault: Fault, node: StageNode, before: Baseline): Promise<Sighting> {
  const startMs = performance.now(); // how soon an operator sees it is what the tour measures
  const seconds = (): number => (performance.now() - startMs) / 1000;
  const named = await named30(fault, node, seconds);
  let after = before.metric;
  let told: readonly LogLine[] = [];
  do {
    const text = await node.metrics();
    after = text === undefined ? undefined : sumOf(text, metricOf(fault));
    told = tellingLines(fault, (await node.log()).slice(before.logLines));
    if (after !== before.metric && told.length > 0) break;
    await pause(500);
  } while (seconds() < TELLING_BOUND_SECONDS);
  return {
    ...named,
    metric: metricOf(fault),
    before: before.metric,
    after,
    event: eventOf(fault),
    lines: told.map(({ msg }) => msg),
  };
}

/** Lines of the fault so far, told again at the end of it: a second one would be one too many. */
export async function linesOf(fault: Fault, node: StageNode, before: Baseline): Promise<readonly string[]> {
  return tellingLines(fault, (await node.log()).slice(before.logLines)).map(({ msg }) => msg);
}

async function named30(
  { check, says }: Fault,
  node: StageNode,
  seconds: () => number,
): Promise<Pick<Sighting, 'doctorSeconds' | 'finding'>> {
  let others: readonly string[] = [];
  do {
    const findings = await node.doctor();
    const found = findings.find((finding) => finding.check === check && says.test(finding.what));
    if (found !== undefined) return { doctorSeconds: seconds(), finding: `${found.what} → ${found.fix}` };
    others = findings.map((finding) => `[${finding.check}] ${finding.what}`);
    await pause(500);
  } while (seconds() < DOCTOR_BOUND_SECONDS);
  return { doctorSeconds: undefined, finding: others.length === 0 ? '(nothing)' : others.join(' | ') };
}

function tellingLines(fault: Fault, lines: readonly LogLine[]): readonly LogLine[] {
  return lines.filter(({ event, msg, check }) =>
    fault.log === undefined
      ? event === 'fault_found' && check === fault.check
      : event === fault.log.event && fault.log.message.test(msg),
  );
}

/** Of all series that have the name and at least the labels; undefined: there is none. */
export function sumOf(text: string, series: string): number | undefined {
  const [, name = '', labels = ''] = /^([a-z0-9_]+)(?:\{(.*)\})?$/.exec(series) ?? [];
  const wanted = labels === '' ? [] : labels.split(/,(?=[a-z_]+=)/);
  const values = text
    .split('\n')
    .filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `))
    .filter((line) => wanted.every((label) => line.includes(label)))
    .map((line) => Number(line.slice(line.lastIndexOf(' ') + 1)));
  return values.length === 0 ? undefined : values.reduce((sum, value) => sum + value, 0);
}
