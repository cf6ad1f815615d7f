// A storm of attachments on nodes whose agents and plugins are killed with -9 all the while, and what must hold during it and after it:
//
//   during   an address is one pod's; a pod has what its ADD answered, and answers itself; ADD is refused with a CNI error or not at all;
//            DEL succeeds
//   after    ADD works again; what was there all the time still is; pods that went without DEL cost nothing; with the last DEL all is as before
import assert from 'node:assert/strict';

import { randomInt, seededRandom } from '../../support/random.ts';
import type { AgentEnvironment } from '../agent.ts';
import { until } from '../condition.ts';
import type { Lab, LabNode } from '../lab.ts';
import { allEnded } from './all-ended.ts';
import { type Holdings, differences, readHoldings } from './aftermath.ts';
import { killAndKill } from './killer.ts';
import { type Observer, openObserver } from './observer-client.ts';
import type { StormPod } from './pod-calls.ts';
import { type StormRuntime, createStormRuntime } from './storm-runtime.ts';
import { type Tally, createTally } from './tally.ts';

export interface KillStormOptions {
  readonly lab: Lab;
  readonly nodes: number;
  /** Of control or the whole agent; some plugins are killed besides. */
  readonly kills: number;
  readonly seed: number;
  /** Told after each of them. */
  readonly progress: (kills: number, tally: Tally) => void;
}

/** Few addresses, so that they are soon used again, and small blocks, so that nodes need several. */
const ENVIRONMENT: AgentEnvironment = { IPALLOC_RANGE: '10.32.0.0/23', WEFT_BLOCK_PREFIX: '27' };
/** Attachments at a time, over all nodes. */
const AT_ONCE = 24;
/** Pods of each node that stay from the first kill to the last. */
const STAYING = 3;
/** Looks at every namespace and at the staying pods come after so many kills of a node. */
const LOOK_EVERY = 5;
const LEAK_BOUND_MS = 60_000;
const READY_BOUND_MS = 60_000;

interface StormNode {
  readonly node: LabNode;
  readonly observer: Observer;
  readonly runtime: StormRuntime;
  readonly random: () => number;
  readonly before: Holdings;
  readonly staying: readonly StormPod[];
}

export async function runKillStorm(options: KillStormOptions): Promise<Tally> {
  const { lab, kills, seed, progress } = options;
  const tally = createTally();
  const owners = new Map<string, StormPod>();
  const names = Array.from({ length: options.nodes }, (_, index) => `node-${index + 1}`);
  const labNodes = await lab.addNodes(names, { start: false });
  const workers = Math.floor(AT_ONCE / labNodes.length);
  const nodes = await Promise.all(
    labNodes.map(async (node, index): Promise<StormNode> => {
      node.agent.start(ENVIRONMENT);
      await node.agent.ready(READY_BOUND_MS);
      const random = seededRandom(seed + index);
      const observer = await openObserver(node.namespace.place);
      const mostPods = workers + STAYING;
      const runtime = createStormRuntime({ node, observer, random, owners, tally, mostPods });
      const before = await settledHoldings(node, observer);
      const staying: StormPod[] = [];
      for (let count = 0; count < STAYING; count += 1) staying.push(await runtime.add());
      return { node, observer, runtime, random, before, staying };
    }),
  );

  let given = 0;
  let done = 0;
  let isOver = false;
  const next = (): boolean => !isOver && given < kills && (given += 1) > 0;
  const storm = async (one: StormNode): Promise<void> => {
    let own = 0;
    const killed = async (): Promise<void> => {
      own += 1;
      progress((done += 1), tally);
      if (own % LOOK_EVERY !== 0) return;
      await expectOneOwner(one);
      const pod = one.staying[randomInt(one.random, STAYING)];
      if (pod !== undefined) await one.runtime.verify(pod);
    };
    const { node, observer, runtime, random } = one;
    let isCalm = false;
    const working = runtime.work({ workers, until: () => isCalm || isOver });
    const killing = killAndKill({
      node,
      environment: ENVIRONMENT,
      observer,
      runtime,
      random,
      tally,
      isOver: () => isOver,
      next,
      killed,
    }).finally(() => (isCalm = true));
    const endAll = (error: unknown): never => {
      isOver = true;
      throw error;
    };
    await allEnded([working.catch(endAll), killing.catch(endAll)]);
  };
  try {
    await allEnded(nodes.map(storm));
    await allEnded(nodes.map(expectCalm));
  } finally {
    await Promise.all(nodes.map(({ observer }) => observer.close()));
  }
  return tally;
}

/** Looks twice at what looks wrong: the namespaces are read one after another, and names are not used again. */
async function expectOneOwner({ observer, node }: Pick<StormNode, 'observer' | 'node'>): Promise<void> {
  const twice = async (): Promise<readonly string[]> => {
    const owners = new Map<string, string[]>();
    for (const { netns, addresses } of (await observer.view()).namespaces) {
      for (const address of addresses) owners.set(address, [...(owners.get(address) ?? []), netns]);
    }
    return [...owners]
      .filter(([, names]) => names.length > 1)
      .map(([address, names]) => `${address} in ${names.sort().join(' and ')}`);
  };
  const first = await twice();
  if (first.length === 0) return;
  const again = await twice();
  const both = first.filter((text) => again.includes(text));
  assert.deepEqual(both, [], `Two pods of ${node.name} have one address`);
}

/** The agent runs and nobody kills any more. */
async function expectCalm({ node, observer, runtime, before, staying }: StormNode): Promise<void> {
  await node.agent.ready(READY_BOUND_MS);
  const young: StormPod[] = [];
  for (let count = 0; count < STAYING; count += 1) young.push(await runtime.add());
  for (const pod of [...staying, ...young]) {
    await runtime.verify(pod);
    assert.equal(await runtime.check(pod), true, `CHECK of ${pod.netns}`);
  }
  for (const pod of runtime.late()) await runtime.remove(pod);
  for (const pod of runtime.pods().filter((one) => !staying.includes(one))) {
    await runtime.remove(pod);
    await runtime.detach(pod);
  }
  // Nobody said DEL for the pods that vanished: the agent finds that out by itself. Forgotten ones have their namespaces still.
  const isLeft = new Set([...staying, ...runtime.forgotten()].map(({ containerId }) => containerId));
  await until(
    async () => (await observer.view()).records.every(({ containerId }) => isLeft.has(containerId)),
    { what: `vanished pods of ${node.name} to be cleaned up`, boundMs: LEAK_BOUND_MS },
  );
  await expectOneOwner({ observer, node });
  await runtime.collectGarbage();
  assert.deepEqual(runtime.forgotten(), [], 'GC succeeds');
  for (const pod of staying) {
    await runtime.verify(pod);
    await runtime.remove(pod);
    await runtime.detach(pod);
  }
  let after: Holdings | undefined;
  await until(
    async () => {
      after = await readHoldings(node, observer);
      return differences(before, after).length === 0;
    },
    { what: 'the node to be as before', boundMs: LEAK_BOUND_MS, intervalMs: 250 },
  ).catch(() => undefined); // the comparison tells
  assert.ok(after !== undefined);
  assert.deepEqual(differences(before, after), [], `${node.name} is not as before`);
}

/** Once two readings are alike: an agent that has just started still opens and closes. */
async function settledHoldings(node: LabNode, observer: Observer): Promise<Holdings> {
  let last = '';
  let holdings: Holdings | undefined;
  await until(
    async () => {
      holdings = await readHoldings(node, observer);
      const text = JSON.stringify(holdings);
      const isSame = text === last;
      last = text;
      return isSame;
    },
    { what: `${node.name} to come to rest`, intervalMs: 500 },
  );
  assert.ok(holdings !== undefined);
  return holdings;
}
