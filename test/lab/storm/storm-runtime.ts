// A container runtime that never rests: many workers make pods, look at them, check, delete and sometimes forget them, on one node, while
// others kill the agent and the plugin.
import { setTimeout as pause } from 'node:timers/promises';

import { randomInt } from '../../support/random.ts';
import { allEnded } from './all-ended.ts';
import { type PodCalls, type PodCallsOptions, type StormPod, createPodCalls } from './pod-calls.ts';

export interface StormRuntime extends Pick<PodCalls, 'calls' | 'served' | 'verify' | 'check' | 'detach'> {
  /** Works until told, or until a worker fails; settles when every worker has ended what it was at. */
  readonly work: (options: { workers: number; until: () => boolean }) => Promise<void>;
  /** ADD in a new namespace, for a pod that no worker touches. Throws when it is refused. */
  readonly add: () => Promise<StormPod>;
  /** DEL, and the namespace goes, in one order or the other. */
  readonly remove: (pod: StormPod) => Promise<void>;
  /** GC that leaves the pods that the runtime knows; forgotten ones go, when it succeeds. */
  readonly collectGarbage: () => Promise<void>;
  readonly pods: () => readonly StormPod[];
  /** Failed ADDs whose DEL is still to come. */
  readonly late: () => readonly StormPod[];
  /** Pods that have their namespace, and no runtime that knows of them. */
  readonly forgotten: () => readonly StormPod[];
}

export interface StormRuntimeOptions extends PodCallsOptions {
  readonly random: () => number;
  /** Pods beyond which none is made. */
  readonly mostPods: number;
}

const MOST_FORGOTTEN = 5;

export function createStormRuntime(options: StormRuntimeOptions): StormRuntime {
  const { node, random, tally, mostPods } = options;
  const podCalls = createPodCalls(options);
  const { attach, detach, verify, check, disown, dropNamespace } = podCalls;
  const pods = new Set<StormPod>();
  const late = new Set<StormPod>();
  const forgotten = new Set<StormPod>();
  let collecting: Promise<unknown> = Promise.resolve();
  let count = 0;

  const chance = (share: number): boolean => random() < share;

  const make = async (): Promise<StormPod> => {
    count += 1;
    const pod = podCalls.named(`${node.name}-${count}`);
    await podCalls.makeNamespace(pod);
    return pod;
  };

  const remove = async (pod: StormPod): Promise<void> => {
    disown(pod);
    if (chance(0.2)) {
      await dropNamespace(pod);
      await detach(pod);
    } else {
      await detach(pod);
      await dropNamespace(pod);
    }
  };

  /** Its namespace goes, and nobody says DEL. */
  const vanish = async (pod: StormPod): Promise<void> => {
    tally.odd.vanished += 1;
    disown(pod);
    await dropNamespace(pod);
  };

  const forget = (pod: StormPod): void => {
    tally.odd.forgotten += 1;
    forgotten.add(pod);
  };

  /** No GC is under way: a runtime starts no ADD beside one. */
  const collected = async (): Promise<void> => {
    for (let seen: unknown; seen !== collecting;) {
      seen = collecting;
      await seen;
    }
  };

  const collectGarbage = async (): Promise<void> => {
    await collected();
    const leaving = [...forgotten];
    forgotten.clear();
    for (const pod of leaving) disown(pod);
    const done = podCalls.collect([...pods]);
    collecting = done;
    if (await done) await Promise.all(leaving.map(dropNamespace));
    else for (const pod of leaving) forgotten.add(pod);
  };

  const create = async (): Promise<void> => {
    const pod = await make();
    await collected();
    pods.add(pod);
    if (await attach(pod)) {
      await verify(pod);
      pod.busy = false;
    } else {
      pods.delete(pod);
      await giveUp(pod);
    }
  };

  /** What runtimes do after a failed ADD: nearly always a DEL at once. */
  const giveUp = async (pod: StormPod): Promise<void> => {
    const dice = random();
    if (dice < 0.7) await remove(pod);
    else if (dice < 0.8) late.add(pod);
    else if (dice < 0.9) await vanish(pod);
    else forget(pod);
  };

  const end = async (pod: StormPod): Promise<void> => {
    await verify(pod);
    pods.delete(pod);
    const dice = random();
    if (dice < 0.05) await vanish(pod);
    else if (dice < 0.08) forget(pod);
    else await remove(pod);
    if (dice < 0.08 || !chance(0.15)) return;
    tally.odd.repeated += 1;
    await detach(pod);
  };

  const step = async (): Promise<void> => {
    if (chance(0.01) || forgotten.size > MOST_FORGOTTEN) return collectGarbage();
    if (chance(0.01)) {
      tally.odd['never added'] += 1;
      return detach(podCalls.named(`never-${randomInt(random, 1e9)}`));
    }
    const [due] = late;
    if (due !== undefined && chance(0.05)) {
      late.delete(due);
      tally.odd.late += 1;
      return remove(due);
    }
    const idle = [...pods].filter(({ busy }) => !busy);
    const pod = idle[randomInt(random, Math.max(idle.length, 1))];
    if (pods.size < mostPods && (pod === undefined || chance(0.5))) return create();
    if (pod === undefined) return pause(1); // others are at all of them
    pod.busy = true;
    if (chance(0.85)) return end(pod);
    await check(pod);
    pod.busy = false;
  };

  return {
    ...podCalls,
    remove,
    collectGarbage,
    pods: () => [...pods],
    late: () => [...late],
    forgotten: () => [...forgotten],
    add: async () => {
      const pod = await make();
      pods.add(pod);
      if (!(await attach(pod))) throw new Error(`ADD was refused on ${node.name}, whose agent is ready`);
      return pod;
    },
    work: async ({ workers, until }) => {
      let isFailed = false;
      const isOver = (): boolean => until() || isFailed;
      const worker = async (): Promise<void> => {
        try {
          while (!isOver()) await step();
        } catch (error) {
          isFailed = true;
          throw error;
        }
      };
      await allEnded(Array.from({ length: workers }, worker));
    },
  };
}
