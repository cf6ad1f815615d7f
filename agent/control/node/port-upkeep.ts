// Each pod's port as an ADD made it: its name and alias, a port of the bridge with the usual settings and in hairpin mode, up, with its
// anti-spoof element. Synchronous, so an attach sees all of it or nothing.
import type { Ipv4 } from '../../../proto/address.ts';
import { PORT_FORWARDING, type PortSetting } from '../../../proto/rtnetlink-bridge.ts';
import type { Link, LinkChange } from '../../../proto/rtnetlink-link.ts';
import { changeNeeded, findLink, listLinks, nameLink, setLink } from '../../linux/interface.ts';
import type { NetlinkSocket } from '../../linux/netlink-socket.ts';
import { codeOf } from '../../operation-error.ts';
import { type Repair, repairsOf } from '../repair.ts';
import type { PodElement, PodGuard } from './pod-guard.ts';
import {
  addressOfAlias,
  formatAlias,
  hostMacOf,
  listPodPorts,
  podMacOf,
  type PodPort,
  POD_PORT_PREFIX,
} from './pod-ports.ts';

/** A pod as the allocation log has it. */
export interface KnownPod {
  readonly containerId: string;
  readonly interfaceName: string;
  readonly hostInterface: string;
  readonly address: Ipv4;
}

interface PortPlace {
  readonly route: NetlinkSocket;
  readonly bridge: Link;
}

export interface PodPortsOptions extends PortPlace {
  readonly guard: PodGuard;
  readonly known: readonly KnownPod[];
  /** Each port as it was first seen, by index; kept here from look to look. */
  readonly seen: Map<number, SeenPort>;
}

/** What does not change in a port's life. */
export interface SeenPort {
  readonly name: string;
  readonly alias: string;
  /** Its ADD's, which may be another than today's. */
  readonly mtu: number;
}

/** As the kernel makes a port, but for the hairpin mode. */
export const PORT_SETTINGS: Readonly<Partial<Record<PortSetting, number>>> = {
  hairpin: 1,
  guard: 0,
  root_block: 0,
  learning: 1,
  flood: 1,
  mcast_flood: 1,
  vlan_tunnel: 0,
  bcast_flood: 1,
  neigh_suppress: 0,
  isolated: 0,
  locked: 0,
};

/** The bridge does not forward for it although both ends are up. */
const isHalted = ({ running, port }: Pick<Link, 'running' | 'port'>): boolean =>
  running && port?.state !== undefined && port.state !== PORT_FORWARDING;

export interface ExpectedPorts {
  /** Index of the bridge. */
  readonly bridge: number;
  /** See PodPortsOptions. */
  readonly seen: ReadonlyMap<number, SeenPort>;
}

/** Whether a notification of a port shows it as it should be. `ofBridge`: the bridge's own, which tells of the port's settings alone. */
export function isPortRight(link: Link, ofBridge: boolean, { bridge, seen }: ExpectedPorts): boolean {
  if (ofBridge) {
    return !isHalted(link) && changeNeeded(link, { master: bridge, port: PORT_SETTINGS }) === undefined;
  }
  if (link.alias === undefined || addressOfAlias(link.alias) === undefined) return false;
  const known = seen.get(link.index) ?? { ...link, alias: link.alias };
  if (known.alias !== link.alias || known.name !== link.name) return false;
  return changeNeeded(link, { master: bridge, ...portWanted(known) }) === undefined;
}

const portWanted = ({ alias, mtu }: SeenPort): LinkChange => ({
  up: true,
  mtu,
  address: hostMacOf(alias),
  port: PORT_SETTINGS,
  ipv6Addresses: false,
});

/**
 * Whether a change failed because the port is another than a moment ago: its pod went away, its other end went down, or somebody took it off
 * the bridge. The kernel tells of each, and the next look sees it.
 */
function isOvertaken(error: unknown, { route, bridge }: PortPlace, name: string): boolean {
  const code = codeOf(error);
  if (code === 'ENODEV' || code === 'ENETDOWN') return true;
  return code === 'EOPNOTSUPP' && findLink(route, name)?.master !== bridge.index;
}

/** For a bridge that was made again: one that goes up with its ports carries packets at once, without them only when the kernel has noticed. */
export function movePodPorts({ route, bridge }: PortPlace): void {
  for (const { link } of listPodPorts(route)) {
    try {
      setLink(route, link.name, { master: bridge.index });
      setLink(route, link.name, { port: { hairpin: 1 } });
    } catch (error) {
      if (!isOvertaken(error, { route, bridge }, link.name)) throw error;
    }
  }
}

/** Undoes what hides a port of ours from listPodPorts: without name and alias its element would look stale, and its address free. */
function restoreNames(options: PodPortsOptions, ports: readonly PodPort[]): readonly string[] {
  const { route, guard, known, seen } = options;
  const names = new Set(ports.map(({ link }) => link.name));
  const present = new Map(ports.map((port) => [port.link.index, port]));
  const hidden = known.filter(({ hostInterface }) => !names.has(hostInterface));
  const changed = [...seen].filter(
    ([index, { name, alias }]) =>
      present.get(index)?.alias !== alias || present.get(index)?.link.name !== name,
  );
  if (hidden.length === 0 && changed.length === 0) return [];
  const links = listLinks(route).filter(({ kind }) => kind === 'veth');
  const words: string[] = [];
  const restore = (link: Link, { name, alias }: Pick<SeenPort, 'name' | 'alias'>): void => {
    if (link.name !== name) {
      nameLink(route, link, name);
      words.push(`renamed interface "${link.name}" to "${name}"`);
    }
    if (link.alias !== alias) {
      setLink(route, name, { alias });
      words.push(`restored the alias of interface "${name}"`);
    }
  };
  const restored = new Set<string>();
  for (const [index, port] of changed) {
    const link = links.find((candidate) => candidate.index === index);
    if (link === undefined) continue; // it is gone
    restore(link, port);
    restored.add(port.name);
  }
  // Not seen before: control is young.
  for (const pod of hidden.filter(({ hostInterface }) => !restored.has(hostInterface))) {
    const name = pod.hostInterface;
    const possible = aliasesOf(pod, guard);
    const link =
      links.find((candidate) => candidate.name === name) ??
      links.find(({ alias }) => alias !== undefined && possible().includes(alias));
    if (link === undefined) continue; // leak-watch.ts's
    // Its MAC is derived from its alias and tells which one it was, if nobody changed that too.
    const alias = possible().find((candidate) => hostMacOf(candidate) === link.address) ?? possible()[0];
    if (alias !== undefined) restore(link, { name, alias });
  }
  return words;
}

/** The alias of a pod with a derived MAC, and those with a MAC that its element has. */
function aliasesOf(pod: KnownPod, guard: PodGuard): () => readonly string[] {
  let aliases: readonly string[] | undefined;
  return () =>
    (aliases ??= [
      formatAlias({ ...pod, mac: undefined }),
      ...guard
        .list()
        .filter(({ hostInterface }) => hostInterface === pod.hostInterface)
        .map(({ mac }) => formatAlias({ ...pod, mac })),
    ]);
}

/** An MTU below 1280 takes IPv6 from an interface; with the right one it comes back as the system would have it. */
export function restoreIpv6Setting(route: NetlinkSocket, name: string, { mtu }: LinkChange): void {
  if (mtu !== undefined && findLink(route, name)?.ipv6Addresses === true) {
    setLink(route, name, { ipv6Addresses: false });
  }
}

function ensurePort(
  { route, bridge, seen }: PodPortsOptions,
  { link: found, alias }: PodPort,
): readonly string[] {
  const words: string[] = [];
  let link = found;
  if (link.master !== bridge.index) {
    setLink(route, link.name, { master: bridge.index });
    link = findLink(route, link.name) ?? link;
    words.push(`made "${link.name}" a port of "${bridge.name}" again`);
  }
  const port = seen.get(link.index) ?? { name: link.name, alias, mtu: link.mtu };
  seen.set(link.index, port);
  const { up, ...settings } = changeNeeded(link, portWanted(port)) ?? {};
  if (Object.keys(settings).length > 0) setLink(route, link.name, settings);
  if (up !== undefined) setLink(route, link.name, { up });
  restoreIpv6Setting(route, link.name, settings);
  const halted = up === undefined && isHalted(link);
  if (halted) setLink(route, link.name, { port: { state: PORT_FORWARDING } });
  const { port: flags = {}, ...others } = settings;
  const changed = [
    ...Object.keys(others),
    ...Object.keys(flags),
    ...(up === undefined ? [] : ['up']),
    ...(halted ? ['state'] : []),
  ];
  // The settings of a new port are the kernel's.
  if (changed.length > 0 && words.length === 0) {
    words.push(`set ${changed.join(', ')} of interface "${link.name}"`);
  }
  return words;
}

/** Only what is gone: a port whose alias somebody has just taken is hidden, and what it was like is known from here alone. */
function forgetGone(route: NetlinkSocket, seen: Map<number, SeenPort>, ports: readonly PodPort[]): void {
  const shown = new Set(ports.map(({ link }) => link.index));
  const hidden = [...seen.keys()].filter((index) => !shown.has(index));
  if (hidden.length === 0) return;
  const present = new Set(listLinks(route).map(({ index }) => index));
  for (const index of hidden) if (!present.has(index)) seen.delete(index);
}

/** Idempotent; what was repaired. */
export function ensurePodPorts(options: PodPortsOptions): readonly Repair[] {
  const { route, guard, seen } = options;
  // Before the ports: an attach gives a port its alias first and its element then, so no element of a new port is taken for stale.
  const present = guard.list();
  let ports = listPodPorts(route);
  const repairs = [...repairsOf('pod_name', restoreNames(options, ports))];
  if (repairs.length > 0) ports = listPodPorts(route);
  const wanted = ports.flatMap(({ link, alias }): readonly PodElement[] => {
    const address = addressOfAlias(alias);
    return address === undefined ? [] : [{ hostInterface: link.name, mac: podMacOf(alias), address }];
  });
  const { added, removed } = guard.restore({ present, wanted });
  const elements = 'elements of nftables set "bridge weft pods"';
  if (added > 0) repairs.push(...repairsOf('pod_element', [`restored ${added} ${elements}`]));
  if (removed > 0) repairs.push(...repairsOf('pod_element', [`removed ${removed} stale ${elements}`]));
  for (const port of ports) {
    try {
      repairs.push(...repairsOf('pod_port', ensurePort(options, port)));
    } catch (error) {
      if (!isOvertaken(error, options, port.link.name)) throw error;
    }
  }
  forgetGone(route, seen, ports);
  return repairs;
}

export const isPortName = (name: string): boolean => name.startsWith(POD_PORT_PREFIX);
