// What the live map shows of a node, in the form of map-form.ts: its own links, and what it knows of the cluster's blocks. Pure.
import { decodeBlockName } from '../../ipam/block-name.ts';
import { type BlockIndex, type Cidr, blockCount, blockOf } from '../../../proto/address.ts';
import { parseCidr } from '../../../proto/address-text.ts';
import type { Counter, Gauge } from '../../../proto/dataplane-stats.ts';
import type { NodeReport, PeerStatus } from '../../../proto/node-report.ts';
import { PROBE_INTERVAL_MS } from '../../../proto/probe.ts';
import { type StatsSnapshot, peerRow } from '../../telemetry/stats-reader.ts';
import type { ClusterView } from '../cluster/cluster-view.ts';
import { MAP_FORM, type MapBlocks, type MapFacts, type PeerRow } from './map-form.ts';

export interface MapSources {
  readonly report: NodeReport;
  readonly range: Cidr;
  readonly quarantineMs: number;
  readonly view: ClusterView;
  readonly stats: StatsSnapshot | undefined;
  /** Of the clock that statistics have. */
  readonly nowMs: number;
  /** Of the clock that the view has. */
  readonly viewNowMs: number;
}

const PROBLEMS_TOLD = 20;

export function mapFacts(sources: MapSources): MapFacts {
  const { report, view, stats, nowMs } = sources;
  const versions = new Map<string, number>();
  const peers = report.peers.map((peer) => {
    const version = versions.get(peer.version) ?? versions.size;
    versions.set(peer.version, version);
    return peerRowOf({ peer, slot: view.slots.get(peer.name), version, stats, nowMs });
  });
  return {
    form: MAP_FORM,
    nowMs,
    version: report.version,
    node: { name: report.node.name, address: report.node.address, port: report.node.port },
    notReady: report.notReady,
    api: report.api,
    problems: report.problems.slice(0, PROBLEMS_TOLD),
    problemCount: report.problems.length,
    lastError: report.lastError,
    network: {
      range: report.network.range,
      blockPrefixLength: report.network.blockPrefixLength,
      mtu: report.network.mtu,
    },
    dataplaneUpSeconds: report.dataplane.upSeconds,
    addresses: { used: report.ipam.used, total: report.ipam.total },
    drops: report.drops,
    versions: [...versions.keys()],
    peers,
    blocks: mapBlocks(
      sources,
      peers.map(([name]) => name),
    ),
  };
}

interface PeerSources {
  readonly peer: PeerStatus;
  readonly slot: number | undefined;
  readonly version: number;
  readonly stats: StatsSnapshot | undefined;
  readonly nowMs: number;
}

function peerRowOf({ peer, slot, version, stats, nowMs }: PeerSources): PeerRow {
  const counter = (name: Counter): number =>
    slot === undefined ? 0 : (stats?.counter(peerRow(slot), name) ?? 0);
  const gauge = (name: Gauge): number => (slot === undefined ? 0 : (stats?.gauge(peerRow(slot), name) ?? 0));
  const waitingSinceMs = gauge('first_unanswered_probe_ms');
  const askedMs = gauge('last_request_ms');
  const isOnItsWay = waitingSinceMs !== 0 && nowMs - waitingSinceMs < PROBE_INTERVAL_MS;
  return [
    peer.name,
    peer.address,
    peer.state,
    Math.round(peer.sinceSeconds),
    peer.lastHeardSeconds === undefined ? null : Math.max(0, Math.round(peer.lastHeardSeconds)),
    peer.roundTripSeconds === undefined ? null : Math.round(peer.roundTripSeconds * 1e6),
    peer.pathMtu ?? null,
    Math.max(0, counter('probes_sent') - (isOnItsWay ? 1 : 0)),
    counter('probes_answered'),
    counter('egress_bytes'),
    counter('ingress_bytes'),
    askedMs === 0 ? null : Math.max(0, Math.round((nowMs - askedMs) / 1000)),
    version,
  ];
}

function mapBlocks(sources: MapSources, peers: readonly string[]): MapBlocks {
  const { view, range, report, quarantineMs, viewNowMs } = sources;
  const { blockPrefixLength } = report.network;
  const indexOf = ({ base }: Cidr): BlockIndex | undefined => blockOf(range, blockPrefixLength, base);
  const indexesOf = (names: Iterable<string>): readonly number[] =>
    [...names]
      .map((name) => decodeBlockName(name))
      .flatMap((name) =>
        name.ok && name.value.prefixLength === blockPrefixLength ? [indexOf(name.value)] : [],
      )
      .filter((index) => index !== undefined)
      .toSorted((a, b) => a - b);
  const holders = new Map<string, number>([[report.node.name, -1]]);
  for (const [at, name] of peers.entries()) holders.set(name, at);
  const otherHolders: string[] = [];
  const held: number[] = [];
  let before = -1;
  for (const { index, node } of [...view.held.values()].toSorted((a, b) => a.index - b.index)) {
    let holder = holders.get(node);
    if (holder === undefined) {
      holder = peers.length + otherHolders.length;
      holders.set(node, holder);
      otherHolders.push(node);
    }
    held.push(index - before, holder);
    before = index;
  }
  const inQuarantine = [...view.freedBlocks].filter(([, freedAtMs]) => viewNowMs - freedAtMs < quarantineMs);
  return {
    count: blockCount(range, blockPrefixLength),
    own: report.ipam.ownBlocks.map(({ cidr, state, used }) => ({
      index: indexOf(parseCidr(cidr)) ?? -1,
      state,
      used,
    })),
    otherHolders,
    held,
    abandoned: indexesOf([...view.abandonedBlocks.keys()].filter((name) => view.held.has(name))),
    quarantined: indexesOf(inQuarantine.map(([name]) => name)),
  };
}
