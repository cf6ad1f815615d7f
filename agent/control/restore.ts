// What control knows before it has asked anybody: settings held against the node, the snapshot, the allocation log.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

import { blockCidr, blockOf, formatCidr, formatIpv4 } from '../../proto/address.ts';
import { decodeAddressBlock, decodePeer } from '../../proto/api-decode.ts';
import { openAddressLog } from '../ipam/address-log.ts';
import { formatBlockName } from '../ipam/block-name.ts';
import { type KernelAttachment, type LoggedAddressPool, createAddressPool } from '../ipam/address-pool.ts';
import { systemClock } from '../kube/clock.ts';
import { ALLOCATION_LOG } from '../preflight.ts';
import type { Settings } from '../settings.ts';
import type { Logger } from '../telemetry/logger.ts';
import { kernelAttachments } from './cni/kernel-attachments.ts';
import type { PodLinks } from './node/pod-links.ts';
import { type Snapshot, readSnapshot } from './cluster/snapshot.ts';

const LOCK_INTERVAL_MS = 10;

/** Undefined when there is none that can be used; says why. */
export async function loadSnapshot(settings: Settings, log: Logger): Promise<Snapshot | undefined> {
  const snapshot = await readSnapshot({
    directory: settings.stateDirectory,
    owner: {
      nodeName: settings.nodeName,
      range: formatCidr(settings.range),
      blockPrefixLength: settings.blockPrefixLength,
    },
    decodePeer,
    decodeAddressBlock,
  });
  if (snapshot.ok) {
    const { peers, blocks } = snapshot.value;
    log.info('snapshot_loaded', `Last known: ${peers.length} peers and ${blocks.length} blocks`, {
      peers: peers.length,
      block_count: blocks.length,
    });
    return snapshot.value;
  }
  if (snapshot.reason !== 'missing') {
    log.warn(
      'snapshot_refused',
      `The last-known state is not used (${snapshot.reason}); the API tells it anew: nothing is to be done unless it happens at each start, then look at the disk`,
      {
        reason: snapshot.reason,
      },
    );
  }
  return undefined;
}

/** The pool over the log, rebuilt from the kernel where the log cannot be believed. Waits while another agent of this node has the log. */
export async function openPool(options: {
  settings: Settings;
  links: PodLinks;
  log: Logger;
  /** An address was taken or freed: another block may be wanted. */
  changed: () => void;
  /** Everything is ready but for the log, which another agent of this node has open. */
  waiting: () => void;
}): Promise<LoggedAddressPool> {
  const { settings, log } = options;
  const path = join(settings.stateDirectory, ALLOCATION_LOG);
  const opened = await openAddressLog({ path, locked: createTurn(log, options.waiting) });
  const isMissing = opened.content === undefined && !existsSync(path);
  const pool = createAddressPool({
    log: opened,
    bootId: readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim(),
    range: settings.range,
    changed: options.changed,
    clock: () => systemClock.now(),
    wallClock: Date.now,
    schedule: (delayMs, callback) => void systemClock.setTimer(delayMs, callback),
  });
  if (pool.voided > 0) {
    log.info('allocations_voided', `The node rebooted: ${pool.voided} earlier allocations are void`);
  }
  await restoreAllocations({ pool, found: kernelAttachments(options.links), isMissing, log });
  return pool;
}

/** Holds what the log gave against what the kernel has. */
export async function restoreAllocations({
  pool,
  found,
  isMissing,
  log,
}: {
  readonly pool: Pick<LoggedAddressPool, 'rebuildReason' | 'rebuild' | 'find' | 'list'>;
  readonly found: readonly KernelAttachment[];
  /** There never was a log. */
  readonly isMissing: boolean;
  readonly log: Pick<Logger, 'info' | 'warn'>;
}): Promise<void> {
  if (isMissing && found.length === 0) {
    log.info('allocations_loaded', 'First start on this node: there is no allocation log yet');
    await pool.rebuild([]);
    return;
  }
  if (pool.rebuildReason !== undefined) {
    const message = `Took ${found.length} allocations from the kernel: ${pool.rebuildReason}`;
    if (found.length === 0) log.info('allocations_rebuilt', message);
    else {
      log.warn(
        'allocations_rebuilt',
        `${message}. Nothing is to be done unless it happens again: then look at the disk`,
      );
    }
    await pool.rebuild(found);
    return;
  }
  const unknown = unknownAttachments(found, pool);
  if (unknown.length > 0) {
    log.warn(
      'allocations_rebuilt',
      `Took over ${unknown.length} pods that the allocation log does not know: ${unknown.map(({ address }) => formatIpv4(address)).join(', ')}. Was an older "${ALLOCATION_LOG}" put back? Leave that file to the agent`,
      { count: unknown.length },
    );
    await pool.rebuild(unknown);
  }
}

/** One line with the blocks of this node, as far as disk and kernel tell; nothing where there is none. */
export function tellAllocations(options: {
  settings: Pick<Settings, 'nodeName' | 'range' | 'blockPrefixLength'>;
  stateId: string;
  pool: Pick<LoggedAddressPool, 'list'>;
  snapshot: Snapshot | undefined;
  log: Pick<Logger, 'info'>;
}): void {
  const { settings, snapshot, stateId } = options;
  const { range, blockPrefixLength } = settings;
  const allocations = options.pool.list();
  const used = allocations.flatMap(({ address }) => {
    const index = blockOf(range, blockPrefixLength, address);
    return index === undefined ? [] : [formatBlockName(blockCidr(range, blockPrefixLength, index))];
  });
  const own = (snapshot?.blocks ?? []).filter(
    ({ spec }) => spec.node === settings.nodeName && (spec.stateId ?? stateId) === stateId,
  );
  const blocks = [...new Set([...own.map(({ metadata }) => metadata.name), ...used])];
  if (blocks.length === 0) return;
  const count = allocations.length;
  options.log.info(
    'allocations_loaded',
    `${count} ${count === 1 ? 'allocation' : 'allocations'} in ${blocks.length === 1 ? 'block' : 'blocks'} ${blocks.join(', ')}`,
    { count, blocks: blocks.join(' ') },
  );
}

/** Looks every few milliseconds whether the other agent has closed the log: nothing else tells, and pods cannot be attached until then. */
function createTurn(log: Logger, waiting: () => void): () => Promise<void> {
  let said = false;
  return async () => {
    if (!said) {
      log.info('hand_over_started', 'Another agent of this node is at work; waiting until it lets go');
      waiting();
    }
    said = true;
    await pause(LOCK_INTERVAL_MS);
  };
}

/**
 * Veths whose pods run without the log knowing: it is behind. What it says of an address counts only where the kernel has that pod's veth too;
 * of two veths with one address the first stays, the other is leak-watch.ts's.
 */
export function unknownAttachments(
  found: readonly KernelAttachment[],
  pool: Pick<LoggedAddressPool, 'find' | 'list'>,
): readonly KernelAttachment[] {
  const isKnown = (veth: KernelAttachment): boolean => pool.find(veth)?.address === veth.address;
  const taken = new Set(found.filter(isKnown).map(({ address }) => address));
  return found.filter((veth) => {
    if (taken.has(veth.address)) return false;
    taken.add(veth.address);
    return true;
  });
}
