// A disturbance under a running probe: what was lost in its window, how long the longest pause between answers was, and how long it
// took until what was disturbed was back.
import { until } from './condition.ts';
import type { Probe } from './probe/endpoint.ts';
import type { ProbeReport } from './probe/protocol.ts';

export interface Window {
  readonly what: string;
  readonly from: number;
  readonly to: number;
  /** From the disturbance until what was disturbed was there again. */
  readonly backMs: number;
}

export interface Disturbance extends ProbeReport {
  readonly what: string;
  readonly backMs: number;
}

export interface DisturbOptions {
  readonly what: string;
  /** Disturbs; resolves when the disturbed part is back. */
  readonly act: () => Promise<void>;
  /** Answers that are awaited before and after, so that the window begins and ends in calm traffic. */
  readonly calmAnswers?: number;
}

const answersBeyond = async (probe: Probe, count: number): Promise<void> => {
  const start = await probe.answered();
  await until(async () => (await probe.answered()) >= start + count, {
    what: `${count} answers to the probe`,
  });
};

export async function disturb(probe: Probe, options: DisturbOptions): Promise<Window> {
  const { what, act, calmAnswers = 200 } = options;
  await answersBeyond(probe, calmAnswers);
  const from = await probe.mark();
  const start = performance.now();
  await act();
  const backMs = performance.now() - start;
  await answersBeyond(probe, calmAnswers);
  return { what, from, to: await probe.mark(), backMs };
}

/** Ends the probe and reports each window, and the whole run. */
export async function settle(
  probe: Probe,
  windows: readonly Window[],
): Promise<{ readonly total: ProbeReport; readonly disturbances: readonly Disturbance[] }> {
  await probe.finish();
  const disturbances: Disturbance[] = [];
  for (const { what, from, to, backMs } of windows) {
    disturbances.push({ what, backMs, ...(await probe.report(from, to)) });
  }
  return { total: await probe.report(), disturbances };
}
