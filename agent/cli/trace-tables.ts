// Reads the tables of this node that a trace asks (agent/wire/trace-view.ts): interfaces, routes and rules by rtnetlink, the anti-spoof set by
// nf_tables, all chains by the nft program, the forwarding table, counters and report. Everything is read now; nothing is changed.
import { parseIpv4 } from '../../proto/address-text.ts';
import { blockCidr, blockOf, cidrContains, formatCidr, formatIpv4, type Ipv4 } from '../../proto/address.ts';
import { PROCESS_GAUGES } from '../../proto/dataplane-stats.ts';
import { PORT_FORWARDING } from '../../proto/rtnetlink-bridge.ts';
import type { Link } from '../../proto/rtnetlink-link.ts';
import { decodeRoute, lookUpRoute, RTM_NEWROUTE, RTN_LOCAL } from '../../proto/rtnetlink-route.ts';
import { FR_ACT_TO_TBL, type PolicyRule } from '../../proto/rtnetlink-rule.ts';
import { FIREWALL_TABLE } from '../control/node/firewall-rules.ts';
import { openPodGuard } from '../control/node/pod-guard.ts';
import { addressOfAlias, listPodPorts, podMacOf } from '../control/node/pod-ports.ts';
import { BRIDGE, TUN } from '../control/node/range-conflicts.ts';
import { type Ruleset, readRuleset } from '../doctor/ruleset.ts';
import { readLegacyTables } from '../doctor/sources/kernel.ts';
import { listLinks, listPolicyRules } from '../linux/interface.ts';
import { NETLINK_ROUTE, type NetlinkSocket, openNetlink } from '../linux/netlink-socket.ts';
import { openNft } from '../linux/nft.ts';
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
import { chainVerdict } from './chain-verdicts.ts';
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
  const nft = openNft(env['PATH'] ?? '');
  const ruleset = readRuleset(...(await Promise.all([nft.listAll(), nft.listText()])));
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
    underlay: report === undefined ? undefined : parseIpv4(report.node.address),
    generation: table.generation,
    dataplaneGeneration: stats?.process(PROCESS_GAUGES[0]) ?? 0,
    masquerades: chains.some(({ isOurs, name, rules }) => isOurs && name === 'postrouting' && rules > 0),
    flow: options.flow,
    policyRules: policyRules(netlink),
    chains,
    legacyTables: readLegacyTables(),
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
    judge: (chain, crossing) => chainVerdict(ruleset, chain, crossing),
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

function policyRules(netlink: NetlinkSocket): readonly string[] {
  return listPolicyRules(netlink)
    .filter(({ priority, table, action }) => action !== FR_ACT_TO_TBL || USUAL_TABLES.get(priority) !== table)
    .map(ruleWords);
}

/** As `ip rule` has it. */
export function ruleWords(rule: PolicyRule): string {
  const parts = [
    rule.isInverted && 'not',
    rule.source && `from ${formatCidr(rule.source)}`,
    rule.destination && `to ${formatCidr(rule.destination)}`,
    rule.inputInterface && `iif ${rule.inputInterface}`,
    rule.outputInterface && `oif ${rule.outputInterface}`,
    rule.mark && `fwmark 0x${rule.mark.value.toString(16)}`,
    rule.isSelective && '(of some protocols or ports)',
    rule.action === FR_ACT_TO_TBL ? `table ${rule.table}` : `action ${rule.action}`,
    rule.suppressedPrefixLength >= 0 && `suppress_prefixlength ${rule.suppressedPrefixLength}`,
  ].filter((part) => typeof part === 'string' && part !== '');
  return `${rule.priority}: ${parts.join(' ')}`;
}

/** Of chains that the kernel calls. */
const chainsOf = ({ chains }: Ruleset): readonly ChainFacts[] =>
  chains.flatMap(({ type = '', hook, rules, ...chain }) =>
    hook === undefined
      ? []
      : [{ ...chain, type, hook, rules: rules.length, isOurs: chain.table === FIREWALL_TABLE }],
  );

const MOST_PLACES = 6;
/** Not one that only drops or accepts. */
const isTurn = (expressions: readonly unknown[]): boolean =>
  /"(jump|goto|dnat|redirect)":|"type":"target"/.test(JSON.stringify(expressions));

/** Chains with rules that go elsewhere, and maps, of other tables that name the address: where a Service's address is changed. */
function natPlaces({ chains, sets }: Ruleset, address: Ipv4): readonly string[] {
  const quoted = `"${formatIpv4(address)}"`;
  const names = (listed: readonly unknown[]): boolean => JSON.stringify(listed).includes(quoted);
  const foreign = <T extends { readonly table: string }>(all: Iterable<T>): readonly T[] =>
    [...all].filter(({ table }) => table !== FIREWALL_TABLE);
  const places = [
    ...foreign(chains)
      .filter(({ rules }) => rules.some(({ expressions }) => names(expressions) && isTurn(expressions)))
      .map(({ family, table, name }) => `a rule in ${family} ${table} ${name}`),
    ...foreign(sets.values())
      .filter(({ kind, elements }) => kind === 'map' && names(elements))
      .map(({ family, table, name }) => `map ${family} ${table} ${name}`),
  ];
  return places.slice(0, MOST_PLACES);
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
