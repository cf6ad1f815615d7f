// What control tells about itself: the facts behind the status pages and the metrics, gathered from its parts when somebody asks.
// Owns nothing but the connection tracker, the counts of repairs and the last error.
import { statSync } from 'node:fs';
import { join } from 'node:path';

import { type Cidr, cidrSize, formatCidr, formatIpv4, formatMac } from '../../../proto/address.ts';
import { blockCount } from '../../../proto/address.ts';
import { NO_PEER_ROW, SELF_ROW } from '../../../proto/dataplane-stats.ts';
import { PROBE_INTERVAL_MS } from '../../../proto/probe.ts';
import type { LoggedAddressPool } from '../../ipam/address-pool.ts';
import { readRoleStates, rolesPath } from '../../role-states.ts';
import type { Settings } from '../../settings.ts';
import { type Logger, errorFields } from '../../telemetry/logger.ts';
import { type Metrics, createMetrics } from '../../telemetry/metrics.ts';
import { type FirewallRefusals, refusalTotals } from '../../telemetry/refusal-totals.ts';
import {
  type Connection,
  type ConnectionPeer,
  type StatsSnapshot,
  createConnectionTracker,
  peerRow,
  readStats,
} from '../../telemetry/stats-reader.ts';
import type { ClusterLink } from '../cluster/cluster-link.ts';
import type { ClusterView } from '../cluster/cluster-view.ts';
import { openFirewallCounters } from '../node/firewall-counters.ts';
import { SNAPSHOT_FILE } from '../cluster/snapshot.ts';
import type { Trouble } from '../trouble.ts';
import { createPathMtuLog } from './path-mtu-log.ts';
import type { IpamFacts, PeerStatus, NodeReport } from '../../../proto/node-report.ts';
import type { StatusSource } from './status-server.ts';

export interface ObservationOptions {
  readonly settings: Settings;
  readonly version: string;
  readonly nodeAddress: string;
  /** Inside new pods. */
  readonly mtu: () => number;
  readonly pool: LoggedAddressPool;
  readonly link: () => ClusterLink;
  readonly view: () => ClusterView;
  readonly gateway: () => string | undefined;
  /** Why pods cannot be attached; empty = ready. */
  readonly notReady: () => readonly string[];
  /** What keeps the runtime from using Weft's CNI configuration. */
  readonly configurationTrouble: () => Trouble | undefined;
  readonly log: Logger;
  /** CLOCK_MONOTONIC milliseconds, as the data plane's gauges have it. */
  readonly monotonicMs: () => number;
}

export interface Observation extends StatusSource {
  readonly counters: Pick<Metrics, 'cniOperation' | 'apiRequest' | 'apiRelisted'>;
  repaired(words: readonly string[]): void;
  failed(message: string): void;
  /** To be called each probe interval: connections that change in between are noticed then. */
  look(): void;
  close(): void;
}

export function createObservation(options: ObservationOptions): Observation {
  const { settings, pool, monotonicMs, log } = options;
  let repairs = 0;
  let lastRepair: Timed | undefined;
  let lastError: Timed | undefined;

  const tracker = createConnectionTracker({
    probeIntervalMs: PROBE_INTERVAL_MS,
    changed: ({ name, state }) => {
      if (state === 'established')
        log.info('connection_established', `Peer "${name}" answers`, { peer: name });
      if (state === 'failed') {
        log.warn(
          'connection_failed',
          `Peer "${name}" has stopped answering: check that the node is up and that UDP ${settings.port} is open between the nodes`,
          { peer: name },
        );
      }
    },
  });

  const pathMtuLog = createPathMtuLog(log);

  const stats = (): StatsSnapshot | undefined => {
    return readStats({
      runDirectory: settings.runDirectory,
      highestSlot: peersOf(options.view()).reduce((highest, { slot }) => Math.max(highest, slot), 0),
      workers: settings.dataplaneWorkers ?? 1,
    });
  };
  const firewallCounters = openFirewallCounters();
  const firewallRefusals = (): FirewallRefusals => {
    try {
      return firewallCounters.read();
    } catch (error) {
      log.warn('status_failed', 'Cannot count the packets that nftables refused', errorFields(error));
      return new Map();
    }
  };
  const observe = (): readonly Connection[] => {
    const snapshot = stats();
    if (snapshot === undefined) return tracker.current();
    const connections = tracker.observe(peersOf(options.view()), snapshot, monotonicMs());
    pathMtuLog.tell(connections, options.mtu());
    return connections;
  };
  const api = (): { isConnected: boolean; lastSyncAgeSeconds: number | undefined } => {
    const states = Object.values(options.link().reflectors() ?? {});
    const ages = states.map(({ lastSyncAgeMs }) => lastSyncAgeMs);
    return {
      isConnected: states.length > 0 && states.every(({ phase, synced }) => synced && phase === 'watching'),
      lastSyncAgeSeconds:
        ages.includes(undefined) || ages.length === 0 ? undefined : Math.max(...ages.map(Number)) / 1000,
    };
  };
  const roles = (): ReturnType<typeof readRoleStates> => readRoleStates(rolesPath(settings.runDirectory));
  const blocksOf = (node: string): number =>
    [...options.view().held.values()].filter((block) => block.node === node).length;

  const metrics = createMetrics({
    version: options.version,
    connections: observe,
    terminations: () => tracker.terminations(),
    isEncrypted: () => false,
    stats,
    firewallRefusals,
    pool: () => ({
      ...pool.usage(),
      pendingAllocations: pool.pendingAllocations(),
      pendingClaims: options.link().claims()?.pendingClaims() ?? 0,
    }),
    ownBlocks: () => countStates(options.link().claims()?.state() ?? []),
    rangeAddresses: () => cidrSize(settings.range),
    addressesOf: (peer) => blocksOf(peer) * 2 ** (32 - settings.blockPrefixLength),
    api,
    snapshotAgeSeconds: () => fileAgeSeconds(join(settings.stateDirectory, SNAPSHOT_FILE)),
    roleRestarts: () => Object.fromEntries(roles().map(({ role, restarts }) => [role, restarts])),
  });

  const facts = (): NodeReport => {
    const nowMs = monotonicMs();
    const view = options.view();
    const identity = options.link().identity();
    const snapshot = stats();
    const peerRows = [...view.reachable.values()].map(({ slot }) => peerRow(slot));
    const refusals = {
      stats: snapshot,
      rows: [NO_PEER_ROW, SELF_ROW, ...peerRows],
      firewall: firewallRefusals(),
    };
    const startedMs = snapshot?.process('started_ms') ?? 0;
    const aged = (timed: Timed | undefined): { text: string; ageSeconds: number } | undefined =>
      timed && { text: timed.text, ageSeconds: (nowMs - timed.atMs) / 1000 };
    return {
      version: options.version,
      node: {
        name: settings.nodeName,
        uid: identity?.nodeUid,
        address: options.nodeAddress,
        port: settings.port,
        vtepMac: identity && formatMac(identity.vtepMac),
      },
      notReady: options.notReady(),
      api: { ...api(), source: view.source },
      network: {
        range: formatCidr(settings.range),
        blockPrefixLength: settings.blockPrefixLength,
        gateway: options.gateway(),
        mtu: options.mtu(),
        masquerade: settings.masquerade,
      },
      ipam: ipamFacts(options, view),
      peers: peerStatuses({ view, connections: observe(), snapshot, nowMs }),
      dataplane: {
        processId: snapshot?.process('process_id') ?? 0,
        generation: snapshot?.process('generation') ?? 0,
        upSeconds: startedMs === 0 ? undefined : (nowMs - startedMs) / 1000,
      },
      drops: Object.fromEntries([...refusalTotals(refusals)].filter(([, count]) => count > 0)),
      roles: roles(),
      repairs: { count: repairs, last: aged(lastRepair) },
      lastError: aged(lastError),
      problems: [
        ...[options.configurationTrouble()?.message].filter((message) => message !== undefined),
        ...options
          .link()
          .troubles()
          .map(({ message }) => message),
        ...view.problems.map(({ text }) => text),
      ],
    };
  };

  return {
    facts,
    metrics: async () => ({ contentType: metrics.contentType, text: await metrics.render() }),
    counters: metrics,
    repaired(words) {
      repairs += words.length;
      lastRepair = { text: words.join('; '), atMs: monotonicMs() };
      for (const word of words) metrics.repaired(repairedObject(word));
    },
    failed(message) {
      lastError = { text: message, atMs: monotonicMs() };
    },
    look: () => void observe(),
    close: () => firewallCounters.close(),
  };
}

/** Views are replaced, not changed: what was made of one is remembered with it. */
const peersOfView = new WeakMap<ClusterView, readonly ConnectionPeer[]>();

function peersOf(view: ClusterView): readonly ConnectionPeer[] {
  const known = peersOfView.get(view);
  if (known !== undefined) return known;
  const peers = [...view.reachable].map(([name, { slot, probes }]) => ({ name, slot, probes }));
  peersOfView.set(view, peers);
  return peers;
}

interface Timed {
  readonly text: string;
  readonly atMs: number;
}

/** The kind of object that the words of a repair speak of: a closed list, for a label. */
function repairedObject(words: string): string {
  const kinds = ['nftables', 'route', 'address', 'bridge', 'port', 'interface'];
  return kinds.find((kind) => words.includes(kind)) ?? 'other';
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

function ipamFacts({ settings, pool, link }: ObservationOptions, view: ClusterView): IpamFacts {
  const { total, used, free } = pool.usage();
  const byNode: Record<string, number> = {};
  for (const { node } of view.held.values()) byNode[node] = (byNode[node] ?? 0) + 1;
  const describe = (cidr: Cidr): string => formatCidr(cidr);
  return {
    total,
    used,
    free,
    ownBlocks: (link().claims()?.state() ?? []).map(({ cidr, state, used: usedHere }) => ({
      cidr: describe(cidr),
      state,
      used: usedHere,
    })),
    blocksByNode: byNode,
    rangeBlocks: blockCount(settings.range, settings.blockPrefixLength),
    quarantinedBlocks: view.freedBlocks.size,
    allocations: pool.list().map(({ address, containerId, interfaceName, podName }) => ({
      address: formatIpv4(address),
      containerId,
      interfaceName,
      podName,
    })),
    logFailure: pool.logFailure()?.message,
  };
}

function peerStatuses(options: {
  view: ClusterView;
  connections: readonly Connection[];
  snapshot: StatsSnapshot | undefined;
  nowMs: number;
}): readonly PeerStatus[] {
  const { view, snapshot, nowMs } = options;
  return options.connections.flatMap((connection): readonly PeerStatus[] => {
    const peer = view.reachable.get(connection.name);
    if (peer === undefined) return [];
    const row = peerRow(connection.slot);
    return [
      {
        name: connection.name,
        address: formatIpv4(peer.address),
        port: peer.port,
        vtepMac: formatMac(peer.vtepMac),
        version: view.peers.get(connection.name)?.spec.version ?? '',
        state: connection.state,
        sinceSeconds: (nowMs - connection.sinceMs) / 1000,
        lastHeardSeconds: connection.lastHeardMs === 0 ? undefined : (nowMs - connection.lastHeardMs) / 1000,
        roundTripSeconds: connection.roundTripSeconds,
        pathMtu: connection.pathMtu,
        egressPackets: snapshot?.counter(row, 'egress_packets') ?? 0,
        ingressPackets: snapshot?.counter(row, 'ingress_packets') ?? 0,
        blocks: [...view.held.values()].filter(({ node }) => node === connection.name).length,
      },
    ];
  });
}
