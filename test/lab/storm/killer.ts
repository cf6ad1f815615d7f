// Kills on one node, one after another: mostly control, sometimes the whole agent, and in between a plugin, each at a random point of progress.
// Control comes back by its keeper, the agent is started again from the same state directory.
import { existsSync, readdirSync } from 'node:fs';

import { randomInt } from '../../support/random.ts';
import type { AgentEnvironment } from '../agent.ts';
import { condition, until } from '../condition.ts';
import type { LabNode } from '../lab.ts';
import { childrenOf } from '../process.ts';
import { type Landing, landingOf, landingOfKill } from './landing.ts';
import type { Observer } from './observer-client.ts';
import type { KillReport, Point } from './protocol.ts';
import type { ShimCall } from './shim-call.ts';
import type { StormRuntime } from './storm-runtime.ts';
import type { KillKind, Tally } from './tally.ts';
import { hostInterfaceOf } from '../../../agent/control/cni/attachments.ts';

export interface KillerOptions {
  readonly node: LabNode;
  readonly environment: AgentEnvironment;
  readonly observer: Observer;
  readonly runtime: Pick<StormRuntime, 'calls' | 'served'>;
  readonly random: () => number;
  readonly tally: Tally;
  readonly isOver: () => boolean;
  /** Takes one kill of control or the agent of those that are left; false when there is none. */
  readonly next: () => boolean;
  /** Told after each. */
  readonly killed: () => Promise<void>;
}

/** The keeper takes a process that ends sooner for one that cannot run, and lets the next one wait (agent/role.ts). */
const OLD_ENOUGH_MS = 330;
const BOUND_MS = 5000;
const SERVED_BOUND_MS = 60_000;
/** A DEL that was answered before the kill is noticed no later; one that was not waits for the next control, which starts in more. */
const NOTICED_US = 60_000;

export async function killAndKill(options: KillerOptions): Promise<void> {
  const { node, environment, observer, runtime, random, tally, isOver, next, killed } = options;
  const { agent } = node;
  const past = new Set<number>([0]);
  /** When the present control was first seen. */
  let since = performance.now();
  let current = agent.pidOf('control');

  const chance = (share: number): boolean => random() < share;

  const freshControl = async (): Promise<number> => {
    const pid = await condition(
      () => {
        const found = agent.pidOf('control');
        return past.has(found) || !existsSync(`/proc/${found}`) ? undefined : found;
      },
      { what: `another control on ${node.name}`, intervalMs: 5, boundMs: 60_000 },
    );
    if (pid !== current) since = performance.now();
    current = pid;
    return pid;
  };

  const waitUntilOld = (ageMs: number): Promise<void> =>
    until(() => performance.now() - since >= ageMs, { what: 'control to grow old', intervalMs: 2 });

  /** A request succeeds that only control can have answered. */
  const served = (): Promise<void> => {
    const start = runtime.served();
    return until(() => runtime.served() > start || isOver(), {
      what: `control of ${node.name} to serve again`,
      intervalMs: 2,
      boundMs: SERVED_BOUND_MS,
    });
  };

  const landingsOf = async ({ view, atUs }: KillReport): Promise<readonly Landing[]> => {
    const landings: Landing[] = [];
    for (const call of runtime.calls.runningAt(atUs)) {
      await call.result;
      if (!wasAnswered(call, atUs)) landings.push(landingOf(view, requestOf(call)));
    }
    return landings;
  };

  const count = (kind: KillKind, landing: Landing): void => {
    tally.kills[kind] += 1;
    tally.landings.push(landing);
  };

  const pointOf = (): Point => {
    // Mostly short ones: a step takes some ten microseconds.
    const delay = (mostUs: number): number => Math.floor(mostUs * random() ** 3);
    const dice = random();
    if (dice < 0.35) return { kind: 'log', count: 1 + randomInt(random, 12), delayUs: delay(4000) };
    if (dice < 0.65) return { kind: 'link', count: 1 + randomInt(random, 50), delayUs: delay(1500) };
    if (dice < 0.85) return { kind: 'sent', count: 1 + randomInt(random, 12), delayUs: delay(20_000) };
    return { kind: 'answered', count: 1 + randomInt(random, 12), delayUs: delay(5000) };
  };

  /** The counts of cut requests come when those have ended: not waited for. */
  const pending: Promise<void>[] = [];

  const killAgent = async (kind: 'control' | 'agent', isStarting: boolean): Promise<void> => {
    const control = await freshControl();
    await waitUntilOld(OLD_ENOUGH_MS + (isStarting ? randomInt(random, 500) : 0));
    if (!isStarting) await served();
    const keeper = agent.pidOf('keeper');
    const victims = kind === 'control' ? [control] : [keeper, ...childrenOf(keeper).map(({ pid }) => pid)];
    for (const pid of victims) past.add(pid);
    const point: Point = isStarting ? { kind: 'now', count: 0, delayUs: 0 } : pointOf();
    const report = await observer.kill({ victims, point, boundMs: BOUND_MS });
    pending.push(
      landingsOf(report).then((landings) => {
        tally.cut.push(...landings);
        count(kind, isStarting ? 'while control started' : landingOfKill(landings));
      }),
    );
    if (kind === 'control') return;
    await agent.kill();
    if (chance(0.3)) {
      await until(() => isBuried(node), { what: 'a tombstone', boundMs: BOUND_MS }).then(
        () => (tally.odd.buried += 1),
        () => undefined, // nothing was deleted meanwhile
      );
    }
    agent.start(environment);
  };

  const killShim = async (): Promise<void> => {
    const report = await observer.kill({ victims: 'shim', point: pointOf(), boundMs: BOUND_MS });
    const [pid] = report.victims;
    const call = runtime.calls.runningAt(report.atUs).find((running) => running.pid === pid);
    if (call === undefined) return count('shim', 'shim: before ADD, or after');
    const landing = landingOf(report.view, requestOf(call));
    const isInAdd = !['ADD: before the log has it', 'ADD: routes → answer'].includes(landing);
    if (call.command === 'ADD') count('shim', isInAdd ? 'shim: in ADD' : 'shim: before ADD, or after');
    else count('shim', call.command === 'DEL' ? 'shim: in DEL' : 'shim: in CHECK or GC');
  };

  while (next()) {
    if (chance(0.15)) await killShim();
    await killAgent(chance(0.08) ? 'agent' : 'control', chance(0.15));
    await killed();
  }
  await Promise.all(pending);
}

function wasAnswered({ command, ended }: ShimCall, atUs: number): boolean {
  if (ended === undefined) return false;
  if (command === 'ADD') return ended.result.status === 0 && ended.atUs - atUs < NOTICED_US;
  return ended.atUs - atUs < NOTICED_US;
}

const requestOf = ({ command, containerId, netns }: ShimCall): Parameters<typeof landingOf>[1] => ({
  command,
  containerId,
  netns,
  hostInterface: hostInterfaceOf({ containerId, interfaceName: 'eth0' }),
});

function isBuried(node: LabNode): boolean {
  try {
    return readdirSync(node.namespace.path('/var/lib/weft/tombstones')).some((name) => name.endsWith('.del'));
  } catch {
    return false; // there never was one
  }
}
