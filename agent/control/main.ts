// Control: the composition root. Restores what is known from disk and kernel, serves CNI requests, keeps the node's network, and follows
// the API. Started by the keeper with the data plane's control channel as descriptor 3; ends when its standard input does.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { formatCidr, formatIpv4 } from '../../proto/address.ts';
import { decodeAddressBlock, decodePeer } from '../../proto/api-decode.ts';
import { MAX_DESCRIPTORS, requestBytes } from '../../proto/shim-codec.ts';
import { openAddressLog } from '../ipam/address-log.ts';
import { type LoggedAddressPool, createAddressPool } from '../ipam/address-pool.ts';
import { systemClock } from '../kube/clock.ts';
import { findNodeAddress } from '../linux/node-address.ts';
import { createPodDescriptorsCheck } from '../linux/pod-descriptors.ts';
import { openReadiness } from '../linux/readiness.ts';
import { underlayOf } from '../linux/underlay.ts';
import { openUnixListener } from '../linux/unix-listener.ts';
import { OperationError } from '../operation-error.ts';
import { type Settings, parseSettings } from '../settings.ts';
import { type Logger, createLogger, errorFields } from '../telemetry/logger.ts';
import { VERSION } from '../version.ts';
import { createAttachments } from './attachments.ts';
import { type ClusterLink, startClusterLink } from './cluster-link.ts';
import { createClusterView } from './cluster-view.ts';
import { createCniServer } from './cni-server.ts';
import { createForwardingPublisher } from './forwarding.ts';
import { kernelAttachments } from './kernel-attachments.ts';
import { openNodeNetwork } from './node-network.ts';
import { createNodeUpkeep } from './node-upkeep.ts';
import { type PodLinks, openPodLinks } from './pod-links.ts';
import { type Snapshot, readSnapshot } from './snapshot.ts';
import { createSnapshotWriter } from './snapshot-writer.ts';
import { createTombstones } from './tombstones.ts';

const DATAPLANE_CHANNEL = 3;
const ENCAPSULATION_BYTES = 50; // outer IPv4 20, UDP 8, VXLAN 8, inner Ethernet 14
const CNI_DEADLINE_MS = 60_000;

async function main(): Promise<void> {
  const settings = parseSettings(process.env);
  const log = createLogger({ role: 'control', level: settings.logLevel, format: settings.logFormat });
  try {
    await control(settings, log);
  } catch (error) {
    if (!(error instanceof OperationError)) throw error;
    log.error('agent_refused_to_start', error.message, errorFields(error));
    process.exit(1);
  }
}

async function control(settings: Settings, log: Logger): Promise<void> {
  const clock = systemClock;
  const random = Math.random;
  const nodeIp = settings.nodeIp ?? findNodeAddress();
  const mtu = podMtu(settings, underlayOf(nodeIp));
  const snapshot = await loadSnapshot(settings, log);
  const links = openPodLinks();
  const pool = await openPool({ settings, links, log });

  const view = createClusterView({
    nodeName: settings.nodeName,
    range: settings.range,
    blockPrefixLength: settings.blockPrefixLength,
    clock,
    defer: setImmediate,
    onChange: () => {
      link.wake();
      upkeep.changed();
      save();
    },
    ...(snapshot === undefined ? {} : { snapshot }),
  });
  const writer = createSnapshotWriter({
    directory: settings.stateDirectory,
    clock,
    failed: (error) => log.warn('snapshot_failed', error.message, errorFields(error)),
  });
  let nodeUid = snapshot?.nodeUid;
  const takeSnapshot = (): Snapshot => ({
    nodeName: settings.nodeName,
    range: formatCidr(settings.range),
    blockPrefixLength: settings.blockPrefixLength,
    vni: settings.vni,
    ...(nodeUid === undefined ? {} : { nodeUid }),
    ...view.takeSnapshot(),
  });
  const save = (): void => writer.save(takeSnapshot);

  const link: ClusterLink = startClusterLink({
    settings,
    nodeIp,
    version: VERSION,
    nodeUid,
    view,
    pool,
    clock,
    random,
    log,
    environment: process.env,
    changed() {
      nodeUid = link.identity()?.nodeUid ?? nodeUid;
      upkeep.changed();
      save();
    },
    replaced(uid) {
      log.warn(
        'agent_stopping',
        `Node "${settings.nodeName}" was deleted and created again: starting anew with its new identity`,
      );
      nodeUid = uid;
      save();
      void writer.close().then(() => process.exit(0));
    },
  });
  const upkeep = createNodeUpkeep({
    settings,
    nodeIp,
    mtu,
    network: openNodeNetwork(process.env['PATH'] ?? ''),
    publisher: createForwardingPublisher({
      path: join(settings.runDirectory, 'forwarding-table'),
      channelFd: DATAPLANE_CHANNEL,
    }),
    identity: () => link.identity(),
    blocks: () => link.blocks(),
    view: () => view.current(),
    clock,
    random,
    log,
    repaired: () => undefined,
    done: () => ready.settle(),
  });
  upkeep.changed();

  const ready = createReadiness(() => cni.blocked() === undefined, log);
  const { server, handler: cni } = createCni({ pool, links, upkeep, mtu, log });
  const tombstones = createTombstones({
    directory: join(settings.stateDirectory, 'tombstones'),
    answer: server.answer,
    failed: (file, reason) =>
      log.warn('cni_refused', `Cannot replay the deletion in "${file}": ${reason}`, { reason }),
  });
  const replayed = await tombstones.replay();
  if (replayed > 0)
    log.info('tombstone_replayed', `Carried out ${replayed} pod deletions that happened meanwhile`);
  const readiness = openReadiness();
  const listener = openUnixListener({
    path: join(settings.runDirectory, 'cni.sock'),
    readiness,
    messageBytes: requestBytes,
    maxDescriptors: MAX_DESCRIPTORS,
    deadlineMs: CNI_DEADLINE_MS,
    handle: async (message) => {
      const reply = await server.answer(message);
      link.wake(); // the pool may need another block
      return reply;
    },
    refuse: (reason) => server.refuse(reason),
  });
  log.info(
    'agent_started',
    `Control of node "${settings.nodeName}" serves pods of ${formatCidr(settings.range)}`,
    {
      version: VERSION,
      node: settings.nodeName,
      node_ip: formatIpv4(nodeIp),
      mtu,
    },
  );

  stopOnEnd(async () => {
    await listener.close();
    await link.stop();
    upkeep.stop();
    await writer.close();
    await pool.closed();
    readiness.close();
    log.flush();
  });
}

function podMtu({ mtu }: Settings, underlay: { name: string; mtu: number }): number {
  const largest = underlay.mtu - ENCAPSULATION_BYTES;
  if (mtu !== undefined && mtu > largest) {
    throw new OperationError(
      `Cannot use WEAVE_MTU="${mtu}": interface "${underlay.name}" carries ${underlay.mtu} bytes, which leaves ${largest} for pods; write at most that, or leave it empty`,
      { code: 'SETTING_INVALID', context: { setting: 'WEAVE_MTU', value: mtu } },
    );
  }
  return mtu ?? largest;
}

async function loadSnapshot(settings: Settings, log: Logger): Promise<Snapshot | undefined> {
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

async function openPool(options: {
  settings: Settings;
  links: PodLinks;
  log: Logger;
}): Promise<LoggedAddressPool> {
  const { settings, log } = options;
  const pool = createAddressPool({
    log: await openAddressLog({ path: join(settings.stateDirectory, 'allocations.log') }),
    bootId: readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim(),
    range: settings.range,
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

function createCni(options: {
  pool: LoggedAddressPool;
  links: PodLinks;
  upkeep: ReturnType<typeof createNodeUpkeep>;
  mtu: number;
  log: Logger;
}): { server: ReturnType<typeof createCniServer>; handler: ReturnType<typeof createAttachments> } {
  const { pool, links, upkeep, mtu, log } = options;
  const handler = createAttachments({
    pool,
    links,
    node: { gateway: () => upkeep.gateway(), mtu: () => mtu, blocked: () => upkeep.blocked() },
    checkDescriptors: createPodDescriptorsCheck(),
    undoFailed: ({ containerId, interfaceName }, error) =>
      log.warn(
        'cni_failed',
        `Cannot undo a failed ADD of ${containerId}/${interfaceName}; it is cleaned up later`,
        errorFields(error),
      ),
  });
  const server = createCniServer({
    handler,
    observe({ command, containerId, interfaceName, podName, error }) {
      const fields = { command, container: containerId, interface: interfaceName, pod: podName };
      if (error !== undefined) {
        log.warn('cni_failed', `${command} failed: ${error.msg}`, { ...fields, code: error.code });
      } else if (command === 'ADD') log.debug('pod_attached', `Attached ${podName ?? containerId}`, fields);
      else if (command === 'DEL') log.debug('pod_detached', `Detached ${podName ?? containerId}`, fields);
    },
  });
  return { server, handler };
}

/** Says once when the node can attach pods, and once when it cannot any more. */
function createReadiness(isReady: () => boolean, log: Logger): { settle(): void } {
  let was = false;
  return {
    settle() {
      const now = isReady();
      if (now === was) return;
      was = now;
      if (now) log.info('agent_ready', 'Pods can be attached');
      else log.warn('agent_not_ready', 'Pods cannot be attached at the moment; see /status');
    },
  };
}

/** SIGTERM, or the keeper's end of standard input gone: then there is no data plane either. */
function stopOnEnd(stop: () => Promise<void>): void {
  let stopping = false;
  const end = (): void => {
    if (stopping) return;
    stopping = true;
    void stop().then(() => process.exit(0));
  };
  process.on('SIGTERM', end);
  process.on('SIGINT', end);
  process.stdin.on('end', end).on('error', end).resume();
}

await main();
