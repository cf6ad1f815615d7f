// Makes the scene: asks the agent, the kernel, nftables, the API server and the file system, all at once, and counters twice. Nothing is
// changed, and no packet of the pod network is sent. What fails is left undefined and named.
import { hostname } from 'node:os';
import { setTimeout as pause } from 'node:timers/promises';

import type { Ipv4 } from '../../proto/address.ts';
import { parseIpv4 } from '../../proto/address-text.ts';
import { openPodGuard } from '../control/node/pod-guard.ts';
import { findNodeAddress } from '../linux/node-address.ts';
import { monotonicMs } from '../linux/monotonic-clock.ts';
import { NETLINK_ROUTE, openNetlink } from '../linux/netlink-socket.ts';
import { openNft } from '../linux/nft.ts';
import { OperationError } from '../operation-error.ts';
import { type Environment, parseSettings, type Settings } from '../settings.ts';
import { VERSION } from '../version.ts';
import { environmentInForce } from './agent-environment.ts';
import { readRuleset, type Ruleset } from './ruleset.ts';
import type { KernelList, Scene } from './scene.ts';
import { type AgentAnswer, askAgent } from './sources/agent.ts';
import { askCluster } from './sources/cluster.ts';
import { readFiles } from './sources/files.ts';
import {
  countersBetween,
  readCounters,
  readKernel,
  readLegacyTables,
  readSysctls,
} from './sources/kernel.ts';
import { readAgentEnvironment, readAgentProcesses, readCgroup } from './sources/processes.ts';
import { reachPeers } from './sources/reach.ts';
import { readListeners, readUdpCounts, readUdpSockets } from './sources/sockets.ts';
import { sampleTraffic, trafficBetween } from './sources/traffic.ts';

/** Two probes of every peer fall into it, and a look at the nodes' rules by a program that undoes ours. */
const BETWEEN_LOOKS_MS = 2200;

/** As an operator is told of one that could not be had. */
const LISTS: Readonly<Record<KernelList, string>> = {
  links: 'interfaces',
  addresses: 'addresses',
  routes: 'routes',
  rules: 'policy rules',
  neighbours: 'neighbours',
};

export async function gatherScene(environment: Environment): Promise<Scene> {
  const processes = readAgentProcesses();
  const inForce = environmentInForce(environment, readAgentEnvironment(processes));
  const { settings, settingsRefusal } = settingsOf(inForce);
  const unseen: string[] = [];
  const isUnseen = (what: string, error: unknown): void => {
    unseen.push(`${what} (${error instanceof Error ? error.message : String(error)})`);
  };

  const startedMs = performance.now();
  const sampled = sampleTraffic(settings.runDirectory, monotonicMs());
  const counted = readCounters();
  const udpEarlier = readUdpCounts(settings.port);
  const cluster = askCluster({ environment: inForce, nodeName: settings.nodeName });
  const rules = listRuleset(environment['PATH'] ?? '').catch((error: unknown) => {
    isUnseen('nftables', error);
    return undefined;
  });
  const earlier = await askAgent(settings.statusAddress);
  const reach = await reachPeers(silentPeers(earlier), settings.metricsAddress.port);
  await pause(Math.max(0, BETWEEN_LOOKS_MS - (performance.now() - startedMs)));

  const kernel = readKernel(
    () => openNetlink(NETLINK_ROUTE),
    (list, error) => isUnseen(LISTS[list], error),
  );
  const pods = listPodElements((error) => isUnseen('the anti-spoof set', error));
  // One that keeps silent does so for seconds.
  const answer = isStuck(earlier) ? earlier : await askAgent(settings.statusAddress);
  const ruleset = await rules;
  return {
    settings,
    settingsRefusal,
    nodeIp: nodeAddress(settings),
    agent: {
      report: answer.kind === 'report' ? answer.report : undefined,
      earlier: earlier.kind === 'report' ? earlier.report : undefined,
      refusal: answer.kind === 'refused' ? answer.reason : undefined,
      silence: answer.kind === 'silent' ? answer.code : undefined,
    },
    processes: readAgentProcesses(),
    sockets: {
      udp: readUdpSockets(settings.port),
      udpEarlier,
      tcp: readListeners([settings.statusAddress.port, settings.metricsAddress.port]),
    },
    traffic: trafficBetween(sampled, sampleTraffic(settings.runDirectory, monotonicMs())),
    kernel,
    ruleset,
    legacyTables: readLegacyTables(),
    pods,
    sysctls: readSysctls(),
    counters: countersBetween(counted, readCounters(), readCgroup(processes)),
    files: await readFiles(settings, Date.now),
    api: await cluster,
    reach,
    nowMs: Date.now(),
    serviceHost: inForce['KUBERNETES_SERVICE_HOST'],
    version: VERSION,
    unseen,
  };
}

function listPodElements(onFailure: (error: unknown) => void): Scene['pods'] {
  try {
    const guard = openPodGuard();
    try {
      return guard.list();
    } finally {
      guard.close();
    }
  } catch (error) {
    onFailure(error);
    return undefined;
  }
}

/** Throws OperationError: NFT_MISSING, NFT_REFUSED. */
async function listRuleset(searchPath: string): Promise<Ruleset> {
  const nft = openNft(searchPath);
  const [objects, text] = await Promise.all([nft.listAll(), nft.listText()]);
  return readRuleset(objects, text);
}

/**
 * Run on the node by hand, there is no HOSTNAME in the environment. In place of what cannot be used there is the default. The range's default is
 * refused where the node's own address is in it: the address stays in force, so that the other checks are about this node.
 */
export function settingsOf(environment: Environment): Pick<Scene, 'settings' | 'settingsRefusal'> {
  const usable: Record<string, string | undefined> = {
    ...environment,
    HOSTNAME: environment['HOSTNAME'] || hostname().toLowerCase(),
  };
  const refusals = new Set<string>();
  let nodeIp: Ipv4 | undefined;
  for (;;) {
    try {
      const settings = parseSettings(usable);
      return {
        settings: nodeIp === undefined ? settings : { ...settings, nodeIp },
        settingsRefusal: refusals.size === 0 ? undefined : [...refusals].join('; '),
      };
    } catch (error) {
      if (!(error instanceof OperationError)) throw error;
      const name = String(error.context['setting']);
      refusals.add(error.message);
      if (name === 'HOSTNAME') {
        usable[name] = 'unnamed';
      } else if (usable[name]) {
        usable[name] = undefined;
      } else if (usable['WEFT_NODE_IP']) {
        nodeIp = parseIpv4(usable['WEFT_NODE_IP']);
        usable['WEFT_NODE_IP'] = undefined;
      } else {
        throw error; // other defaults are not refused: it would be for ever
      }
    }
  }
}

const isStuck = (answer: AgentAnswer): boolean => answer.kind === 'silent' && answer.code === 'TIMEOUT';

const silentPeers = (answer: AgentAnswer): readonly string[] =>
  answer.kind !== 'report'
    ? []
    : answer.report.peers.filter(({ state }) => state !== 'established').map(({ address }) => address);

function nodeAddress({ nodeIp }: Settings): Ipv4 | undefined {
  if (nodeIp !== undefined) return nodeIp;
  try {
    return findNodeAddress();
  } catch (error) {
    if (error instanceof OperationError) return undefined;
    throw error;
  }
}
