// Control, put together: restores what is known from disk and kernel, serves CNI requests, keeps the node's network, and follows the API. What
// it opened is undone by `opened`, in reverse.
import { flushCompileCache } from 'node:module';
import { join } from 'node:path';

import { type Ipv4, formatCidr, formatIpv4 } from '../../proto/address.ts';
import { PROBE_INTERVAL_MS } from '../../proto/probe.ts';
import { userAgent } from '../kube/api-client.ts';
import type { ApiEndpoint } from '../kube/api-endpoint.ts';
import { systemClock } from '../kube/clock.ts';
import { openClusterEndpoint } from '../kube/endpoint-config.ts';
import { createHttpClient } from '../kube/http.ts';
import { sendText } from '../linux/channel.ts';
import { cpuTimeMs } from '../linux/cpu-time.ts';
import { monotonicMs } from '../linux/monotonic-clock.ts';
import { openReadiness } from '../linux/readiness.ts';
import { underlayOf } from '../linux/underlay.ts';
import { OperationError } from '../operation-error.ts';
import { anotherAgentServes, requireUsableNode } from '../preflight.ts';
import { isDown, readRoleStates, rolesPath } from '../role-states.ts';
import { type Settings } from '../settings.ts';
import { type Logger } from '../telemetry/logger.ts';
import { VERSION } from '../version.ts';
import { type ClusterLink, startClusterLink } from './cluster/cluster-link.ts';
import { SILENCE_MS } from './cluster/settling.ts';
import { createClusterView } from './cluster/cluster-view.ts';
import { createPeerLog } from './cluster/peer-log.ts';
import { requireFreeOfServices } from './cluster/service-ranges.ts';
import { createConfigurationKeeper } from './cni/configuration-keeper.ts';
import { type CniService, startCniService } from './cni/cni-service.ts';
import { createDeviceMtu } from './node/device-mtu.ts';
import { createForwardingPublisher } from './node/forwarding.ts';
import { openNetworkWatch } from './node/network-watch.ts';
import { openNodeNetwork } from './node/node-network.ts';
import { createNodeUpkeep } from './node/node-upkeep.ts';
import { createRequestLog } from './status/request-log.ts';
import { createReadiness } from './status/readiness.ts';
import { type RecentEvents } from './status/recent-events.ts';
import { IdleCollection } from './idle-collection.ts';
import { collisions, fencedBlocks, missingWorkers } from './node-troubles.ts';
import { runDoctor } from './status/doctor-run.ts';
import { createObservation } from './status/observation.ts';
import { openPodLinks } from './node/pod-links.ts';
import { type RefusalReport } from './refusal-report.ts';
import { loadSnapshot, openPool, tellAllocations } from './restore.ts';
import { openStateIdentity } from './state-identity.ts';
import type { Snapshot } from './cluster/snapshot.ts';
import { createSnapshotHealth } from './cluster/snapshot-health.ts';
import { createSnapshotWriter } from './cluster/snapshot-writer.ts';
import { startSelfCheck } from './status/self-check.ts';
import { openStatusServer } from './status/status-server.ts';
import type { Trouble } from './trouble.ts';

const KEEPER_CHANNEL = 3;
/** Of the first worker; the others' follow. */
const DATAPLANE_CHANNEL = 4;

const NO_DATAPLANE = 'the data plane does not run; the log of the agent says why';
const ADDRESS_PATIENCE_MS = 5000;

export interface ServeOptions {
  readonly settings: Settings;
  readonly log: Logger;
  /** What was logged with `log`. */
  readonly recent: RecentEvents;
  /** What ends it, or undoes a start that failed. */
  readonly opened: AsyncDisposableStack;
  /** Of an earlier try; has the status address until it is ended. */
  readonly refusal: RefusalReport;
}

/** Resolves when it serves. Throws OperationError when it cannot. */
export async function serve({ settings, log, recent, opened, refusal }: ServeOptions): Promise<void> {
  const { nodeIp, mtu } = requireUsableNode(settings, process.env);
  const deviceMtu = createDeviceMtu({
    setting: settings.mtu,
    mtu,
    underlay: () => underlayOf(nodeIp),
    log,
  });
  const endpoint = createEndpointReader();
  const clock = systemClock;
  const random = Math.random;
  if (anotherAgentServes(settings.stateDirectory)) await requireFreeOfServices(settings.range, endpoint);
  const links = podLinks();
  const network = nodeNetwork();
  let poolChanged = (): void => undefined; // until there are claims, which start with a look at the pool
  const pool = await openPool({
    settings,
    links,
    log,
    changed: () => poolChanged(),
    waiting: () => void sendText(KEEPER_CHANNEL, 'waiting'),
  });
  opened.defer(() => pool.closed());
  const snapshot = await loadSnapshot(settings, log); // not before: another agent of the node may still have written it
  const stateId = await openStateIdentity(settings, log);
  tellAllocations({ settings, stateId, pool, snapshot, log });
  const peerLog = createPeerLog({ nodeName: settings.nodeName, known: snapshot?.peers, log });
  let nodeUid = snapshot?.nodeUid;
  let cni: CniService | undefined;

  const view = createClusterView({
    nodeName: settings.nodeName,
    range: settings.range,
    blockPrefixLength: settings.blockPrefixLength,
    clock,
    defer: setImmediate,
    onChange: (current) => {
      peerLog.tell(current);
      link.viewChanged();
      upkeep.changed();
      save();
    },
    ...(snapshot === undefined ? {} : { snapshot }),
  });
  const snapshotHealth = createSnapshotHealth(log);
  const writer = createSnapshotWriter({
    directory: settings.stateDirectory,
    clock,
    failed: (error) => snapshotHealth.failed(error),
    written: () => snapshotHealth.written(),
  });
  opened.defer(() => writer.close());
  const takeSnapshot = (): Snapshot => ({
    nodeName: settings.nodeName,
    range: formatCidr(settings.range),
    blockPrefixLength: settings.blockPrefixLength,
    vni: settings.vni,
    ...(nodeUid === undefined ? {} : { nodeUid }),
    ...view.takeSnapshot((name) => link.claims()?.isGivenBack(name) !== true),
  });
  const save = (): void => writer.save(takeSnapshot);

  const link: ClusterLink = startClusterLink({
    settings,
    nodeIp,
    version: VERSION,
    nodeUid,
    stateId,
    view,
    pool,
    clock,
    random,
    log,
    connect: async (told) =>
      createHttpClient({ endpoint: await endpoint(), userAgent: userAgent(VERSION), ...told }),
    requested: (request) => observation.counters.apiRequest(request),
    transferred: (part) => observation.counters.apiTransferred(part),
    claimed: (attempt) => observation.counters.blockClaimed(attempt),
    saved() {
      save();
      return writer.flush();
    },
    relisted: (resource) => observation.counters.apiRelisted(resource),
    changed() {
      nodeUid = link.identity()?.nodeUid ?? nodeUid;
      upkeep.changed();
      save();
    },
    replaced(uid) {
      log.warn(
        'agent_stopping',
        `Node "${settings.nodeName}" was deleted and created again: starting anew with its new identity; nothing is to be done`,
      );
      nodeUid = uid;
      // Versions of another cluster's history would make this one's lists look stale.
      writer.save(() => ({ ...takeSnapshot(), resourceVersions: {} }));
      void writer.close().then(() => process.exit(0));
    },
  });
  opened.defer(() => link.stop());
  poolChanged = () => link.poolChanged();
  const rangeConflict = (): string | undefined => {
    const conflict = link.serviceConflict();
    return conflict instanceof OperationError ? conflict.message : undefined;
  };
  const blocked = (): string | undefined => {
    if (cni === undefined) return 'the agent is starting';
    return cni.blocked() ?? (isDown(settings.runDirectory, 'dataplane') ? NO_DATAPLANE : undefined);
  };
  const troubles = (): readonly Trouble[] => {
    const conflict = link.serviceConflict();
    return [
      ...(conflict instanceof OperationError ? [conflict] : []),
      ...upkeep.troubles(),
      ...[
        configuration.trouble(),
        snapshotHealth.trouble(),
        pool.logFailure(),
        observation.silentPeers(),
        missingWorkers(readRoleStates(rolesPath(settings.runDirectory))),
      ].filter((trouble) => trouble !== undefined),
      ...link.troubles(),
      ...fencedBlocks(link.claims()?.state() ?? []),
      ...collisions(view.current(), settings.nodeName),
    ];
  };
  const ready = createReadiness({ blocked, file: settings.readyFile, log });
  const observation = createObservation({
    settings,
    version: VERSION,
    nodeAddress: formatIpv4(nodeIp),
    mtu: () => deviceMtu.current(),
    pool,
    link: () => link,
    view: () => view.current(),
    gateway: () => textOf(upkeep.gateway()),
    notReady: () => [blocked()].filter((reason) => reason !== undefined),
    configurationTrouble: () => configuration.trouble(),
    selfCheck: () => selfCheck,
    troubles,
    log,
    recent,
    environment: process.env,
    monotonicMs: () => Math.floor(monotonicMs()),
    viewMs: () => clock.now(),
    wallMs: Date.now,
  });
  opened.defer(() => observation.close());
  const selfCheck = startSelfCheck({
    intervalMs: settings.selfCheckMs,
    clock,
    examine: () => runDoctor(process.env),
    log,
  });
  opened.defer(() => selfCheck.close());
  /** The first look of this process is done; after a restart that takes as long as a pod takes to come. */
  const networkMade = Promise.withResolvers<void>();
  opened.defer(clock.setTimer(SILENCE_MS, networkMade.resolve));
  const upkeep = createNodeUpkeep({
    settings,
    nodeIp,
    mtu: () => deviceMtu.look(),
    network,
    publisher: createForwardingPublisher({
      path: join(settings.runDirectory, 'forwarding-table'),
      channelFds: Array.from(
        { length: settings.dataplaneWorkers ?? 1 },
        (_, worker) => DATAPLANE_CHANNEL + worker,
      ),
    }),
    identity: () => link.identity(),
    blocks: () => link.blocks(),
    view: () => view.current(),
    // On a node that has nothing yet the API comes first: whether the range is free only it can tell.
    hold: () =>
      snapshot !== undefined
        ? undefined
        : link.serviceConflict() === 'unknown'
          ? 'the API has not been heard yet'
          : rangeConflict(),
    pods: () => pool.list(),
    clock,
    cpuTimeMs,
    random,
    log,
    repaired: (repairs) => observation.repaired(repairs),
    failed: (message) => observation.failed(message),
    done() {
      if (upkeep.gateway() !== undefined) networkMade.resolve();
      ready.settle();
      if (blocked() === undefined) configuration.ensure();
    },
  });
  opened.defer(() => upkeep.stop());
  const readiness = openReadiness();
  opened.defer(() => readiness.close());
  const watch = openNetworkWatch({
    readiness,
    clock,
    expected: () => network.expected(),
    disturbed: (disturbance) => upkeep.disturbed(disturbance),
  });
  opened.defer(() => watch.close());
  upkeep.changed();
  const configuration = createConfigurationKeeper(settings, log);

  const idleCollection = new IdleCollection({ clock, collect: () => globalThis.gc?.() });

  await refusal.end();
  const statusServer = await openStatusServer({
    source: observation,
    status: settings.statusAddress,
    metrics: settings.metricsAddress,
    failed: createRequestLog(log),
    patienceMs: ADDRESS_PATIENCE_MS,
  });
  opened.defer(() => statusServer.close());
  const [statusAt, metricsAt] = [settings.statusAddress, settings.metricsAddress].map(
    ({ host, port }) => `${host}:${port}`,
  );
  log.info('status_listening', `Status at http://${statusAt}/status, metrics at http://${metricsAt}/metrics`);
  const service = await startCniService({
    settings,
    pool,
    links,
    readiness,
    settled: () => Promise.all([link.settled(), networkMade.promise]),
    node: {
      gateway: () => upkeep.gateway(),
      mtu: () => deviceMtu.current(),
      blocked: () => upkeep.blocked() ?? rangeConflict(),
      limited: () => (isDown(settings.runDirectory, 'dataplane') ? NO_DATAPLANE : undefined),
    },
    log,
    repaired: (repairs) => observation.repaired(repairs),
    stepped: (taken) => observation.counters.cniStepped(taken),
    observe({ command, error }, seconds) {
      idleCollection.used();
      observation.counters.cniOperation({
        verb: command,
        outcome: error === undefined ? 'ok' : String(error.code),
        seconds,
      });
    },
  });
  opened.defer(() => service.close());
  cni = service;
  ready.settle();
  if (blocked() === undefined) configuration.ensure();
  const looking = setInterval(() => {
    observation.look();
    ready.settle();
    link.events.tell(troubles());
  }, PROBE_INTERVAL_MS);
  opened.defer(() => clearInterval(looking));
  log.info('agent_started', `Control serves the pods of node "${settings.nodeName}"`, {
    version: VERSION,
    node: settings.nodeName,
    node_ip: formatIpv4(nodeIp),
    range: formatCidr(settings.range),
    mtu,
  });

  flushCompileCache(); // a process that is killed later would not
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

/** Opened by the first try that gets so far, and kept. */
function once<T>(open: () => T): () => T {
  let value: { readonly opened: T } | undefined;
  return () => (value ??= { opened: open() }).opened;
}

const podLinks = once(openPodLinks);
const nodeNetwork = once(() => openNodeNetwork(process.env['PATH'] ?? ''));

const textOf = (address: Ipv4 | undefined): string | undefined =>
  address === undefined ? undefined : formatIpv4(address);
