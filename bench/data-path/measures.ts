// What is measured on each side: a measure is one run of the load and gives some figures. `--only` names measures.
import { setTimeout as pause } from 'node:timers/promises';

import { type Cost, memoryOf, startAccount, youngestSeconds } from './accounting.ts';
import {
  type StreamAnswer,
  countConnections,
  findKnee,
  measureRoundTrips,
  runStreams,
} from './load-program.ts';
import type { Figure } from './figure.ts';
import type { Side } from './side.ts';
import type { Wire } from './wire.ts';

/** Values by the figures' keys. */
export type Sample = Readonly<Record<string, number>>;

export interface Measure {
  readonly name: string;
  readonly title: string;
  readonly figures: readonly Figure[];
  /** What it is taken on. */
  readonly wire: Wire;
  /** `before`: samples of the same side from earlier rounds. */
  readonly take: (side: Side, options: { seconds: number; before: readonly Sample[] }) => Promise<Sample>;
}

const TRIAL_SHARE = 0.2;
const CONNECTING_PROCESSES = 8;
const LOAD_AHEAD_MS = 500;
const PAIR_SECONDS = 1.2;

/** A node counts as idle when its start, at which every peer is asked and the doctor runs, lies so far behind it. */
const SETTLED_SECONDS = 45;
/** What happens once in several seconds is in it; the doctor's half a second in ten minutes is not. */
const IDLE_SECONDS = 12;

const more = { better: 'more' } as const;
const less = { better: 'less' } as const;
/** Nobody asks for the ratio. */
const alone = { use: 'alone' } as const;
const detail = { use: 'detail' } as const;

export const MEASURES: readonly Measure[] = [
  tcp({ name: 'tcp1', title: 'TCP, 1 stream', streams: 1, wire: 'super' }),
  tcp({ name: 'tcp8', title: 'TCP, 8 streams', streams: 8, wire: 'super' }),
  tcp({ name: 'tcp1-mtu', title: 'TCP, 1 stream, MTU-sized frames', streams: 1, wire: 'mtu' }),
  tcp({ name: 'tcp8-mtu', title: 'TCP, 8 streams, MTU-sized frames', streams: 8, wire: 'mtu' }),
  udp({ name: 'udp64', bytes: 64, from: 100_000 }),
  udp({ name: 'udp1400', bytes: 1400, from: 80_000 }),
  {
    name: 'rtt',
    title: 'Round trip, idle',
    wire: 'super',
    figures: roundTripFigures('rtt'),
    take: async (side, { seconds }) => {
      const { p50, p99, p999, lost } = await measureRoundTrips(side, seconds);
      return { 'rtt.p50': p50, 'rtt.p99': p99, 'rtt.p999': p999, 'rtt.lost': lost };
    },
  },
  {
    name: 'rtt-load',
    title: 'Round trip beside a TCP stream',
    wire: 'super',
    figures: roundTripFigures('rtt-load'),
    take: async (side, { seconds }) => {
      const load = runStreams(side, { streams: 1, seconds: seconds + PAIR_SECONDS });
      await pause(LOAD_AHEAD_MS);
      const { p50, p99, p999, lost } = await measureRoundTrips(side, seconds);
      await load;
      return { 'rtt-load.p50': p50, 'rtt-load.p99': p99, 'rtt-load.p999': p999, 'rtt-load.lost': lost };
    },
  },
  {
    name: 'connect',
    title: 'Short TCP connections',
    wire: 'super',
    figures: [{ key: 'connect', part: '', unit: '1/s', digits: 0, ...more }],
    take: async (side, { seconds }) => {
      const { perSecond, failed } = await countConnections(side, {
        processes: CONNECTING_PROCESSES,
        seconds,
      });
      return { connect: perSecond, 'connect.failed': failed };
    },
  },
  {
    name: 'idle',
    title: 'Idle node',
    wire: 'super',
    figures: [
      {
        key: 'idle',
        part: 'processor time of its programs',
        unit: '% of a core',
        digits: 2,
        ...less,
        ...alone,
      },
      { key: 'idle.memory', part: 'memory (PSS)', unit: 'MB', digits: 1, ...less, ...alone },
    ],
    take: async (side) => {
      await pause(Math.max(0, SETTLED_SECONDS - youngestSeconds(side.programs().flat())) * 1000);
      const costs = side.programs().map((programs) => startAccount(programs));
      await pause(IDLE_SECONDS * 1000);
      const busiest = Math.max(...costs.map((costSince) => costSince().programSeconds));
      return ofPrograms(side, { idle: (busiest / IDLE_SECONDS) * 100, 'idle.memory': memoryOfNode(side) });
    },
  },
  {
    name: 'memory',
    title: 'Memory (PSS) of a node',
    wire: 'super',
    figures: [
      {
        key: 'memory',
        part: '8 TCP streams',
        unit: 'MB',
        digits: 1,
        ...less,
        ...alone,
      },
    ],
    take: async (side, { seconds }) => {
      const load = runStreams(side, { streams: 8, seconds });
      await pause(seconds * 1000);
      const memory = memoryOfNode(side);
      await load;
      return ofPrograms(side, { memory });
    },
  },
];

/** Nothing to tell where the kernel carries. */
const ofPrograms = (side: Side, sample: Sample): Sample =>
  side.programs().flat().length === 0 ? {} : sample;

/** Of the node that has more. */
const memoryOfNode = (side: Side): number => Math.max(...side.programs().map(memoryOf));

function tcp(options: { name: string; title: string; streams: number; wire: Wire }): Measure {
  const { name, title, streams, wire } = options;
  return {
    name,
    title,
    wire,
    figures: [
      { key: name, part: '', unit: 'Gbit/s', digits: 2, ...more },
      {
        key: `${name}.cpu`,
        part: "processor time of the overlay's programs",
        unit: 's/GB',
        digits: 3,
        ...less,
      },
      { key: `${name}.busy`, part: 'busy time of both cores', unit: 's/GB', digits: 3, ...less },
    ],
    take: async (side, { seconds }) => {
      const costSince = startAccount(side.programs().flat());
      const answer = await runStreams(side, { streams, seconds });
      return { [name]: answer.gbps, ...costs(side, name, { answer, cost: costSince() }) };
    },
  };
}

function costs(
  side: Side,
  name: string,
  { answer: { bytes }, cost }: { answer: StreamAnswer; cost: Cost },
): Sample {
  return {
    ...ofPrograms(side, { [`${name}.cpu`]: (cost.programSeconds / bytes) * 1e9 }),
    [`${name}.busy`]: (cost.busySeconds / bytes) * 1e9,
    [`${name}.others`]: cost.othersSeconds,
  };
}

function udp({ name, bytes, from }: { name: string; bytes: number; from: number }): Measure {
  const rate = { unit: 'packets/s', digits: 0, ...more };
  return {
    name,
    title: `UDP, ${bytes} B, at most 1 % loss`,
    wire: 'super',
    figures: [
      { key: name, part: '', ...rate },
      { key: `${name}.offered`, part: 'offered at that rate', ...rate, ...detail },
      { key: `${name}.loss`, part: 'lost at that rate', unit: '%', digits: 2, ...less, ...detail },
    ],
    take: async (side, { seconds, before }) => {
      const earlier = before.at(-1)?.[name];
      const answer = await findKnee(side, { bytes, seconds: seconds * TRIAL_SHARE, from: earlier ?? from });
      return {
        [name]: answer.delivered,
        [`${name}.offered`]: answer.offered,
        [`${name}.loss`]: answer.loss * 100,
      };
    },
  };
}

function roundTripFigures(name: string): readonly Figure[] {
  const figure = { unit: 'µs', digits: 0, ...less };
  return [
    { key: `${name}.p50`, part: 'p50', ...figure },
    { key: `${name}.p99`, part: 'p99', ...figure },
    { key: `${name}.p999`, part: 'p99.9', ...figure },
  ];
}
