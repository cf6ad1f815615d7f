// The kernel's side of the scene: interfaces, addresses, routes, rules, neighbours and settings of this network namespace, and counters.
import {
  listAddresses,
  listLinks,
  listNeighbours,
  listPolicyRules,
  listRoutes,
} from '../../linux/interface.ts';
import type { NetlinkSocket } from '../../linux/netlink-socket.ts';
import type { CgroupFacts, CounterFacts, KernelFacts, KernelList, Scene } from '../scene.ts';
import { readNumber, readPairedLines, readText } from './proc-files.ts';

/** `onFailure` is told of each list that cannot be had: the others are there. */
export function readKernel(
  open: () => NetlinkSocket,
  onFailure: (list: KernelList, error: unknown) => void,
): KernelFacts {
  const missing = new Set<KernelList>();
  const attempt = <T>(list: KernelList, read: (route: NetlinkSocket) => readonly T[]): readonly T[] => {
    let route: ReturnType<typeof open> | undefined;
    try {
      route = open(); // for each: after a dump that failed the socket may have the rest of it
      return read(route);
    } catch (error) {
      missing.add(list);
      onFailure(list, error);
      return [];
    } finally {
      route?.close();
    }
  };
  return {
    links: attempt('links', listLinks),
    addresses: attempt('addresses', listAddresses),
    routes: attempt('routes', listRoutes),
    rules: attempt('rules', listPolicyRules),
    neighbours: attempt('neighbours', listNeighbours),
    missing,
  };
}

const SYSCTLS = [
  'net/ipv4/ip_forward',
  'net/ipv4/conf/all/rp_filter',
  'net/ipv4/neigh/default/gc_thresh3',
  'net/netfilter/nf_conntrack_count',
  'net/netfilter/nf_conntrack_max',
  'user/max_net_namespaces',
] as const;

export const readSysctls = (): Scene['sysctls'] =>
  Object.fromEntries(SYSCTLS.map((name) => [name, readNumber(`/proc/sys/${name}`)]));

/** Tables of iptables-legacy; loaded ones, which may be empty. */
export const readLegacyTables = (): readonly string[] =>
  (readText('/proc/net/ip_tables_names') ?? '').split('\n').filter((name) => name !== '');

export interface RawCounters {
  readonly udpChecksumErrors: number;
  readonly neighbourTableFulls: number;
  readonly neighbours: number | undefined;
}

/** Sums of the columns of /proc/net/stat/arp_cache, one line for each processor; the first column is the same in all. */
function neighbourTable(): { readonly entries: number | undefined; readonly fulls: number } {
  const [head = '', ...lines] = (readText('/proc/net/stat/arp_cache') ?? '').trim().split('\n');
  const column = head.trim().split(/\s+/).indexOf('table_fulls');
  const rows = lines.map((line) =>
    line
      .trim()
      .split(/\s+/)
      .map((word) => Number.parseInt(word, 16)),
  );
  const fulls = column < 0 ? 0 : rows.reduce((sum, row) => sum + (row[column] ?? 0), 0);
  return { entries: rows[0]?.[0], fulls };
}

export function readCounters(): RawCounters {
  const snmp = readPairedLines('/proc/net/snmp');
  const { entries, fulls } = neighbourTable();
  return {
    udpChecksumErrors: snmp.get('Udp:InCsumErrors') ?? 0,
    neighbourTableFulls: fulls,
    neighbours: entries,
  };
}

export const countersBetween = (
  before: RawCounters,
  after: RawCounters,
  cgroup: CgroupFacts,
): CounterFacts => ({
  udpChecksumErrors: after.udpChecksumErrors - before.udpChecksumErrors,
  neighbourTableFulls: after.neighbourTableFulls - before.neighbourTableFulls,
  neighbours: after.neighbours,
  cgroup,
});
