// Self time by function from a profile that V8 wrote (--cpu-prof): how often the sampler found it on top of the stack.
export interface CpuProfile {
  readonly nodes: readonly ProfileNode[];
  readonly samples: readonly number[];
  /** Microseconds since the sample before. */
  readonly timeDeltas: readonly number[];
}

interface ProfileNode {
  readonly id: number;
  readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number };
}

export interface SelfTime {
  readonly name: string;
  /** File and line. */
  readonly place: string;
  /** Of the time that something ran. */
  readonly share: number;
}

/** Waiting is left out: the data plane's own function for it, and Node's. */
const WAITING = new Set(['(idle)', 'wait']);

/** The largest first. */
export function selfTimes({ nodes, samples, timeDeltas }: CpuProfile): readonly SelfTime[] {
  const frames = new Map(nodes.map(({ id, callFrame }) => [id, callFrame]));
  const sums = new Map<string, { name: string; place: string; spent: number }>();
  for (const [index, id] of samples.entries()) {
    const frame = frames.get(id);
    if (frame === undefined || WAITING.has(frame.functionName)) continue;
    const name = frame.functionName === '' ? '(anonymous)' : frame.functionName;
    const file = frame.url.split('/').slice(-2).join('/');
    const place = file === '' ? '' : `${file}:${frame.lineNumber + 1}`;
    const sum = sums.get(`${name} ${place}`) ?? { name, place, spent: 0 };
    // A sample lasts until the next one.
    sum.spent += timeDeltas[index + 1] ?? 0;
    sums.set(`${name} ${place}`, sum);
  }
  const all = [...sums.values()];
  const total = all.reduce((sum, { spent }) => sum + spent, 0);
  return all
    .map(({ name, place, spent }) => ({ name, place, share: spent / total }))
    .toSorted((a, b) => b.share - a.share);
}
