// What control knows before it has asked anybody: settings held against the node, the snapshot, the allocation log.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { formatCidr } from '../../proto/address.ts';
import { decodeAddressBlock, decodePeer } from '../../proto/api-decode.ts';
import { openAddressLog } from '../ipam/address-log.ts';
import { type LoggedAddressPool, createAddressPool } from '../ipam/address-pool.ts';
import { systemClock } from '../kube/clock.ts';
import { OperationError } from '../operation-error.ts';
import type { Settings } from '../settings.ts';
import type { Logger } from '../telemetry/logger.ts';
import { kernelAttachments } from './cni/kernel-attachments.ts';
import type { PodLinks } from './node/pod-links.ts';
import { type Snapshot, readSnapshot } from './cluster/snapshot.ts';

const ENCAPSULATION_BYTES = 50; // outer IPv4 20, UDP 8, VXLAN 8, inner Ethernet 14

/** MTU inside pods. Throws OperationError SETTING_INVALID when the underlay cannot carry what is set. */
export function podMtu({ mtu }: Settings, underlay: { name: string; mtu: number }): number {
  const largest = underlay.mtu - ENCAPSULATION_BYTES;
  if (mtu !== undefined && mtu > largest) {
    throw new OperationError(
      `Cannot use WEAVE_MTU="${mtu}": interface "${underlay.name}" carries ${underlay.mtu} bytes, which leaves ${largest} for pods; write at most that, or leave it empty`,
      { code: 'SETTING_INVALID', context: { setting: 'WEAVE_MTU', value: mtu } },
    );
  }
  return mtu ?? largest;
}

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
      blocks: blocks.length,
    });
    return snapshot.value;
  }
  if (snapshot.reason !== 'missing') {
    log.warn(
      'snapshot_refused',
      `The last-known state is not used (${snapshot.reason}); the API tells it anew`,
      {
        reason: snapshot.reason,
      },
    );
  }
  return undefined;
}

/** The pool over the log, rebuilt from the kernel where the log cannot be believed. Throws OperationError LOG_LOCKED. */
export async function openPool(options: {
  settings: Settings;
  links: PodLinks;
  log: Logger;
  /** An address was taken or freed: another block may be wanted. */
  changed: () => void;
}): Promise<LoggedAddressPool> {
  const { settings, log } = options;
  const pool = createAddressPool({
    log: await openAddressLog({ path: join(settings.stateDirectory, 'allocations.log') }),
    bootId: readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim(),
    range: settings.range,
    changed: options.changed,
    clock: () => systemClock.now(),
    schedule: (delayMs, callback) => void systemClock.setTimer(delayMs, callback),
  });
  if (pool.voided > 0) {
    log.info('allocations_voided', `The node rebooted: ${pool.voided} earlier allocations are void`);
  }
  if (pool.rebuildReason !== undefined) {
    const found = kernelAttachments(options.links);
    const level = found.length > 0 ? 'warn' : 'info';
    log[level](
      'allocations_rebuilt',
      `Took ${found.length} allocations from the kernel: ${pool.rebuildReason}`,
    );
    await pool.rebuild(found);
  }
  return pool;
}
