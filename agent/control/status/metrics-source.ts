// What the metrics are made of: facts of control's parts, in the words of agent/telemetry. Owns nothing but what it knows of processes.
import { statSync } from 'node:fs';
import { join } from 'node:path';

import { blockCount, cidrSize } from '../../../proto/address.ts';
import { ADDRESS_BLOCKS, PEERS } from '../../../proto/api-kinds.ts';
import { pidsOf, readRoleStates, rolesPath } from '../../role-states.ts';
import type { NodeFault } from '../../../proto/node-report.ts';
import { readTunnelDrops } from '../../telemetry/kernel-counters.ts';
import type { Look, MetricsSource } from '../../telemetry/metrics.ts';
import type { Sample } from '../../telemetry/registry.ts';
import { type Processes, RoleUsageReader } from '../../telemetry/role-usage.ts';
import { problemsInWords } from '../cluster/problem-log.ts';
import { SNAPSHOT_FILE } from '../cluster/snapshot.ts';
import { TUN } from '../node/range-conflicts.ts';
import { TROUBLES, type Trouble } from '../trouble.ts';
import { blocksByNode } from './node-facts.ts';
import type { ObservationOptions } from './observation.ts';

export interface MetricsSourceOptions {
  readonly observation: ObservationOptions;
  readonly observed: () => Pick<Look, 'connections' | 'stats' | 'lossOf' | 'firewallRefusals'>;
  readonly terminations: () => number;
  readonly api: () => { readonly isConnected: boolean; readonly lastSyncAgeSeconds: number | undefined };
}

export function createMetricsSource({
  observation: options,
  observed,
  terminations,
  api,
}: MetricsSourceOptions): MetricsSource {
  const { settings, pool } = options;
  const usage = new RoleUsageReader();
  const roles = (): Look['roles'] => {
    const states = readRoleStates(rolesPath(settings.runDirectory));
    return { states, usage: usage.look(processesOf(states, usage)) };
  };
  return {
    version: options.version,
    look: () => ({
      nowMs: options.monotonicMs(),
      ...observed(),
      tunnelDrops: readTunnelDrops({ port: settings.port, tunName: TUN }),
      roles: roles(),
    }),
    terminations,
    isReady: () => options.notReady().length === 0,
    troubles: () => troubleStates(options.troubles()),
    faults: () => faultSamples(options.selfCheck().faults()),
    selfCheckAgeSeconds: () => options.selfCheck().ageSeconds(),
    clusterProblems: () => problemsInWords(options.view().problems).length,
    mtu: options.mtu,
    snapshotAgeSeconds: () => fileAgeSeconds(join(settings.stateDirectory, SNAPSHOT_FILE)),
    pool: () => ({
      ...pool.usage(),
      pendingAllocations: pool.pendingAllocations(),
      pendingClaims: options.link().claims()?.pendingClaims() ?? 0,
      reuseAgeSeconds: secondsOf(pool.reuseAgeMs()),
      isLogWritable: pool.logFailure() === undefined,
    }),
    ownBlocks: () => countStates(options.link().claims()?.state() ?? []),
    rangeBlocks() {
      const { held, freedBlocks } = options.view();
      const nowMs = options.viewMs();
      const quarantined = [...freedBlocks].filter(
        ([name, freedAtMs]) => !held.has(name) && nowMs - freedAtMs < settings.blockQuarantineMs,
      ).length;
      const all = blockCount(settings.range, settings.blockPrefixLength);
      return { held: held.size, quarantined, free: Math.max(0, all - held.size - quarantined) };
    },
    rangeAddresses: () => cidrSize(settings.range),
    addressesOf: (peer) =>
      (blocksByNode(options.view()).get(peer) ?? 0) * 2 ** (32 - settings.blockPrefixLength),
    api() {
      const states = options.link().reflectors();
      return {
        ...api(),
        watchAgesSeconds: {
          [PEERS]: secondsOf(states?.peers.watchAgeMs),
          [ADDRESS_BLOCKS]: secondsOf(states?.blocks.watchAgeMs),
        },
      };
    },
  };
}

const secondsOf = (milliseconds: number | undefined): number | undefined =>
  milliseconds === undefined ? undefined : milliseconds / 1000;

/** Every code, also those that are not so; codes of no list are errno names. */
function troubleStates(troubles: readonly Trouble[]): ReadonlyMap<string, boolean> {
  const codes = [...TROUBLES.map(([code]) => code), 'other'];
  const states = new Map<string, boolean>(codes.map((code) => [code, false]));
  for (const { code } of troubles) states.set(states.has(code) ? code : 'other', true);
  return states;
}

/** The keeper is our parent; what it started and does not name is the spare. */
function processesOf(states: Look['roles']['states'], usage: RoleUsageReader): Processes {
  const dataplane = states.find(({ role }) => role === 'dataplane');
  const workers = dataplane === undefined ? [] : pidsOf(dataplane);
  const named = new Set([process.pid, ...workers]);
  return {
    keeper: [process.ppid],
    control: [process.pid],
    dataplane: workers,
    spare: usage.childrenOf(process.ppid).filter((pid) => !named.has(pid)),
  };
}

function countStates(
  blocks: readonly { readonly state: string }[],
): Readonly<Record<'held' | 'fenced' | 'returning', number>> {
  const count = (state: string): number => blocks.filter((block) => block.state === state).length;
  return { held: count('held'), fenced: count('fenced'), returning: count('returning') };
}

function fileAgeSeconds(path: string): number | undefined {
  try {
    return Math.max(0, (Date.now() - statSync(path).mtimeMs) / 1000);
  } catch {
    return undefined;
  }
}

/** How many there are of each check and severity. */
function faultSamples(faults: readonly NodeFault[]): readonly Sample[] {
  const kinds = Map.groupBy(faults, ({ check, severity }) => `${check} ${severity}`);
  return [...kinds.values()].flatMap((some) =>
    some.slice(0, 1).map(({ check, severity }): Sample => [{ check, severity }, some.length]),
  );
}
