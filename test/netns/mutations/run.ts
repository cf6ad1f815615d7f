// Mutates a node again and again, one or several kinds at once, and waits each time until everything is right again and traffic passes.
import { runCommand } from '../../lab/command.ts';
import { condition } from '../../lab/condition.ts';
import { randomInt } from '../../support/random.ts';
import { chooser, type Kind, KINDS } from './kinds.ts';
import type { Stage } from './stage.ts';

/** The bounds. */
export const EVENT_BOUND_MS = 2000;
export const SILENT_BOUND_MS = 30_000;
/** A look is work: without a pause it would keep the agent from its own. */
const LOOK_INTERVAL_MS = 25;

export interface Repair {
  /** Those that had an effect. */
  readonly kinds: readonly string[];
  readonly told: Kind['told'];
  /** From the end of the commands to the end of the first look that finds everything right. */
  readonly repairMs: number;
  /** … to the start of the last look that found something wrong: at least so long it was. */
  readonly wrongMs: number;
  /** What the slowest of the looks took itself: some 50 ms on an idle machine. */
  readonly lookMs: number;
  /** … and the probe is answered. */
  readonly answeredMs: number;
}

/** As far as the looks can tell: on a machine that is short of CPU one look takes a second itself. */
export const isLate = ({ told, wrongMs }: Repair): boolean =>
  wrongMs > (told === 'event' ? EVENT_BOUND_MS : SILENT_BOUND_MS);

export interface MutationRunOptions {
  readonly stage: Stage;
  readonly random: () => number;
  readonly mutations: number;
  /** Kinds in one round, after each was alone once: 1 … this many. */
  readonly mostAtOnce: number;
  /** How many rounds are of the silent kinds alone: each waits for the sweep. */
  readonly silentRounds: number;
  readonly done?: (repair: Repair, mutations: number) => void;
}

const EVENT_KINDS = KINDS.filter(({ told }) => told === 'event');
const SILENT_KINDS = KINDS.filter(({ told }) => told === 'silent');

/** Rejects when something is stuck: not right after the longer of the bounds. Those that are late are the caller's to judge. */
export async function runMutations(options: MutationRunOptions): Promise<readonly Repair[]> {
  const { stage, random, mutations, mostAtOnce, silentRounds, done } = options;
  const repairs: Repair[] = [];
  // Each kind alone first, then as it comes.
  const first: (readonly Kind[])[] = [
    ...Array.from({ length: silentRounds }, () => SILENT_KINDS),
    ...EVENT_KINDS.map((kind) => [kind]),
  ];
  for (let count = 0; count < mutations;) {
    const repair = await runRound(stage, first.shift() ?? choose(random, mostAtOnce), random);
    if (repair === undefined) continue;
    repairs.push(repair);
    count += repair.kinds.length;
    done?.(repair, count);
  }
  return repairs;
}

function choose(random: () => number, mostAtOnce: number): readonly Kind[] {
  const pick = chooser(random);
  return Array.from({ length: 1 + randomInt(random, mostAtOnce) }, () => pick(EVENT_KINDS));
}

/** Undefined when nothing had an effect. */
async function runRound(
  stage: Stage,
  kinds: readonly Kind[],
  random: () => number,
): Promise<Repair | undefined> {
  const { node, target, probe } = stage;
  const pick = chooser(random);
  // One that finds nothing to break, because the one before it did, does not count.
  const lines = kinds.map(
    (kind, at) => `if (${kind.command(target, pick)}) 2>/dev/null; then echo ${at}; fi`,
  );
  const output = await runCommand(node.namespace.place, ['sh', '-c', lines.join('\n')]);
  const start = performance.now();
  const worked = output.split('\n').filter((line) => line !== '');
  const done = worked.flatMap((line) => kinds[Number(line)] ?? []);
  if (done.length === 0) return undefined;
  const what = `everything to be right again after\n${lines.join('\n')}`;
  const { lookMs, lastWrongAt } = await untilRight(stage, what);
  const repairMs = performance.now() - start;
  const answered = await probe.answered();
  await condition(async () => ((await probe.answered()) > answered ? true : undefined), {
    what: `an answer to the probe after\n${lines.join('\n')}`,
    boundMs: SILENT_BOUND_MS,
    intervalMs: 2,
  });
  return {
    kinds: done.map(({ name }) => name),
    told: done.some(({ told }) => told === 'event') ? 'event' : 'silent',
    repairMs,
    wrongMs: Math.max(0, lastWrongAt - start),
    lookMs,
    answeredMs: performance.now() - start,
  };
}

async function untilRight(
  stage: Stage,
  what: string,
): Promise<{ readonly lookMs: number; readonly lastWrongAt: number }> {
  let last: readonly string[] = [];
  let lookMs = 0;
  let lastWrongAt = 0;
  try {
    await condition(
      async () => {
        const start = performance.now();
        last = await stage.differences();
        lookMs = Math.max(lookMs, performance.now() - start);
        if (last.length > 0) lastWrongAt = start;
        return last.length === 0 ? true : undefined;
      },
      { what, boundMs: SILENT_BOUND_MS, intervalMs: LOOK_INTERVAL_MS },
    );
    return { lookMs, lastWrongAt };
  } catch (error) {
    throw new Error(`Waited ${SILENT_BOUND_MS} ms in vain for ${what}\nlast seen:\n${last.join('\n')}`, {
      cause: error,
    });
  }
}
