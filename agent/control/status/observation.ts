// What control tells about itself: the facts behind the status pages and the metrics, gathered from its parts when somebody asks.
// Owns nothing but the connection tracker, the counts of repairs and the last error.
import { formatCidr, formatMac } from '../../../proto/address.ts';
import { NO_PEER_ROW, SELF_ROW } from '../../../proto/dataplane-stats.ts';
import { PROBE_INTERVAL_MS } from '../../../proto/probe.ts';
import type { LoggedAddressPool } from '../../ipam/address-pool.ts';
import { readRoleStates, rolesPath } from '../../role-states.ts';
import type { Settings } from '../../settings.ts';
import { codeOf } from '../../operation-error.ts';
import { type Logger, errorFields } from '../../telemetry/logger.ts';
import { type Metrics, createMetrics } from '../../telemetry/metrics.ts';
import { type FirewallRefusals, refusalTotals } from '../../telemetry/refusal-totals.ts';
import {
  type Connection,
  type ConnectionPeer,
  type StatsSnapshot,
  createConnectionTracker,
  highestSlotCounted,
  peerRow,
  readStats,
} from '../../telemetry/stats-reader.ts';
import { LastingFailure } from '../../telemetry/told-once.ts';
import type { ClusterLink } from '../cluster/cluster-link.ts';
import type { ClusterView } from '../cluster/cluster-view.ts';
import { problemsInWords } from '../cluster/problem-log.ts';
import { openFirewallCounters } from '../node/firewall-counters.ts';
import { type Repair, textsOf } from '../repair.ts';
import type { Trouble } from '../trouble.ts';
import { createMetricsSource } from './metrics-source.ts';
import { silentPeers } from '../node-troubles.ts';
import { type DropSources, createDropLog } from './drop-log.ts';
import { mapFacts } from '../map/map-facts.ts';
import { createPathMtuLog } from './path-mtu-log.ts';
import type { NodeReport } from '../../../proto/node-report.ts';
import { type IpamSources, ipamFacts, ipamReport, peerStatuses, settingsTold } from './node-facts.ts';
import { createProbeLoss } from './probe-loss.ts';
import type { RecentEvents } from './recent-events.ts';
import type { SelfCheck } from './self-check.ts';
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
  readonly selfCheck: () => Pick<SelfCheck, 'faults' | 'ageSeconds'>;
  /** What a person has to put right. */
  readonly troubles: () => readonly Trouble[];
  readonly log: Logger;
  readonly recent: Pick<RecentEvents, 'list'>;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** CLOCK_MONOTONIC milliseconds, as the data plane's gauges have it. */
  readonly monotonicMs: () => number;
  /** Of the clock that the view's times are of. */
  readonly viewMs: () => number;
  /** Milliseconds since the epoch. */
  readonly wallMs: () => number;
}

export interface Observation extends StatusSource {
  readonly counters: Omit<Metrics, 'contentType' | 'render' | 'repaired'>;
  repaired(repairs: readonly Repair[]): void;
  failed(message: string): void;
  /** Peers that have been silent for long, as of the last look. */
  silentPeers(): Trouble | undefined;
  /** To be called each probe interval: connections that change in between are noticed then, of many peers every few seconds. */
  look(): void;
  close(): void;
}

/** A look takes about 3 µs for each peer, with the garbage that it leaves; an idle node of a large cluster is to stay idle. */
const PEERS_A_SECOND = 250;

export function createObservation(options: ObservationOptions): Observation {
  const { settings, pool, monotonicMs, log } = options;
  let repairs = 0;
  let lastRepair: Timed | undefined;
  let lastError: Timed | undefined;

  const tracker = createConnectionTracker({
    probeIntervalMs: PROBE_INTERVAL_MS,
    changed: ({ name, state, lastHeardMs }) => {
      if (state === 'established')
        log.info('connection_established', `Peer "${name}" answers`, { peer: name });
      if (state === 'failed') {
        log.warn(
          'connection_failed',
          `Peer "${name}" ${lastHeardMs === 0 ? 'has never answered' : 'has stopped answering'}: check that the node is up and that UDP ${settings.port} is open between the nodes, both ways; "weft doctor" tells which way is blocked`,
          { peer: name },
        );
      }
    },
  });

  const pathMtuLog = createPathMtuLog(log);
  const probeLoss = createProbeLoss();
  const dropLog = createDropLog(log);
  const share = Math.random();
  let nextLookMs = 0;

  /** As far as there are counts: a sum over the rows does not fall when a peer leaves. */
  let highestSlot: number | undefined;
  const stats = (): StatsSnapshot | undefined => {
    const { runDirectory, dataplaneWorkers: workers = 1 } = settings;
    highestSlot = peersOf(options.view()).reduce(
      (highest, { slot }) => Math.max(highest, slot),
      highestSlot ?? highestSlotCounted(runDirectory),
    );
    return readStats({ runDirectory, highestSlot, workers });
  };
  const firewallCounters = openFirewallCounters();
  const countingFailure = new LastingFailure();
  const firewallRefusals = (): FirewallRefusals => {
    try {
      const counted = firewallCounters.read();
      countingFailure.isOver();
      return counted;
    } catch (error) {
      if (countingFailure.isNews(codeOf(error))) {
        log.warn(
          'status_failed',
          'Cannot count the packets that nftables refused: status and metrics are without them. Look whether "nft list table inet weft" works on the node',
          errorFields(error),
        );
      }
      return new Map();
    }
  };
  const observe = (snapshot: StatsSnapshot | undefined): readonly Connection[] => {
    if (snapshot === undefined) return tracker.current();
    const peers = peersOf(options.view());
    const connections = tracker.observe(peers, snapshot, monotonicMs());
    probeLoss.observe(peers, snapshot, monotonicMs());
    pathMtuLog.tell(connections, options.mtu());
    return connections;
  };
  const dropSources = (snapshot: StatsSnapshot | undefined): DropSources | undefined => {
    if (snapshot === undefined) return undefined;
    const rows = [...options.view().reachable].map(([peer, { slot }]) => ({ peer, row: peerRow(slot) }));
    return { stats: snapshot, rows, firewall: firewallRefusals() };
  };
  const api = (): { isConnected: boolean; lastSyncAgeSeconds: number | undefined } => {
    const states = Object.values(options.link().reflectors() ?? {});
    const ages = states.map(({ lastSyncAgeMs }) => lastSyncAgeMs);
    return {
      isConnected: states.length > 0 && states.every(({ synced, isFollowing }) => synced && isFollowing),
      lastSyncAgeSeconds:
        ages.includes(undefined) || ages.length === 0 ? undefined : Math.max(...ages.map(Number)) / 1000,
    };
  };
  const roles = (): ReturnType<typeof readRoleStates> => readRoleStates(rolesPath(settings.runDirectory));
  const ipamSources = (): IpamSources => ({
    settings,
    pool,
    link: options.link(),
    view: options.view(),
    viewMs: options.viewMs(),
    wallMs: options.wallMs(),
  });

  const metrics = createMetrics(
    createMetricsSource({
      observation: options,
      observed() {
        const snapshot = stats();
        return {
          connections: observe(snapshot),
          stats: snapshot,
          lossOf: (name) => probeLoss.of(name),
          firewallRefusals: firewallRefusals(),
        };
      },
      terminations: () => tracker.terminations(),
      api,
    }),
  );

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
      ipam: ipamFacts(ipamSources()),
      peers: peerStatuses({
        view,
        connections: observe(snapshot),
        probeLoss: (name) => probeLoss.of(name),
        snapshot,
        nowMs,
      }),
      dataplane: {
        processId: snapshot?.process('process_id') ?? 0,
        generation: snapshot?.process('generation') ?? 0,
        upSeconds: startedMs === 0 ? undefined : (nowMs - startedMs) / 1000,
      },
      drops: Object.fromEntries([...refusalTotals(refusals)].filter(([, count]) => count > 0)),
      roles: roles(),
      repairs: { count: repairs, last: aged(lastRepair) },
      lastError: aged(lastError),
      recent: options.recent.list(),
      settings: settingsTold(options.environment),
      problems: [
        ...[options.configurationTrouble()?.message].filter((message) => message !== undefined),
        ...options
          .link()
          .troubles()
          .map(({ message }) => message),
        ...problemsInWords(view.problems),
      ],
    };
  };

  return {
    facts,
    notReady: options.notReady,
    ipam: () => ipamReport(ipamSources()),
    map: () =>
      mapFacts({
        report: facts(),
        range: settings.range,
        quarantineMs: settings.blockQuarantineMs,
        view: options.view(),
        stats: stats(),
        nowMs: monotonicMs(),
        viewNowMs: options.viewMs(),
      }),
    metrics: async () => ({ contentType: metrics.contentType, text: await metrics.render() }),
    counters: metrics,
    repaired(list) {
      repairs += list.length;
      lastRepair = { text: textsOf(list).join('; '), atMs: monotonicMs() };
      for (const { object } of list) metrics.repaired(object);
    },
    failed(message) {
      lastError = { text: message, atMs: monotonicMs() };
    },
    silentPeers: () =>
      silentPeers(tracker.current(), { nowMs: monotonicMs(), random: share, port: settings.port }),
    look() {
      const nowMs = monotonicMs();
      if (nowMs < nextLookMs) return;
      // Less than a whole interval longer, so that a call that comes early is none that is left out.
      nextLookMs = nowMs + (peersOf(options.view()).length / PEERS_A_SECOND - 0.5) * PROBE_INTERVAL_MS;
      const snapshot = stats();
      observe(snapshot);
      dropLog.look(() => dropSources(snapshot), nowMs);
    },
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
