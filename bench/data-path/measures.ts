// What is measured on each side: a measure is one run of the load and gives some figures. `--only` names measures.
import { type Cost, memoryOf, startAccount } from './accounting.ts';
import {
  type StreamAnswer,
  countConnections,
  findKnee,
  measureRoundTrips,
  runStreams,
} from './load-program.ts';
import type { Side } from './side.ts';
import { type Wire, setWire } from './wire.ts';

export interface Figure {
  readonly key: string;
  readonly title: string;
  readonly unit: string;
  readonly digits: number;
  readonly better: 'more' | 'less';
}

/** Values by the figures' keys. */
export type Sample = Readonly<Record<string, number>>;

export interface Measure {
  readonly name: string;
  readonly figures: readonly Figure[];
  /** `before`: samples of the same side from earlier rounds. */
  readonly take: (side: Side, options: { seconds: number; before: readonly Sample[] }) => Promise<Sample>;
}

const TRIAL_SHARE = 0.2;
const CONNECTING_PROCESSES = 8;
const LOAD_AHEAD_MS = 500;
const PAIR_SECONDS = 1.2;

const more = { better: 'more' } as const;
const less = { better: 'less' } as const;

export const MEASURES: readonly Measure[] = [
  tcp({ name: 'tcp1', title: 'TCP, 1 stream', streams: 1, wire: 'super' }),
  tcp({ name: 'tcp8', title: 'TCP, 8 streams', streams: 8, wire: 'super' }),
  tcp({ name: 'tcp1-mtu', title: 'TCP, 1 stream, MTU-sized frames', streams: 1, wire: 'mtu' }),
  tcp({ name: 'tcp8-mtu', title: 'TCP, 8 streams, MTU-sized frames', streams: 8, wire: 'mtu' }),
  udp({ name: 'udp64', bytes: 64, from: 100_000 }),
  udp({ name: 'udp1400', bytes: 1400, from: 80_000 }),
  {
    name: 'rtt',
    figures: roundTripFigures('rtt', 'Round trip, idle'),
    take: async (side, { seconds }) => {
      await setWire(side, 'super');
      const { p50, p99, p999, lost } = await measureRoundTrips(side, seconds);
      return { 'rtt.p50': p50, 'rtt.p99': p99, 'rtt.p999': p999, 'rtt.lost': lost };
    },
  },
  {
    name: 'rtt-load',
    figures: roundTripFigures('rtt-load', 'Round trip beside a TCP stream'),
    take: async (side, { seconds }) => {
      await setWire(side, 'super');
      const load = runStreams(side, { streams: 1, seconds: seconds + PAIR_SECONDS });
      await new Promise((resolve) => setTimeout(resolve, LOAD_AHEAD_MS));
      const { p50, p99, p999, lost } = await measureRoundTrips(side, seconds);
      await load;
      return { 'rtt-load.p50': p50, 'rtt-load.p99': p99, 'rtt-load.p999': p999, 'rtt-load.lost': lost };
    },
  },
  {
    name: 'connect',
    figures: [{ key: 'connect', title: 'Short TCP connections', unit: '1/s', digits: 0, ...more }],
    take: async (side, { seconds }) => {
      await setWire(side, 'super');
      const { perSecond, failed } = await countConnections(side, {
        processes: CONNECTING_PROCESSES,
        seconds,
      });
      return { connect: perSecond, 'connect.failed': failed };
    },
  },
  {
    name: 'memory',
    figures: [
      { key: 'memory.idle', title: 'Memory (PSS) of a node, idle', unit: 'MB', digits: 1, ...less },
      { key: 'memory.load', title: 'Memory (PSS) of a node, 8 TCP streams', unit: 'MB', digits: 1, ...less },
    ],
    take: async (side, { seconds }) => {
      await setWire(side, 'super');
      const idle = memoryOfNode(side);
      const load = runStreams(side, { streams: 8, seconds });
      await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
      const loaded = memoryOfNode(side);
      await load;
      return { 'memory.idle': idle, 'memory.load': loaded };
    },
  },
];

/** Of the node that has more. */
const memoryOfNode = (side: Side): number => Math.max(...side.programs().map(memoryOf));

function tcp(options: { name: string; title: string; streams: number; wire: Wire }): Measure {
  const { name, title, streams, wire } = options;
  return {
    name,
    figures: [
      { key: name, title, unit: 'Gbit/s', digits: 2, ...more },
      {
        key: `${name}.cpu`,
        title: "  processor time of the overlay's programs",
        unit: 's/GB',
        digits: 3,
        ...less,
      },
      { key: `${name}.busy`, title: '  busy time of both cores', unit: 's/GB', digits: 3, ...less },
    ],
    take: async (side, { seconds }) => {
      await setWire(side, wire);
      const costSince = startAccount(side.programs().flat());
      const answer = await runStreams(side, { streams, seconds });
      return { [name]: answer.gbps, ...costs(name, answer, costSince()) };
    },
  };
}

const costs = (name: string, { bytes }: StreamAnswer, cost: Cost): Sample => ({
  [`${name}.cpu`]: (cost.programSeconds / bytes) * 1e9,
  [`${name}.busy`]: (cost.busySeconds / bytes) * 1e9,
  [`${name}.stolen`]: cost.stolenSeconds,
});

function udp({ name, bytes, from }: { name: string; bytes: number; from: number }): Measure {
  return {
    name,
    figures: [
      { key: name, title: `UDP, ${bytes} B, at most 1 % loss`, unit: 'packets/s', digits: 0, ...more },
      { key: `${name}.offered`, title: '  offered at that rate', unit: 'packets/s', digits: 0, ...more },
    ],
    take: async (side, { seconds, before }) => {
      await setWire(side, 'super');
      const earlier = before.at(-1)?.[name];
      const answer = await findKnee(side, { bytes, seconds: seconds * TRIAL_SHARE, from: earlier ?? from });
      return { [name]: answer.delivered, [`${name}.offered`]: answer.offered, [`${name}.loss`]: answer.loss };
    },
  };
}

function roundTripFigures(name: string, title: string): readonly Figure[] {
  const figure = { unit: 'µs', digits: 0, ...less };
  return [
    { key: `${name}.p50`, title: `${title}, p50`, ...figure },
    { key: `${name}.p99`, title: '  p99', ...figure },
    { key: `${name}.p999`, title: '  p99.9', ...figure },
  ];
}
