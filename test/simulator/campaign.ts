// Many episodes in a row, each with a seed of its own, until enough was done. Prints nothing: the caller tells the seeds and the figures.
import type { Violation } from './invariants.ts';
import { type Outcome, type SimulationOptions, simulate } from './simulation.ts';

export const EPISODE_OPERATIONS = 100_000;

export interface CampaignOptions {
  /** Of the first episode; the others count up. */
  readonly seed: number;
  readonly operations: number;
  readonly options?: Partial<SimulationOptions>;
  readonly done?: (outcome: Outcome) => void;
}

export interface CampaignOutcome {
  readonly episodes: number;
  readonly operations: number;
  readonly requests: number;
  readonly crashes: number;
  readonly reboots: number;
  readonly apiWrites: number;
  readonly simulatedHours: number;
  /** Of one core. */
  readonly cpuSeconds: number;
  /** What ended it. */
  readonly failure: { readonly seed: number; readonly violations: readonly Violation[] } | undefined;
}

/** Ends early at the first violation. */
export async function runCampaign(campaign: CampaignOptions): Promise<CampaignOutcome> {
  const { seed, operations, options = {}, done } = campaign;
  const sum = {
    episodes: 0,
    operations: 0,
    requests: 0,
    crashes: 0,
    reboots: 0,
    apiWrites: 0,
    simulatedHours: 0,
  };
  const before = process.cpuUsage();
  let failure: CampaignOutcome['failure'];
  while (sum.operations < operations && failure === undefined) {
    const outcome = await simulate({
      seed: (seed + sum.episodes) >>> 0,
      operations: Math.min(EPISODE_OPERATIONS, operations - sum.operations),
      ...options,
    });
    sum.episodes += 1;
    sum.operations += outcome.operations;
    sum.requests += outcome.requests;
    sum.crashes += outcome.crashes;
    sum.reboots += outcome.reboots;
    sum.apiWrites += outcome.apiWrites;
    sum.simulatedHours += outcome.simulatedMs / 3_600_000;
    if (outcome.violations.length > 0) failure = { seed: outcome.seed, violations: outcome.violations };
    done?.(outcome);
  }
  const { user, system } = process.cpuUsage(before);
  return { ...sum, cpuSeconds: (user + system) / 1e6, failure };
}

export const formatCampaign = (outcome: CampaignOutcome): string =>
  [
    `${outcome.operations} operations (${outcome.requests} ADD and DEL, ${outcome.apiWrites} changes in the API)`,
    `${outcome.crashes} crashes, ${outcome.reboots} of them reboots`,
    `${outcome.episodes} episodes, ${outcome.simulatedHours.toFixed(1)} h simulated in ${outcome.cpuSeconds.toFixed(1)} s of one core`,
  ].join('; ');

export const formatFailure = ({ seed, violations }: NonNullable<CampaignOutcome['failure']>): string =>
  `seed ${seed}: ${violations.map(({ invariant, text, atMs }) => `${invariant}: ${text} (at ${atMs.toFixed(3)} ms)`).join('; ')}`;
