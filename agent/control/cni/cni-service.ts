// The CNI socket with everything behind it: listener, server, recipes, tombstones. Replays what was left on disk before it listens.
import { join } from 'node:path';

import { MAX_DESCRIPTORS, requestBytes } from '../../../proto/shim-codec.ts';
import type { LoggedAddressPool } from '../../ipam/address-pool.ts';
import { createPodDescriptorsCheck } from '../../linux/pod-descriptors.ts';
import type { Readiness } from '../../linux/readiness.ts';
import { openUnixListener } from '../../linux/unix-listener.ts';
import type { Settings } from '../../settings.ts';
import type { StepTaken } from '../../telemetry/cni-steps.ts';
import { type Logger, errorFields } from '../../telemetry/logger.ts';
import { LastingFailure, Repeats } from '../../telemetry/told-once.ts';
import { OperationError } from '../../operation-error.ts';
import { type NodeReadiness, createAttachments } from './attachments.ts';
import { type CniHandler, type CniOutcome, createCniServer } from './cni-server.ts';
import type { PodLinks } from '../node/pod-links.ts';
import type { Repair } from '../repair.ts';
import { createLeakWatch } from './leak-watch.ts';
import { createLogHealth } from './log-health.ts';
import { createOutcomeLog } from './outcome-log.ts';
import { createTombstones } from './tombstones.ts';

const DEADLINE_MS = 60_000;
const LOOK_MS = 5000;

export interface CniServiceOptions {
  readonly settings: Pick<Settings, 'runDirectory' | 'stateDirectory'>;
  readonly pool: LoggedAddressPool;
  readonly links: PodLinks;
  /** The process's own; it stays open. */
  readonly readiness: Readiness;
  readonly node: NodeReadiness;
  /** Pods wait for it: before, a block that this node had may be another's, and the network is not made. */
  readonly settled: () => Promise<unknown>;
  readonly log: Logger;
  readonly observe: (outcome: CniOutcome, seconds: number) => void;
  readonly stepped: (taken: StepTaken) => void;
  /** What was put right that no request asked for. */
  readonly repaired: (repairs: readonly Repair[]) => void;
}

export interface CniService {
  /** Why an ADD could not be served now. */
  blocked(): string | undefined;
  close(): Promise<void>;
}

export async function startCniService(options: CniServiceOptions): Promise<CniService> {
  const { settings, log } = options;
  const handler = createHandler(options);
  const outcomes = createOutcomeLog(log, () => performance.now());
  const left = new Repeats(); // deletions that cannot be carried out
  const server = createCniServer({
    handler,
    observe(outcome, seconds) {
      options.observe(outcome, seconds);
      outcomes.tell(outcome, seconds);
    },
    waited: (verb, seconds) => options.stepped({ verb, step: 'wait', seconds, isFailed: false }),
    async beforeAdd() {
      await options.settled();
      await replay();
    },
  });
  const tombstones = createTombstones({
    directory: join(settings.stateDirectory, 'tombstones'),
    answer: server.replay,
    failed(file, reason) {
      const message = `Cannot carry out the deletion that was left in "${file}": ${reason}; it is tried again. Where it stays, look at the file, and delete it once its pod is gone`;
      const repeated = left.admit(message, performance.now());
      if (repeated === undefined) log.debug('cni_failed', message);
      else log.warn('cni_failed', message, repeated > 1 ? { repeated } : {});
    },
  });
  const replay = async (): Promise<void> => {
    const replayed = await tombstones.replay();
    if (replayed === 0) return;
    log.info('tombstone_replayed', `Carried out ${replayed} pod deletions that happened meanwhile`, {
      count: replayed,
    });
  };
  const leaks = createLeakWatch({
    pool: options.pool,
    links: options.links,
    inTurn: server.inTurn,
    log,
    repaired: options.repaired,
  });
  const comparing = new LastingFailure();
  const logHealth = createLogHealth(options.pool, log);
  // Deletions first: what they remove is no leak.
  const look = async (): Promise<void> => {
    await replay();
    logHealth.look();
    try {
      await leaks.look();
      if (comparing.isOver())
        log.info('network_recovered', 'The allocations are compared with the kernel again');
    } catch (error) {
      if (!(error instanceof OperationError)) throw error; // our own bug
      if (!comparing.isNews(error.code)) return;
      log.warn(
        'network_failed',
        `Cannot compare the allocations with the kernel: ${error.message}; it is tried again. Addresses of pods that vanished stay taken until then: free memory or file descriptors on the node`,
        errorFields(error),
      );
    }
  };
  // Again and again: deletions are also left behind by shims that this agent did not answer in time.
  let looking: NodeJS.Timeout | undefined;
  const lookAgain = (): void => {
    looking = setTimeout(() => void look().then(lookAgain), LOOK_MS);
  };
  await look();
  const listener = openUnixListener({
    path: join(settings.runDirectory, 'cni.sock'),
    readiness: options.readiness,
    messageBytes: requestBytes,
    maxDescriptors: MAX_DESCRIPTORS,
    deadlineMs: DEADLINE_MS,
    handle: (message) => server.answer(message),
    refuse: (reason) => server.refuse(reason),
  });
  lookAgain(); // last: when the socket cannot be opened, nothing is left that goes on
  return {
    blocked: () => handler.blocked(),
    async close() {
      clearTimeout(looking);
      await listener.close();
      clearTimeout(looking); // a look that ended meanwhile has set it again
    },
  };
}

const createHandler = ({ pool, links, node, log, stepped }: CniServiceOptions): CniHandler =>
  createAttachments({
    pool,
    links,
    node,
    checkDescriptors: createPodDescriptorsCheck(),
    stepped,
    undoFailed: ({ containerId, interfaceName }, error) =>
      log.warn(
        'cni_failed',
        `Cannot undo a failed ADD of ${containerId}/${interfaceName}: nothing is to be done, it is cleaned up within seconds`,
        errorFields(error),
      ),
  });
