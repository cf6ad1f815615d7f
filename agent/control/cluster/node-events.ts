// Warning Events about this node while something is wrong with it: `kubectl describe node` and `kubectl get events` show them. Each trouble
// is told once, and again while it lasts, since Events are kept for an hour; while the API is away they wait.
import type { ClusterApi } from '../../kube/api-client.ts';
import type { Clock } from '../../kube/clock.ts';
import { codeOf } from '../../operation-error.ts';
import { createLogRate } from '../../telemetry/log-rate.ts';
import { type Logger, errorFields } from '../../telemetry/logger.ts';
import { createPersistentTask } from '../persistent-task.ts';
import { type Trouble, eventReason } from '../trouble.ts';
import { withRemedy } from './api-remedy.ts';

export interface NodeEventsOptions {
  readonly nodeName: string;
  /** Rejects while there is none. */
  readonly api: () => Promise<Pick<ClusterApi, 'createEvent' | 'getNode'>>;
  /** What ends sooner is not told. */
  readonly settleMs: number;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Logger;
}

export interface NodeEvents {
  /** All that is wrong now; to be called again and again. */
  tell(troubles: readonly Trouble[]): void;
  stop(): void;
}

const REPEAT_MS = 3_000_000; // the API server keeps them for an hour
/** Per reason: messages that change all the time are not worth an Event each. */
const RATE = { burst: 10, perSecond: 1 / 300 };

interface Known {
  readonly trouble: Trouble;
  readonly sinceMs: number;
  toldAtMs: number | undefined;
  /** The rate allowed it; holds for as many tries as it takes. */
  isAdmitted: boolean;
}

export function createNodeEvents(options: NodeEventsOptions): NodeEvents {
  const { nodeName, clock, log } = options;
  const rate = createLogRate(RATE);
  let known: ReadonlyMap<string, Known> = new Map();
  /** When each was told last, also of those that are over: they may come back. */
  const told = new Map<string, number>();
  let uid: string | undefined;
  let failedWith: string | undefined;

  const isDue = ({ toldAtMs, sinceMs }: Known): boolean =>
    clock.now() - sinceMs >= options.settleMs &&
    (toldAtMs === undefined || clock.now() - toldAtMs >= REPEAT_MS);

  const post = async (): Promise<void> => {
    for (const one of known.values()) {
      if (!isDue(one)) continue;
      const { trouble } = one;
      const reason = eventReason(trouble);
      if (!one.isAdmitted && rate.admit(reason, '', clock.now()) === undefined) continue;
      one.isAdmitted = true;
      const api = await options.api();
      uid ??= await nodeUid(api);
      await api.createEvent({
        node: { name: nodeName, uid: uid ?? nodeName },
        type: 'Warning',
        reason,
        message: trouble.message,
      });
      one.toldAtMs = clock.now();
      one.isAdmitted = false;
      told.set(trouble.message, one.toldAtMs);
      failedWith = undefined;
    }
  };

  /** The Node may not be ours to read; the kubelet's own Events have the name in place of the UID. */
  const nodeUid = async (api: Pick<ClusterApi, 'getNode'>): Promise<string | undefined> => {
    try {
      return (await api.getNode(nodeName)).uid;
    } catch (error) {
      if (codeOf(error) === 'FORBIDDEN' || codeOf(error) === 'NOT_FOUND') return undefined;
      throw error;
    }
  };

  const task = createPersistentTask({
    run: post,
    failed(error) {
      if (codeOf(error) === failedWith) return;
      failedWith = codeOf(error);
      log.warn(
        'event_failed',
        `What is wrong is told in this log alone: ${withRemedy(error)}`,
        errorFields(error),
      );
    },
    clock,
    random: options.random,
  });

  return {
    tell(troubles) {
      const now = clock.now();
      known = new Map(
        troubles.map((trouble) => [
          trouble.message,
          known.get(trouble.message) ?? {
            trouble,
            sinceMs: now,
            toldAtMs: told.get(trouble.message),
            isAdmitted: false,
          },
        ]),
      );
      for (const [message, at] of told) if (now - at >= REPEAT_MS) told.delete(message);
      if ([...known.values()].some(isDue)) task.request();
    },
    stop: () => task.stop(),
  };
}
