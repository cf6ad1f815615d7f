// Control: the composition root. Restores what is known from disk and kernel, serves CNI requests, keeps the node's network, and follows
// the API. Started by the keeper with the data plane's control channel as descriptor 3; ends when its standard input does.
import { flushCompileCache } from 'node:module';
import { join } from 'node:path';

import { type Ipv4, formatCidr, formatIpv4 } from '../../proto/address.ts';
import { PROBE_INTERVAL_MS } from '../../proto/probe.ts';
import type { ApiEndpoint } from '../kube/api-endpoint.ts';
import { systemClock } from '../kube/clock.ts';
import { openClusterEndpoint } from '../kube/endpoint-config.ts';
import { findNodeAddress } from '../linux/node-address.ts';
import { underlayOf } from '../linux/underlay.ts';
import { OperationError } from '../operation-error.ts';
import { type Settings, parseSettings } from '../settings.ts';
import { type Logger, createLogger, errorFields } from '../telemetry/logger.ts';
import { VERSION } from '../version.ts';
import { type ClusterLink, startClusterLink } from './cluster/cluster-link.ts';
import { createClusterView } from './cluster/cluster-view.ts';
import { createConfigurationKeeper } from './cni/configuration-keeper.ts';
import { type CniService, startCniService } from './cni/cni-service.ts';
import { createForwardingPublisher } from './node/forwarding.ts';
import { openNodeNetwork } from './node/node-network.ts';
import { createNodeUpkeep } from './node/node-upkeep.ts';
import { createObservation } from './status/observation.ts';
import { openPodLinks } from './node/pod-links.ts';
import { loadSnapshot, openPool, podMtu } from './restore.ts';
import type { Snapshot } from './cluster/snapshot.ts';
import { createSnapshotWriter } from './cluster/snapshot-writer.ts';
import { openStatusServer } from './status/status-server.ts';

const DATAPLANE_CHANNEL = 3;

async function main(): Promise<void> {
  const settings = parseSettings(process.env);
  const log = createLogger({ role: 'control', level: settings.logLevel, format: settings.logFormat });
  process.on('uncaughtException', (error) => {
    log.error('agent_failed', `A bug ended control: ${error.message}`, {
      ...errorFields(error),
      stack: error.stack,
    });
    process.exit(1);
  });
  try {
    await control(settings, log);
  } catch (error) {
    if (!(error instanceof OperationError)) throw error;
    log.error('agent_refused_to_start', error.message, errorFields(error));
    process.exit(1);
  }
}

async function control(settings: Settings, log: Logger): Promise<void> {
  const endpoint = createEndpointReader();
  const clock = systemClock;
  const random = Math.random;
  const nodeIp = settings.nodeIp ?? findNodeAddress();
  const mtu = podMtu(settings, underlayOf(nodeIp));
  const snapshot = await loadSnapshot(settings, log);
  const links = openPodLinks();
  let poolChanged = (): void => undefined; // until there are claims, which start with a look at the pool
  const pool = await openPool({ settings, links, log, changed: () => poolChanged() });
  let nodeUid = snapshot?.nodeUid;
  let cni: CniService | undefined;

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
    endpoint,
    requested: (request) => observation.counters.apiRequest(request),
    relisted: (resource) => observation.counters.apiRelisted(resource),
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
      // Versions of another cluster's history would make this one's lists look stale.
      writer.save(() => ({ ...takeSnapshot(), resourceVersions: {} }));
      void writer.close().then(() => process.exit(0));
    },
  });
  poolChanged = () => link.wake();
  const blocked = (): string | undefined => (cni === undefined ? 'the agent is starting' : cni.blocked());
  const ready = createReadiness(() => blocked() === undefined, log);
  const observation = createObservation({
    settings,
    version: VERSION,
    nodeAddress: formatIpv4(nodeIp),
    mtu,
    pool,
    link: () => link,
    view: () => view.current(),
    gateway: () => textOf(upkeep.gateway()),
    notReady: () => [blocked()].filter((reason) => reason !== undefined),
    log,
    monotonicMs: () => Number(process.hrtime.bigint() / 1_000_000n),
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
    repaired: (words) => observation.repaired(words),
    failed: (message) => observation.failed(message),
    done() {
      ready.settle();
      if (blocked() === undefined) configuration();
    },
  });
  upkeep.changed();
  const configuration = createConfigurationKeeper(settings, log);

  const statusServer = await openStatusServer({
    source: observation,
    status: settings.statusAddress,
    metrics: settings.metricsAddress,
    failed: (path, error) => log.warn('status_failed', `Cannot answer ${path}`, errorFields(error)),
  });
  cni = await startCniService({
    settings,
    pool,
    links,
    node: { gateway: () => upkeep.gateway(), mtu: () => mtu, blocked: () => upkeep.blocked() },
    log,
    repaired: (words) => observation.repaired(words),
    observe: ({ command, error }, seconds) =>
      observation.counters.cniOperation({
        verb: command,
        outcome: error === undefined ? 'ok' : String(error.code),
        seconds,
      }),
  });
  ready.settle();
  if (blocked() === undefined) configuration();
  const looking = setInterval(() => observation.look(), PROBE_INTERVAL_MS);
  log.info('agent_started', `Control serves the pods of node "${settings.nodeName}"`, {
    version: VERSION,
    node: settings.nodeName,
    node_ip: formatIpv4(nodeIp),
    range: formatCidr(settings.range),
    mtu,
  });

  flushCompileCache(); // a process that is killed later would not
  stopOnEnd(async () => {
    clearInterval(looking);
    await cni?.close();
    await statusServer.close();
    await link.stop();
    upkeep.stop();
    await writer.close();
    await pool.closed();
    log.flush();
  });
}

/** The first reading takes half a second, so it starts now, beside everything else; later ones read anew. */
function createEndpointReader(): () => Promise<ApiEndpoint> {
  const read = (): Promise<ApiEndpoint> => openClusterEndpoint({ environment: process.env });
  let first: Promise<ApiEndpoint> | undefined = read();
  first.catch(() => undefined); // told to the one who asks
  return () => {
    const answer = first ?? read();
    first = undefined;
    return answer;
  };
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

const textOf = (address: Ipv4 | undefined): string | undefined =>
  address === undefined ? undefined : formatIpv4(address);

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
