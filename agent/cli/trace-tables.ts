// Reads the tables of this node that a trace asks (agent/wire/trace-view.ts): interfaces, routes and rules by rtnetlink, the anti-spoof set by
// nf_tables, all chains by the nft program, the forwarding table, counters and report. Everything is read now; nothing is changed.
import { readFileSync } from 'node:fs';

import { blockCidr, blockOf, cidrContains, formatCidr, formatIpv4, type Ipv4 } from '../../proto/address.ts';
import { PROCESS_GAUGES } from '../../proto/dataplane-stats.ts';
import { PORT_FORWARDING } from '../../proto/rtnetlink-bridge.ts';
import type { Link } from '../../proto/rtnetlink-link.ts';
import { decodeRoute, lookUpRoute, RTM_NEWROUTE, RTN_LOCAL } from '../../proto/rtnetlink-route.ts';
import type { PolicyRule } from '../../proto/rtnetlink-rule.ts';
import { openPodGuard } from '../control/node/pod-guard.ts';
import { addressOfAlias, listPodPorts, podMacOf } from '../control/node/pod-ports.ts';
import { BRIDGE, TUN } from '../control/node/range-conflicts.ts';
import { listLinks, listPolicyRules } from '../linux/interface.ts';
import { NETLINK_ROUTE, type NetlinkSocket, openNetlink } from '../linux/netlink-socket.ts';
import { type NftCommand, openNft } from '../linux/nft.ts';
import { OperationError, codeOf } from '../operation-error.ts';
import { settingOf } from '../setting-table.ts';
import { peerRow, readStats } from '../telemetry/stats-reader.ts';
import type {
  ChainFacts,
  NodePeer,
  PodPortFacts,
  RouteFacts,
  TracedPacket,
  TraceView,
} from '../wire/trace-view.ts';
import { type NodeTables, runDirectoryOf } from './node-tables.ts';
import { ownerOf } from './packet-ends.ts';

type Environment = Readonly<Record<string, string | undefined>>;

export interface TraceTables extends TraceView {
  close(): void;
}

/** Throws OperationError: NFT_MISSING, or an errno name. */
export async function openTraceTables(options: {
  readonly tables: NodeTables;
  readonly packet: TracedPacket;
  readonly flow: string;
  readonly env: Environment;
}): Promise<TraceTables> {
  const { tables, packet, env } = options;
  const { table, report } = tables;
  const ruleset = await openNft(env['PATH'] ?? '').listAll('ruleset');
  const netlink = openNetlink(NETLINK_ROUTE);
  const links = listLinks(netlink);
  const stats = readStats({
    runDirectory: runDirectoryOf(env),
    highestSlot: Math.max(0, ...table.peers.map(({ slot }) => slot)),
    workers: 1,
  });
  const chains = chainsOf(ruleset);
  return {
    packet,
    bridge: BRIDGE,
    tun: TUN,
    gateway: table.gateway,
    port: report?.node.port ?? Number(settingOf(env, 'WEFT_PORT')),
    generation: table.generation,
    dataplaneGeneration: stats?.process(PROCESS_GAUGES[0]) ?? 0,
    masquerades: chains.some(({ isOurs, name, rules }) => isOurs && name === 'postrouting' && rules > 0),
    flow: options.flow,
    policyRules: policyRules(netlink),
    chains,
    legacyTables: legacyTables(),
    isInRange: (address) => cidrContains(table.range, address),
    blockOf: (address) => {
      const block = blockOf(table.range, table.blockPrefixLength, address);
      return block === undefined
        ? 'none'
        : formatCidr(blockCidr(table.range, table.blockPrefixLength, block));
    },
    ownerOf: (address) => ownerOf(tables, address),
    nameOf: (peer) => tables.nameOf(peer),
    podPort: (address) => podPort(netlink, tables, address),
    spoofElements: (interfaceName) => spoofElements(interfaceName),
    route: ({ destination, source, input }) => {
      const index = links.find(({ name }) => name === input)?.index;
      return lookUp(netlink, links, {
        destination,
        ...(source === undefined ? {} : { source }),
        ...(index === undefined ? {} : { inputIndex: index }),
      });
    },
    natPlaces: (address) => natPlaces(ruleset, address),
    pathMtu: (slot) => stats?.gauge(peerRow(slot), 'path_mtu') ?? 0,
    connection: (peer) => connectionOf(tables, peer),
    close: () => netlink.close(),
  };
}

function podPort(netlink: NetlinkSocket, { report }: NodeTables, address: Ipv4): PodPortFacts | undefined {
  const found = listPodPorts(netlink).find(({ alias }) => addressOfAlias(alias) === address);
  if (found === undefined) return undefined;
  const { link, alias } = found;
  return {
    interface: link.name,
    podName: report?.ipam.allocations.find((each) => each.address === formatIpv4(address))?.podName,
    mac: podMacOf(alias),
    isUp: link.up,
    isRunning: link.running,
    isPort: link.master !== undefined && link.port !== undefined,
    isForwarding: link.port?.state === PORT_FORWARDING,
    bridge: BRIDGE,
  };
}

function spoofElements(interfaceName: string): ReturnType<TraceView['spoofElements']> {
  const guard = openPodGuard();
  try {
    return guard.list().filter(({ hostInterface }) => hostInterface === interfaceName);
  } finally {
    guard.close();
  }
}

function lookUp(
  netlink: NetlinkSocket,
  links: readonly Link[],
  question: Parameters<typeof lookUpRoute>[0],
): RouteFacts | { readonly code: string } {
  try {
    const messages = netlink.request(
      lookUpRoute(question),
      `look up the route to ${formatIpv4(question.destination)}`,
    );
    const payload = messages.find(({ type }) => type === RTM_NEWROUTE)?.payload;
    const route = payload && decodeRoute(payload);
    if (route?.ok !== true) return { code: 'BAD_ANSWER' };
    const { index, gateway, table, type } = route.value;
    const name = links.find((link) => link.index === index)?.name ?? `interface ${index ?? 'unknown'}`;
    return { interface: name, gateway, table, isLocal: type === RTN_LOCAL };
  } catch (error) {
    if (error instanceof OperationError) return { code: codeOf(error) };
    throw error;
  }
}

/** Of the kernel's own: local, main and default. */
const USUAL_TABLES: ReadonlyMap<number, number> = new Map([
  [0, 255],
  [32_766, 254],
  [32_767, 253],
]);
const TO_TABLE = 1;

function policyRules(netlink: NetlinkSocket): readonly string[] {
  return listPolicyRules(netlink)
    .filter(({ priority, table, action }) => action !== TO_TABLE || USUAL_TABLES.get(priority) !== table)
    .map(ruleWords);
}

function ruleWords(rule: PolicyRule): string {
  const parts = [
    rule.source && `from ${formatCidr(rule.source)}`,
    rule.destination && `to ${formatCidr(rule.destination)}`,
    rule.inputInterface && `iif ${rule.inputInterface}`,
    rule.outputInterface && `oif ${rule.outputInterface}`,
    rule.mark && `fwmark 0x${rule.mark.value.toString(16)}`,
  ].filter((part) => part !== undefined && part !== '');
  const action = rule.action === TO_TABLE ? `table ${rule.table}` : `action ${rule.action}`;
  return `${rule.priority}: ${[...parts, action].join(' ')}`;
}

/** Undefined in a kernel without them. */
function legacyTables(): readonly string[] {
  try {
    return readFileSync('/proc/net/ip_tables_names', 'utf8')
      .split('\n')
      .filter((name) => name !== '');
  } catch {
    return [];
  }
}

const OUR_TABLE = 'weft';
const text = (object: object, name: string): string => {
  const value: unknown = Object.entries(object).find(([key]) => key === name)?.[1];
  return typeof value === 'string' ? value : '';
};

/** The objects of one kind in nft's listing. */
const objectsOf = (listing: readonly NftCommand[], kind: string): readonly object[] =>
  listing.flatMap((item) => {
    const object = item[kind];
    return typeof object === 'object' && object !== null ? [object] : [];
  });

const isIn = (rule: object, chain: object): boolean =>
  text(rule, 'family') === text(chain, 'family') &&
  text(rule, 'table') === text(chain, 'table') &&
  text(rule, 'chain') === text(chain, 'name');

export function chainsOf(listing: readonly NftCommand[]): readonly ChainFacts[] {
  const rules = objectsOf(listing, 'rule');
  return objectsOf(listing, 'chain')
    .filter((chain) => text(chain, 'hook') !== '')
    .map((chain) => ({
      family: text(chain, 'family'),
      table: text(chain, 'table'),
      name: text(chain, 'name'),
      type: text(chain, 'type'),
      hook: text(chain, 'hook'),
      priority: 'prio' in chain && typeof chain.prio === 'number' ? chain.prio : 0,
      policy: text(chain, 'policy'),
      rules: rules.filter((rule) => isIn(rule, chain)).length,
      isOurs: text(chain, 'table') === OUR_TABLE,
    }));
}

const MOST_PLACES = 6;

/** Chains, maps and sets of other tables that name the address: where a Service's address is changed. */
export function natPlaces(listing: readonly NftCommand[], address: Ipv4): readonly string[] {
  const quoted = `"${formatIpv4(address)}"`;
  const foreign = (kind: string): readonly object[] =>
    objectsOf(listing, kind).filter(
      (object) => text(object, 'table') !== OUR_TABLE && JSON.stringify(object).includes(quoted),
    );
  const place = (object: object, name: string): string =>
    `${text(object, 'family')} ${text(object, 'table')} ${text(object, name)}`;
  const places = [
    ...foreign('rule').map((rule) => `a rule in ${place(rule, 'chain')}`),
    ...foreign('map').map((map) => `map ${place(map, 'name')}`),
    ...foreign('set').map((set) => `set ${place(set, 'name')}`),
  ];
  return [...new Set(places)].slice(0, MOST_PLACES);
}

function connectionOf(tables: NodeTables, peer: NodePeer): ReturnType<TraceView['connection']> {
  const { report } = tables;
  if (report === undefined) return undefined;
  const status = report.peers.find(({ address }) => address === formatIpv4(peer.address));
  if (status === undefined) return { isUp: false, text: `${tables.nameOf(peer)} is not in the report` };
  const heard =
    status.lastHeardSeconds === undefined
      ? 'never heard'
      : `heard ${status.lastHeardSeconds.toFixed(1)} s ago`;
  const trip =
    status.roundTripSeconds === undefined
      ? ''
      : `, round trip ${(status.roundTripSeconds * 1000).toFixed(2)} ms`;
  return { isUp: status.state === 'established', text: `${status.name} is ${status.state}, ${heard}${trip}` };
}
