// The two roles of an agent, started with the keeper's descriptors: control and the data plane's workers with their warm spare, a channel
// from control to each worker, and what is told of them to status pages and metrics (role-states.ts).
import { join } from 'node:path';

import { formatIpv4 } from '../proto/address.ts';
import type { HeldDescriptors } from './held-descriptors.ts';
import { openChannel } from './linux/channel.ts';
import { libc } from './linux/libc.ts';
import { type RoleListener, createRole } from './role.ts';
import { type RoleState, rolesPath, writeRoleStates } from './role-states.ts';
import { codeOf } from './operation-error.ts';
import type { Settings } from './settings.ts';
import { type Logger, errorFields } from './telemetry/logger.ts';
import { LastingFailure } from './telemetry/told-once.ts';

const STOP_LIMIT_MS = 1500;

const controlMain = join(import.meta.dirname, 'control/main.ts');
const dataplaneMain = join(import.meta.dirname, 'dataplane/main.ts');

export interface Roles {
  /** Gives the data plane its turns, where it was held. */
  release(): void;
  /** What is not handed on waits in the descriptors' queues. */
  stop(): Stopping;
}

export interface Stopping {
  /** Resolves when the data plane has ended: another one may use the descriptors. */
  readonly dataplane: Promise<void>;
  /** Resolves when all processes have. */
  readonly all: Promise<void>;
}

export interface RolesOptions {
  readonly settings: Settings & { readonly nodeIp: NonNullable<Settings['nodeIp']> };
  readonly tunName: string;
  readonly descriptors: HeldDescriptors;
  readonly log: Logger;
  /** The data plane gets no turns before release(): an agent before this one has them. Told of what the processes say. */
  readonly held?: RoleListener;
}

export function startRoles({ settings, tunName, descriptors, log, held }: RolesOptions): Roles {
  const { workers, send } = descriptors;
  const channels = workers.map(() => openChannel());
  const environment = {
    ...process.env,
    WEFT_NODE_IP: formatIpv4(settings.nodeIp),
    WEFT_TUN_NAME: tunName,
    WEFT_DATAPLANE_WORKERS: String(workers.length), // of a number that was taken over, too
    // Stripped and compiled sources are kept: a role starts in a third of the time and 30 MB smaller (without the type stripper).
    NODE_COMPILE_CACHE: process.env['NODE_COMPILE_CACHE'] ?? join(settings.stateDirectory, 'compile-cache'),
  };
  const states = new Map<string, RoleState>();
  const writing = new LastingFailure();
  let isHeld = held !== undefined;
  const changed = (state: RoleState): void => {
    states.set(state.role, state);
    if (isHeld) return; // the file is the other agent's
    try {
      writeRoleStates(rolesPath(settings.runDirectory), [...states.values()]);
      writing.isOver();
    } catch (error) {
      // Only status pages and metrics read it: no reason to take the pods' network down.
      if (!writing.isNews(codeOf(error))) return;
      log.warn(
        'status_failed',
        `Cannot write "${rolesPath(settings.runDirectory)}": status and metrics show old roles; free space there or make it writable`,
        errorFields(error),
      );
    }
  };
  const shared = { environment, log, changed, listener: held };
  const control = createRole({
    ...shared,
    name: 'control',
    script: controlMain,
    // Garbage is collected early. With the default of the first, 16 MB, control has 100 MB more after 2,000 pods that came and went. Without
    // the second the old objects may grow to more than twice what is alive, so memory creeps up for thousands of pods before it stays; with
    // 5,000 peers it costs half a second of processor time more at the start, and control is 20 MB smaller.
    nodeOptions: ['--max-semi-space-size=1', '--heap-growing-percent=25', '--expose-gc'],
    descriptors: (channel) => [channel, ...channels.map(([controlEnd]) => controlEnd)],
    spares: 0, // nor held: it waits by itself, for the allocation log
  });
  const inherited = workers.map(({ tun, receive }, index) => [channels[index]?.[1] ?? -1, tun, receive]); // as many channels
  const dataplane = createRole({
    ...shared,
    name: 'dataplane',
    script: dataplaneMain,
    // A worker's own come where those of the first are (dataplane/main.ts).
    descriptors: (channel) => [
      channel,
      ...inherited.slice(0, 1).flat(),
      ...send,
      ...inherited.slice(1).flat(),
    ],
    turns: workers.length,
    spares: 1,
    held: isHeld,
  });
  return {
    release() {
      isHeld = false;
      dataplane.release();
    },
    stop() {
      const dataplaneEnded = dataplane.stop(STOP_LIMIT_MS);
      const all = Promise.all([dataplaneEnded, control.stop(STOP_LIMIT_MS)]).then(() => {
        for (const fd of channels.flat()) libc.close(fd);
      });
      return { dataplane: dataplaneEnded, all };
    },
  };
}
