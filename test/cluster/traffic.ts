// What must go on while the cluster is disturbed: numbered UDP probes (test/lab/probe: its accounting, its rule of what is lost) and one
// TCP stream for as long as the file's cluster lives, between two pods on different nodes; and that pods keep their addresses.
import assert from 'node:assert/strict';

import { type DisturbOptions, type Disturbance, type Window, disturb, settle } from '../lab/disturbance.ts';
import type { Probe } from '../lab/probe/endpoint.ts';
import type { Cluster } from './cluster.ts';
import { type ProbePod, createProbePods, podAddresses } from './probe-pods.ts';
import { type Stream, openStream } from './stream.ts';

const PER_SECOND = 1000;

export interface Traffic {
  readonly from: ProbePod;
  readonly to: ProbePod;
  readonly stream: Stream;
  readonly startProbe: () => Promise<Probe>;
  /** Ends the probe: nothing was lost, the stream goes on. */
  readonly expectNoLoss: (probe: Probe, windows: readonly Window[], tell: Tell) => Promise<void>;
  /** Of what is done while a new probe runs nothing is lost, the stream goes on. */
  readonly expectUnnoticed: (disturbance: DisturbOptions, tell: Tell) => Promise<void>;
  /** Ends the probe of a disturbance that costs packets: what it cost is told, the stream goes on. */
  readonly tellGap: (probe: Probe, window: Window, tell: Tell) => Promise<void>;
  /** Pods that were there when the traffic began have the addresses that they had. */
  readonly expectSameAddresses: () => Promise<void>;
  /** Ends the stream: everything that was sent on it has arrived. */
  readonly finish: (tell: Tell) => Promise<void>;
}

export type Tell = (line: string) => void;

const inWords = ({ what, lost, longestGapMs, backMs }: Disturbance): string =>
  `${what}: ${lost} lost, longest pause ${longestGapMs.toFixed(0)} ms, back after ${backMs.toFixed(0)} ms`;

interface TrafficOptions {
  readonly cluster: Cluster;
  readonly from: ProbePod;
  readonly to: ProbePod;
}

export const NOTHING: DisturbOptions = { what: 'nothing', act: async () => undefined };

/** Traffic between pods of the first two nodes, and a pod on every node. As long as nothing is done nothing is lost. */
export async function startTraffic(
  cluster: Cluster,
  tell: Tell,
): Promise<{ readonly pods: readonly ProbePod[]; readonly traffic: Traffic }> {
  const pods = await createProbePods(cluster, cluster.nodes);
  const [from, to] = pods;
  assert.ok(from !== undefined && to !== undefined);
  const traffic = await trafficBetween({ cluster, from, to });
  await traffic.expectUnnoticed(NOTHING, tell);
  return { pods, traffic };
}

async function trafficBetween({ cluster, from, to }: TrafficOptions): Promise<Traffic> {
  const before = await podAddresses(cluster);
  const endpoint = await from.endpoint();
  await to.endpoint();
  const stream = await openStream({ from: from.place, to: to.place, address: to.address });
  const traffic: Traffic = {
    from,
    to,
    stream,
    startProbe: () => endpoint.startProbe(to.address, { perSecond: PER_SECOND }),
    expectUnnoticed: async (disturbance, tell) => {
      const probe = await traffic.startProbe();
      await traffic.expectNoLoss(probe, [await disturb(probe, disturbance)], tell);
    },
    expectNoLoss: async (probe, windows, tell) => {
      const { total, disturbances } = await settle(probe, windows);
      for (const one of disturbances) tell(inWords(one));
      const { sent, lost, duplicates, sendErrors, roundTripMs } = total;
      tell(
        `${sent} probes, ${lost} lost, ${duplicates} twice, round trip p99 ${roundTripMs.p99.toFixed(1)} ms`,
      );
      assert.ok(sent > 0);
      assert.deepEqual({ lost, sendErrors }, { lost: 0, sendErrors: 0 });
      await stream.alive();
    },
    tellGap: async (probe, window, tell) => {
      const { disturbances } = await settle(probe, [window]);
      for (const one of disturbances) tell(inWords(one));
      await stream.alive();
    },
    expectSameAddresses: async () => {
      const now = await podAddresses(cluster);
      assert.deepEqual(Object.fromEntries(Object.keys(before).map((name) => [name, now[name]])), before);
    },
    finish: async (tell) => {
      tell(await stream.finish());
      stream.close();
    },
  };
  return traffic;
}
