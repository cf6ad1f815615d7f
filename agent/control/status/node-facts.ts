// Parts of a node's report, made of what control has: peers, blocks, addresses. Each in time linear in what there is: a cluster has a
// thousand peers and some thousand blocks, and the report is asked for again and again.
import { blockCount, formatCidr, formatIpv4, formatMac } from '../../../proto/address.ts';
import type { IpamFacts, IpamReport, PeerStatus } from '../../../proto/node-report.ts';
import type { LoggedAddressPool } from '../../ipam/address-pool.ts';
import { SETTING_TABLE } from '../../setting-table.ts';
import type { Settings } from '../../settings.ts';
import { type Connection, type StatsSnapshot, peerRow } from '../../telemetry/stats-reader.ts';
import type { ClusterLink } from '../cluster/cluster-link.ts';
import type { ClusterView } from '../cluster/cluster-view.ts';

const counts = new WeakMap<ClusterView['held'], ReadonlyMap<string, number>>();

/** Number of blocks by node; counted once for each view. */
export function blocksByNode({ held }: Pick<ClusterView, 'held'>): ReadonlyMap<string, number> {
  let count = counts.get(held);
  if (count === undefined) {
    const counting = new Map<string, number>();
    for (const { node } of held.values()) counting.set(node, (counting.get(node) ?? 0) + 1);
    counts.set(held, (count = counting));
  }
  return count;
}

export interface IpamSources {
  readonly settings: Pick<Settings, 'range' | 'blockPrefixLength' | 'blockQuarantineMs'>;
  readonly pool: Pick<LoggedAddressPool, 'usage' | 'list' | 'freed' | 'logFailure'>;
  readonly link: Pick<ClusterLink, 'claims' | 'serviceRanges'>;
  readonly view: ClusterView;
  /** Of the clock that the view's times are of. */
  readonly viewMs: number;
  /** Milliseconds since the epoch. */
  readonly wallMs: number;
}

/** To the millisecond: more digits would be half of a large report. */
const toSeconds = (milliseconds: number): number => Math.max(0, Math.round(milliseconds)) / 1000;

const secondsSince = (atMs: number | undefined, wallMs: number): number | undefined =>
  atMs === undefined || Number.isNaN(atMs) ? undefined : toSeconds(wallMs - atMs);

export function ipamFacts({ settings, pool, link, view, viewMs, wallMs }: IpamSources): IpamFacts {
  const { total, used, free } = pool.usage();
  const quarantined = [...view.freedBlocks.values()].filter(
    (freedAtMs) => viewMs - freedAtMs < settings.blockQuarantineMs,
  );
  return {
    total,
    used,
    free,
    ownBlocks: (link.claims()?.state() ?? []).map(({ cidr, state, used: usedHere }) => ({
      cidr: formatCidr(cidr),
      state,
      used: usedHere,
    })),
    blocksByNode: Object.fromEntries(blocksByNode(view)),
    rangeBlocks: blockCount(settings.range, settings.blockPrefixLength),
    quarantinedBlocks: quarantined.length,
    allocations: pool.list().map(({ address, containerId, interfaceName, podName, hostInterface, atMs }) => ({
      address: formatIpv4(address),
      containerId,
      interfaceName,
      podName,
      hostInterface,
      sinceSeconds: secondsSince(atMs, wallMs),
    })),
    logFailure: pool.logFailure()?.message,
  };
}

export function ipamReport({ settings, pool, link, view, viewMs, wallMs }: IpamSources): IpamReport {
  return {
    blocks: [...view.held].map(([name, { cidr, node }]) => {
      const claimed = view.blocks.get(name)?.metadata.creationTimestamp;
      const abandonedAtMs = view.abandonedBlocks.get(name);
      return {
        cidr: formatCidr(cidr),
        node,
        sinceSeconds: secondsSince(claimed === undefined ? undefined : Date.parse(claimed), wallMs),
        abandonedSeconds: abandonedAtMs === undefined ? undefined : toSeconds(viewMs - abandonedAtMs),
      };
    }),
    quarantined: [...view.freedBlocks].map(([name, freedAtMs]) => ({
      cidr: name.replace('-', '/'),
      freedSeconds: toSeconds(viewMs - freedAtMs),
      claimableInSeconds: toSeconds(settings.blockQuarantineMs - (viewMs - freedAtMs)),
    })),
    freed: pool.freed().map(({ address, atMs }) => ({
      address: formatIpv4(address),
      sinceSeconds: secondsSince(atMs, wallMs),
    })),
    serviceRanges: link.serviceRanges(),
  };
}

export function peerStatuses(options: {
  readonly view: ClusterView;
  readonly connections: readonly Connection[];
  readonly probeLoss: (name: string) => number | undefined;
  readonly snapshot: StatsSnapshot | undefined;
  readonly nowMs: number;
}): readonly PeerStatus[] {
  const { view, snapshot, nowMs } = options;
  const blocks = blocksByNode(view);
  return options.connections.flatMap((connection): readonly PeerStatus[] => {
    const { name, lastHeardMs } = connection;
    const peer = view.reachable.get(name);
    if (peer === undefined) return [];
    const row = peerRow(connection.slot);
    const lastRequestMs = snapshot?.gauge(row, 'last_request_ms') ?? 0;
    return [
      {
        name,
        address: formatIpv4(peer.address),
        port: peer.port,
        vtepMac: formatMac(peer.vtepMac),
        version: view.peers.get(name)?.spec.version ?? '',
        state: connection.state,
        sinceSeconds: toSeconds(nowMs - connection.sinceMs),
        lastHeardSeconds: lastHeardMs === 0 ? undefined : toSeconds(nowMs - lastHeardMs),
        lastRequestSeconds: lastRequestMs === 0 ? undefined : toSeconds(nowMs - lastRequestMs),
        roundTripSeconds: connection.roundTripSeconds,
        probeLoss: options.probeLoss(name),
        pathMtu: connection.pathMtu,
        egressPackets: snapshot?.counter(row, 'egress_packets') ?? 0,
        ingressPackets: snapshot?.counter(row, 'ingress_packets') ?? 0,
        blocks: blocks.get(name) ?? 0,
      },
    ];
  });
}

/** Those of the closed table that are set, and nothing else of the environment: it has credentials. */
export const settingsTold = (
  environment: Readonly<Record<string, string | undefined>>,
): Readonly<Record<string, string>> =>
  Object.fromEntries(
    SETTING_TABLE.flatMap(([name]) => {
      const value = environment[name];
      return value === undefined || value === '' ? [] : [[name, value]];
    }),
  );
