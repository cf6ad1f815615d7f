// The agent's first process. It opens the TUN device and the tunnel's sockets, keeps them open, and starts control and the data plane's
// workers with them; when one dies the descriptors and what is queued in them stay, and a warm spare or a new process goes on.
// It never parses a packet and never talks to the API. Invariant: the descriptors close only when the agent as a whole ends.
import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

import { formatIpv4 } from '../proto/address.ts';
import { STATS_BYTES } from '../proto/dataplane-stats.ts';
import { IN_FLIGHT_FILE, MOST_WORKERS, statsFileOf } from '../proto/worker-files.ts';
import { type Predecessor, meetPredecessor } from './hand-over/predecessor.ts';
import { openSuccession } from './hand-over/succession.ts';
import { createWarmUp } from './hand-over/warm-up.ts';
import {
  type Binding,
  type HeldDescriptors,
  adoptDescriptors,
  claimOffloads,
  closeDescriptors,
  joinDescriptors,
  leaveToFirst,
  openDescriptors,
  reclaim,
} from './held-descriptors.ts';
import { type Readiness, openReadiness } from './linux/readiness.ts';
import { createSharedFile } from './linux/shared-file.ts';
import { findUnderlay } from './preflight.ts';
import { keepTrying } from './refusal.ts';
import type { RoleListener } from './role.ts';
import { type Roles, type Stopping, startRoles } from './roles.ts';
import { type Environment, type Settings, defaultWorkers, parseSettings } from './settings.ts';
import { type Logger, createLogger, errorFields } from './telemetry/logger.ts';
import { VERSION } from './version.ts';

const TUN_NAME = 'weft0';
/** For the first answer of an agent that runs on the node, and for its letting go: its roles are given 1.5 s to end. */
const PREDECESSOR_LIMIT_MS = 10_000;
const BUSY_PAUSE_MS = 500;

async function main(): Promise<void> {
  const log = createLogger({
    role: 'keeper',
    level: process.env['LOG_LEVEL'] ?? 'info',
    format: process.env['LOG_FORMAT'] === 'pretty' ? 'pretty' : 'json',
  });
  await keepTrying({ start: () => keep(settle(process.env), log), environment: process.env, log });
}

type SettledSettings = Settings & { readonly nodeIp: NonNullable<Settings['nodeIp']> };

const settle = (environment: Environment): SettledSettings => {
  const settings = parseSettings(environment);
  return { ...settings, nodeIp: findUnderlay(settings).nodeIp };
};

/** Resolves when the roles run; they do until the process ends. Throws OperationError, with nothing left open. */
async function keep(settings: SettledSettings, log: Logger): Promise<void> {
  const { runDirectory } = settings;
  mkdirSync(runDirectory, { recursive: true, mode: 0o700 });
  if (settings.readyFile !== undefined) rmSync(settings.readyFile, { force: true }); // of the container before this one
  const path = join(runDirectory, 'keeper.sock');
  const bound = `${formatIpv4(settings.nodeIp)}:${settings.port}`;
  const readiness = openReadiness();
  const undo = [() => readiness.close()];
  try {
    const predecessor = await findPredecessor({ path, readiness, log });
    if (predecessor !== undefined) undo.unshift(() => predecessor.close());
    const isBoundAlike = predecessor?.bound === bound;
    const binding: Binding = {
      tunName: TUN_NAME,
      nodeIp: settings.nodeIp,
      port: settings.port,
      workers: settings.dataplaneWorkers ?? defaultWorkers(availableParallelism()),
    };
    const descriptors =
      predecessor === undefined
        ? openDescriptors(binding)
        : adoptDescriptors(predecessor.descriptors, { isBoundAlike, binding });
    undo.unshift(() => closeDescriptors(descriptors));
    const workers = descriptors.workers.length;
    // What they have is of an agent that is gone, and long out of date.
    if (predecessor === undefined) removeFiles(runDirectory, (name) => name.startsWith(IN_FLIGHT_FILE));

    const start = (held?: RoleListener): Roles => {
      // At each start: an agent of another version, which was in charge in between, removes files that it does not know.
      for (let worker = 0; worker < workers; worker++) {
        createSharedFile(join(runDirectory, statsFileOf(worker)), STATS_BYTES);
      }
      return startRoles({
        settings,
        tunName: TUN_NAME,
        descriptors,
        log,
        ...(held === undefined ? {} : { held }),
      });
    };
    let roles: Roles | undefined;
    let stopping: Stopping | undefined;
    const stop = (): Stopping | undefined => (stopping = roles?.stop());
    const succession = openSuccession({
      path,
      readiness,
      bound,
      version: VERSION,
      descriptors,
      offered: (version) =>
        log.info('hand_over_started', `Agent ${version} has started beside this one and warms up`, {
          version,
        }),
      async letGo(served) {
        await stop()?.dataplane;
        if (served < workers) leaveToFirst(descriptors);
        log.info('hand_over_finished', 'The new agent has taken over; this one waits to be stopped');
      },
      ended(hadTakenOver) {
        const what = hadTakenOver ? 'had taken over' : 'was to take over';
        log.warn(
          'hand_over_failed',
          `The agent that ${what} has ended; this one carries on: look in the log of the other one for why`,
        );
        if (!hadTakenOver) return;
        void stopping?.all.then(() => {
          reclaim(descriptors);
          claimOffloads(descriptors);
          roles = start();
        });
      },
    });
    undo.unshift(() => succession.close());
    stopOnSignal(async () => stop()?.all, log);
    if (predecessor === undefined) roles = start();
    else {
      roles = await takeOver({
        predecessor,
        descriptors,
        binding,
        start: (said) => (roles = start({ readiness, said })),
        log,
      });
    }
    const offloads = claimOffloads(descriptors);
    succession.inCharge();
    removeForeignStats(runDirectory);
    log.info('agent_started', `Keeping TUN "${TUN_NAME}" and UDP ${bound}`, {
      version: VERSION,
      node: settings.nodeName,
      offloads,
      workers,
    });
  } catch (error) {
    for (const step of undo) step();
    throw error;
  }
}

/** The agent that runs on this node; waits while it cannot answer for a hand-over of its own. */
async function findPredecessor(options: {
  path: string;
  readiness: Readiness;
  log: Logger;
}): Promise<Predecessor | undefined> {
  for (let said = false; ; said = true) {
    const found = await meetPredecessor({ ...options, version: VERSION, limitMs: PREDECESSOR_LIMIT_MS });
    if (found !== 'busy') return found;
    if (!said) {
      options.log.info(
        'hand_over_started',
        'Two agents of this node are about to hand over; waiting for them',
      );
    }
    await pause(BUSY_PAUSE_MS);
  }
}

/** Warms the roles up beside the predecessor, then has it let go and gives them their turn. */
async function takeOver({
  predecessor,
  descriptors,
  binding,
  start,
  log,
}: {
  predecessor: Predecessor;
  descriptors: HeldDescriptors;
  binding: Binding;
  start: (said: RoleListener['said']) => Roles;
  log: Logger;
}): Promise<Roles> {
  const { version } = predecessor;
  const workers = descriptors.workers.length;
  const fewer =
    binding.workers < workers ? `; its ${workers} data plane workers stay until an agent starts afresh` : '';
  log.info('hand_over_started', `Agent ${version} runs on this node; warming up beside it${fewer}`, {
    version,
    workers,
  });
  const warmUp = createWarmUp(workers, predecessor.gone);
  const roles = start(warmUp.said);
  await warmUp.done;
  const outcome = await predecessor.takeOver(PREDECESSOR_LIMIT_MS);
  putToUse(descriptors, { first: predecessor.descriptors.workers.length, binding, log });
  roles.release();
  log.info('hand_over_finished', `Took over from agent ${version}`, { version, outcome });
  return roles;
}

/** Where it fails this process ends, and with it its roles and its connection to the agent before, which goes on. */
function putToUse(
  descriptors: HeldDescriptors,
  { first, binding, log }: { first: number; binding: Binding; log: Logger },
): void {
  try {
    joinDescriptors(descriptors, first, binding);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    log.error(
      'hand_over_failed',
      `${reason}; the agent before carries on, and this one is started again: report this line where it goes on`,
      errorFields(error),
    );
    log.flush();
    process.exit(1);
  }
}

/** Counters of agents whose layout was another. */
function removeForeignStats(runDirectory: string): void {
  const own = new Set(Array.from({ length: MOST_WORKERS }, (_, worker) => statsFileOf(worker)));
  removeFiles(runDirectory, (name) => name.startsWith('dataplane.stats') && !own.has(name));
}

function removeFiles(directory: string, isMeant: (name: string) => boolean): void {
  for (const name of readdirSync(directory).filter(isMeant)) rmSync(join(directory, name), { force: true });
}

function stopOnSignal(stop: () => Promise<void>, log: Logger): void {
  let stopping = false;
  const end = (signal: NodeJS.Signals): void => {
    if (stopping) return;
    stopping = true;
    log.info('agent_stopping', `Stopping on ${signal}`, { signal });
    void stop().then(() => process.exit(0));
  };
  process.on('SIGTERM', end);
  process.on('SIGINT', end);
}

await main();
