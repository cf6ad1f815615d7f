// The other nodes: who answers and who does not, in which direction it is blocked and where, what the path takes, and who is who.
import { formatIpv4, formatMac, type Mac } from '../../../proto/address.ts';
import { QUIET_PEERS_A_ROUND } from '../../../proto/probe.ts';
import type { PeerStatus } from '../../../proto/node-report.ts';
import { FIREWALL_TABLE } from '../../control/node/firewall-rules.ts';
import { byUrgency } from '../../report/peer-urgency.ts';
import { formatShare } from '../../report/text.ts';
import type { Check, Found } from '../check.ts';
import { podMtuOf, seconds, underlayOf } from '../expected.ts';
import { type Obstacle, obstacles } from '../rule-walk.ts';
import type { Scene } from '../scene.ts';
import { chainName, type Direction, tunnelTrials } from './firewall.ts';

/**
 * Whether its own probes still come although its answers have stopped: then the last one is clearly younger than the last answer. They come
 * each second; in a large cluster, of a peer without traffic, in turn with others.
 */
function stillAsks(scene: Scene, { lastRequestSeconds, lastHeardSeconds }: PeerStatus): boolean {
  if (lastRequestSeconds === undefined) return false;
  const turnSeconds = Math.ceil((scene.agent.report?.peers.length ?? 0) / QUIET_PEERS_A_ROUND);
  return (
    lastRequestSeconds <
    Math.min(lastHeardSeconds ?? Number.POSITIVE_INFINITY, 8 + turnSeconds) - 1 - turnSeconds
  );
}

/** A new peer is asked at once and answers within a second. */
const PENDING_SECONDS = 8;
const MOST_TOLD = 4;

function ruleAgainst(scene: Scene, peer: string, wanted: Direction): Obstacle | undefined {
  const { ruleset } = scene;
  if (ruleset === undefined) return undefined;
  for (const { direction, packet, peer: tried } of tunnelTrials(scene)) {
    if (direction !== wanted || formatIpv4(tried) !== peer) continue;
    const found = obstacles(ruleset, packet, FIREWALL_TABLE).find(({ isCertain }) => isCertain);
    if (found !== undefined) return found;
  }
  return undefined;
}

const ruleWords = ({ base, place }: Obstacle): string =>
  place === undefined
    ? `the policy of chain "${chainName(base)}" of this node`
    : `rule ${place.rule.handle} of chain "${chainName(place.chain)}" of this node (${place.rule.text})`;

interface Diagnosis {
  /** Without the peer's name: peers with the same cause are told together. */
  readonly what: string;
  readonly fix: string;
}

function diagnose(scene: Scene, peer: PeerStatus): Diagnosis {
  const { port } = scene.settings;
  const traffic = scene.traffic?.peers.find(({ address }) => formatIpv4(address) === peer.address);
  const hearsIt = stillAsks(scene, peer);
  const outbound = ruleAgainst(scene, peer.address, 'outbound');
  const inbound = ruleAgainst(scene, peer.address, 'inbound');
  const open = `let UDP port ${port} through between the nodes, in both directions`;
  if (isHalted(scene)) {
    return { what: 'the data plane of this node stands still', fix: 'see agent_processes and dataplane' };
  }
  if (outbound !== undefined) {
    return {
      what: `what this node sends to it is stopped by ${ruleWords(outbound)}`,
      fix: `see foreign_rules; ${open}`,
    };
  }
  if (inbound !== undefined && !hearsIt) {
    return { what: `what it sends is stopped by ${ruleWords(inbound)}`, fix: `see foreign_rules; ${open}` };
  }
  if ((traffic?.drops.egress_send_failed ?? 0) > 0) {
    return {
      what: 'the kernel of this node refuses to send to it: outbound is blocked here by a firewall, or there is no route to it',
      fix: `ip route get ${peer.address}; nft list ruleset; iptables-legacy-save; ${open}`,
    };
  }
  if (hearsIt) {
    return {
      what: 'its own probes arrive here, its answers to ours do not: the way from here to it is blocked, inbound at that node or between',
      fix: `run "weft doctor" on node "${peer.name}"; ${open}`,
    };
  }
  return silent(scene, { peer, open });
}

const isHalted = ({ traffic, processes }: Scene): boolean =>
  traffic?.loops === 0 || processes.some(({ role, state }) => role === 'dataplane' && /t/i.test(state));

/** Neither its answers nor its own probes arrive. */
function silent(scene: Scene, { peer, open }: { peer: PeerStatus; open: string }): Diagnosis {
  const reach = scene.reach.get(peer.address);
  const { port } = scene.settings;
  const gone = `ping ${peer.address}; look at the machine; if it is gone for good: kubectl delete node ${peer.name}`;
  if (reach === 'open' || reach === 'refused') {
    return {
      what: `the machine is there (TCP is ${reach === 'open' ? 'answered' : 'refused by it'}), and nothing of UDP port ${port} arrives from it: the way from it to here is blocked (inbound here, outbound there, or between), or no agent works there`,
      fix: `kubectl -n weft get pods -o wide; run "weft doctor" on node "${peer.name}"; ${open}`,
    };
  }
  if (reach === 'unreachable' || isUnanswered(scene, peer.address)) {
    return { what: 'no machine answers at its address: the node is down, or a cable is out', fix: gone };
  }
  return {
    what: 'nothing arrives from it, by TCP neither: the node is down, or everything between is blocked',
    fix: gone,
  };
}

/** The kernel has asked by ARP in vain. */
function isUnanswered({ kernel }: Scene, address: string): boolean {
  const neighbour = kernel.neighbours.find((item) => formatIpv4(item.address) === address);
  return neighbour !== undefined && neighbour.mac === undefined;
}

export const reachability: Check = {
  id: 'peer_unreachable',
  finds: 'a peer that does not answer: gone, or blocked, in which direction and by what',
  why: 'pods of the two nodes do not reach each other',
  fix: 'let UDP port 6784 through between all nodes, in both directions; run the doctor on the other node too',
  run(scene) {
    const peers = scene.agent.report?.peers ?? [];
    const failed = peers.filter(
      ({ state, sinceSeconds }) =>
        state === 'failed' || (state === 'pending' && sinceSeconds > PENDING_SECONDS),
    );
    const isEverybody = failed.length === peers.length && peers.length > 1;
    const causes = Map.groupBy(
      failed.map((peer) => ({ peer, diagnosis: diagnose(scene, peer) })),
      ({ diagnosis }) => diagnosis.what,
    );
    return [...causes].map(([what, group]): Found => {
      const names = group.slice(0, MOST_TOLD).map(({ peer }) => `"${peer.name}" (${peer.address})`);
      const more = group.length > names.length ? ` and ${group.length - names.length} more` : '';
      const heard = Math.min(...group.map(({ peer }) => peer.lastHeardSeconds ?? Number.POSITIVE_INFINITY));
      const last = Number.isFinite(heard) ? `last heard ${seconds(heard)} ago` : 'never heard';
      const verb = group.length === 1 ? 'does not answer' : 'do not answer';
      const everybody = isEverybody
        ? `. None of the ${peers.length} peers answers, so the cause is most likely on this node`
        : '';
      return {
        severity: 'error',
        what: `Peer${group.length === 1 ? '' : 's'} ${names.join(', ')}${more} ${verb}, ${last}: ${what}${everybody}`,
        fix: group[0]?.diagnosis.fix ?? '',
      };
    });
  },
};

export const loss: Check = {
  id: 'peer_loss',
  finds: 'a peer that answers only some of the probes',
  why: 'pods of the two nodes lose packets in the same proportion',
  fix: 'look at the underlay between the two nodes: ip -s link, ethtool -S, the switch',
  run(scene) {
    const { report } = scene.agent;
    const lossy = report === undefined ? [] : byUrgency(report).lossy;
    return lossy.slice(0, MOST_TOLD).map(({ name, address, probeLoss }): Found => ({
      severity: 'warning',
      what: `Peer "${name}" (${address}) left ${formatShare(probeLoss)} of the last minute's probes without an answer`,
    }));
  },
};

export const pathMtu: Check = {
  id: 'path_mtu',
  finds: "a path that takes smaller packets than the node's interface, or an MTU set too large",
  why: 'routers between drop what is larger, often silently; pods are told by ICMP, what ignores that hangs',
  fix: 'raise the MTU of the links and tunnels between the nodes, or set WEAVE_MTU to what the narrowest path takes',
  run(scene) {
    const mtu = podMtuOf(scene);
    if (mtu === undefined) return [];
    const narrow = (scene.agent.report?.peers ?? []).filter(
      ({ pathMtu: found }) => found !== undefined && found < mtu,
    );
    const found = narrow.slice(0, MOST_TOLD).map(({ name, address, pathMtu: taken }): Found => ({
      severity: 'warning',
      what: `The path to peer "${name}" (${address}) takes packets of ${taken} bytes, pods send up to ${mtu}`,
    }));
    const underlay = underlayOf(scene);
    const set = scene.settings.mtu;
    if (set !== undefined && underlay !== undefined && set > underlay.mtu - 50) {
      found.push({
        severity: 'error',
        what: `WEAVE_MTU is ${set}, interface "${underlay.name}" leaves ${underlay.mtu - 50}`,
      });
    }
    return found;
  },
};

interface SharedMac {
  readonly mac: Mac;
  readonly index: number;
  /** How many the peers on that interface have. */
  readonly macs: number;
  readonly addresses: readonly string[];
}

/** In networks of clouds one router answers for all machines: its address is the default gateway's too, or that of everybody. */
function isRouter({ kernel }: Scene, { mac, index, macs, addresses }: SharedMac): boolean {
  const gateways = new Set(
    kernel.routes
      .filter((route) => route.destination.prefixLength === 0 && route.index === index)
      .map(({ gateway }) => gateway),
  );
  const isGateway = kernel.neighbours.some(
    (neighbour) => neighbour.index === index && neighbour.mac === mac && gateways.has(neighbour.address),
  );
  return isGateway || (macs === 1 && addresses.length > 2);
}

export const identities: Check = {
  id: 'duplicate_identity',
  finds: 'two nodes with one address or MAC address, in the cluster or on the underlay',
  why: 'packets reach only one of the two, now this one and now that one',
  fix: 'give one of them another address; for virtual machines that were cloned: another MAC address and machine id',
  run(scene) {
    const { nodeIp, kernel, agent } = scene;
    const peers = agent.report?.peers ?? [];
    const own = agent.report?.node;
    const found: Found[] = [];
    const everybody = [
      ...peers.map(({ name, address, vtepMac }) => ({ name, address, vtepMac })),
      ...(own?.vtepMac === undefined ? [] : [{ name: own.name, address: own.address, vtepMac: own.vtepMac }]),
    ];
    for (const key of ['address', 'vtepMac'] as const) {
      for (const [value, same] of Map.groupBy(everybody, (peer) => peer[key])) {
        if (same.length < 2) continue;
        const what = key === 'address' ? 'the underlay address' : 'the VTEP MAC address';
        found.push({
          severity: 'error',
          what: `Nodes ${same.map(({ name }) => `"${name}"`).join(' and ')} have ${what} ${value}`,
        });
      }
    }
    const underlay = underlayOf(scene);
    if (underlay === undefined) return found;
    const known = new Set(peers.map(({ address }) => address));
    const macs = Map.groupBy(
      kernel.neighbours.filter(
        ({ index, mac, address }) =>
          index === underlay.index && mac !== undefined && mac !== 0 && known.has(formatIpv4(address)),
      ),
      ({ mac }) => mac,
    );
    for (const [mac, neighbours] of macs) {
      if (mac === undefined) continue;
      const addresses = neighbours.map(({ address }) => formatIpv4(address));
      if (mac === underlay.address) {
        found.push({
          severity: 'error',
          what: `${addresses.join(', ')} has the MAC address ${formatMac(mac)} of this node's own interface "${underlay.name}" (${nodeIp === undefined ? '' : formatIpv4(nodeIp)})`,
        });
      } else if (
        addresses.length > 1 &&
        !isRouter(scene, { mac, index: underlay.index, macs: macs.size, addresses })
      ) {
        const isAlone = !kernel.neighbours.some(
          (other) =>
            other.index === underlay.index && other.mac !== undefined && other.mac !== 0 && other.mac !== mac,
        );
        found.push({
          // Of two peers and nobody else to compare them with it may be a router's, too.
          severity: isAlone ? 'warning' : 'error',
          what: `Nodes ${addresses.join(' and ')} have one MAC address on the underlay, ${formatMac(mac)}`,
          fix: 'give one of them another MAC address, unless a router between answers for both (proxy ARP)',
        });
      }
    }
    return found;
  },
};

export const versions: Check = {
  id: 'version_skew',
  finds: 'agents of different versions, or peers with another tunnel port',
  why: 'neighbouring versions work together; a mixture that stays is a roll-out that has stopped',
  fix: 'kubectl -n weft rollout status daemonset/weft; kubectl -n weft get pods -o wide',
  run({ agent: { report }, settings, version }) {
    if (report === undefined) return [];
    const found: Found[] = [];
    const others = Map.groupBy(
      report.peers.filter(
        (peer) => peer.version !== '' && peer.version !== 'kernel' && peer.version !== report.version,
      ),
      (peer) => peer.version,
    );
    for (const [other, peers] of others) {
      const [first] = peers;
      const more = peers.length > 1 ? ` and ${peers.length - 1} more` : '';
      found.push({
        severity: 'warning',
        what: `This node's agent is ${report.version}, that of "${first?.name}"${more} is ${other}`,
      });
    }
    if (report.version !== version) {
      found.push({
        severity: 'warning',
        what: `The agent that answers is ${report.version}, the one that is installed here is ${version}`,
      });
    }
    const strangers = report.peers.filter(
      ({ port, version: theirs }) => port !== settings.port && theirs !== 'kernel',
    );
    for (const { name, port } of strangers.slice(0, MOST_TOLD)) {
      found.push({
        severity: 'warning',
        what: `Peer "${name}" has tunnel port ${port}, this node ${settings.port}`,
        fix: 'set the same WEFT_PORT on every node (ConfigMap/weft), then restart the agents',
      });
    }
    return found;
  },
};

export const PEER_CHECKS: readonly Check[] = [reachability, identities, pathMtu, loss, versions];
