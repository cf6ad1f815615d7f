// Takes Weft off the node: everything that control, the shim and the init container leave on it when the agent has ended. The TUN went
// with the agent. Invariant: only what is Weft's by its name and mark goes; every step may be repeated, and what is gone already is fine.
import { readFileSync, readdirSync, rmSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

import { type Ipv4, formatCidr, formatIpv4, ipv4 } from '../../proto/address.ts';
import { CNI_CONFIGURATION_FILE } from '../control/cni/cni-configuration.ts';
import { FIREWALL_TABLE } from '../control/node/firewall-rules.ts';
import { bridgeMac } from '../control/node/node-network.ts';
import { addressOfAlias, listPodPorts } from '../control/node/pod-ports.ts';
import { BRIDGE, ROUTE_PROTOCOL, TUN } from '../control/node/range-conflicts.ts';
import {
  dropRoute,
  findLink,
  listAddresses,
  listLinks,
  listRoutes,
  removeLink,
  setLink,
} from '../linux/interface.ts';
import type { NetlinkSocket } from '../linux/netlink-socket.ts';
import type { Nft } from '../linux/nft.ts';
import { OperationError, codeOf } from '../operation-error.ts';
import type { Settings } from '../settings.ts';

export interface NodeRemovalOptions {
  /** As this process sees the node's folders. */
  readonly settings: Pick<
    Settings,
    'cniDirectory' | 'cniPluginDirectory' | 'runDirectory' | 'stateDirectory'
  >;
  readonly nodeIp: Ipv4;
  readonly route: NetlinkSocket;
  readonly nft: Nft;
}

const PLUGIN = 'weft';
const FAMILIES = ['inet', 'bridge'];
/** An IPv4 address is the rest of the bridge's MAC. */
const MAC_OF_BRIDGES = bridgeMac(ipv4(0));

/** An agent holds the TUN open for as long as it lives, and would make again what is removed. */
export const agentRuns = (route: NetlinkSocket): boolean => findLink(route, TUN)?.kind === 'tun';

/** What was removed, and what is to be known about it, in words. Throws OperationError: an errno name, NFT_REFUSED, NOT_OURS. */
export async function removeNode(options: NodeRemovalOptions): Promise<readonly string[]> {
  const { settings, route, nft, nodeIp } = options;
  return [
    // First: from now on the runtime attaches no pod by it.
    ...removeConfiguration(settings.cniDirectory),
    ...removePodPorts(route),
    ...removeBridge(route),
    ...removeRoutes(route),
    ...(await removeTables(nft)),
    ...endForwarding(route, nodeIp),
    ...removeFiles(settings.cniPluginDirectory, (name) => name === PLUGIN || name.startsWith(`.${PLUGIN}-`)),
    ...removeFiles(resultsOf(settings), (name) => name.startsWith(`${PLUGIN}-`)),
    ...removeFolder(settings.runDirectory),
    ...removeFolder(settings.stateDirectory),
  ];
}

const removeConfiguration = (folder: string | undefined): readonly string[] =>
  folder === undefined ? [] : removeFiles(folder, (name) => name.startsWith(CNI_CONFIGURATION_FILE));

/** Where runtimes keep what plugins answered, by the name of the network. */
const resultsOf = ({ stateDirectory }: Pick<Settings, 'stateDirectory'>): string =>
  join(dirname(stateDirectory), 'cni/results');

function removePodPorts(route: NetlinkSocket): readonly string[] {
  const ports = listPodPorts(route);
  for (const { link } of ports) removeLink(route, link.name);
  if (ports.length === 0) return [];
  const addresses = ports
    .map(({ alias }) => addressOfAlias(alias))
    .filter((address) => address !== undefined);
  return [
    `Removed the interfaces of ${ports.length} pods that still ran; they have lost their network: ${addresses.map(formatIpv4).join(', ')}. Delete them once another network is installed, they come back with its addresses`,
  ];
}

function removeBridge(route: NetlinkSocket): readonly string[] {
  const bridge = findLink(route, BRIDGE);
  if (bridge === undefined) return [];
  const { kind, address = 0 } = bridge;
  if (kind !== 'bridge' || address - (address % 2 ** 32) !== MAC_OF_BRIDGES) {
    return [`Left interface "${BRIDGE}" alone: it is not Weft's by its MAC address; is it Weave Net's?`];
  }
  removeLink(route, BRIDGE);
  return [`Removed bridge "${BRIDGE}" with its addresses and routes`];
}

function removeRoutes(route: NetlinkSocket): readonly string[] {
  const left = listRoutes(route).filter(({ protocol }) => protocol === ROUTE_PROTOCOL);
  for (const each of left) dropRoute(route, each);
  return left.map(({ destination }) => `Removed route ${formatCidr(destination)}`);
}

async function removeTables(nft: Nft): Promise<readonly string[]> {
  const words: string[] = [];
  for (const family of FAMILIES) {
    if ((await nft.list(family, FIREWALL_TABLE)) === undefined) continue;
    await nft.apply([{ delete: { table: { family, name: FIREWALL_TABLE } } }]);
    words.push(`Removed nftables table "${family} ${FIREWALL_TABLE}"`);
  }
  return words;
}

/**
 * The agent lets the underlay's interface forward. On a node that forwards anyway it changed nothing; on one that does not, the interface
 * is made like the others again.
 */
function endForwarding(route: NetlinkSocket, nodeIp: Ipv4): readonly string[] {
  const forwards = ['all', 'default'].some(
    (name) => readFileSync(`/proc/sys/net/ipv4/conf/${name}/forwarding`, 'utf8').trim() !== '0',
  );
  if (forwards) return [];
  const index = listAddresses(route).find(({ address }) => address === nodeIp)?.index;
  const underlay = listLinks(route).find((link) => link.index === index);
  if (underlay === undefined || underlay.inet.forwarding !== 1) return [];
  setLink(route, underlay.name, { inet: { forwarding: 0 } });
  return [`Interface "${underlay.name}" forwards no more, as net.ipv4.ip_forward=0 says`];
}

function removeFiles(folder: string, isOurs: (name: string) => boolean): readonly string[] {
  return removing(folder, () => {
    const names = readdirSync(folder).filter(isOurs);
    for (const name of names) rmSync(join(folder, name), { force: true });
    return names.map((name) => `Removed "${join(folder, name)}"`);
  });
}

function removeFolder(folder: string): readonly string[] {
  if (basename(folder) !== PLUGIN) {
    throw new OperationError(
      `Cannot remove "${folder}": only a folder of the name "${PLUGIN}" is Weft's own`,
      {
        code: 'NOT_OURS',
        context: { folder },
      },
    );
  }
  return removing(folder, () => {
    readdirSync(folder); // tells whether it is there
    rmSync(folder, { recursive: true, force: true });
    return [`Removed "${folder}"`];
  });
}

function removing(folder: string, work: () => readonly string[]): readonly string[] {
  try {
    return work();
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return [];
    throw new OperationError(
      `Cannot remove what Weft has in "${folder}" (${codeOf(error)}): make it writable; it is tried again`,
      { code: codeOf(error), context: { folder }, cause: error },
    );
  }
}
