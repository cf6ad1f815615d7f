// The node's packet filters: Weft's own tables are whole, and no table of anybody else drops, rejects or rewrites what pods and the tunnel
// send. What a table would do is found out by walking its rules with packets like ours (rule-walk.ts).
import { formatCidr, formatIpv4, type Ipv4 } from '../../../proto/address.ts';
import { FIREWALL_TABLE, firewallCommands } from '../../control/node/firewall-rules.ts';
import { BRIDGE, TUN } from '../../control/node/range-conflicts.ts';
import type { Check, Found } from '../check.ts';
import { hasServed, peerNameOf, podPorts, somePodHere, somePodsThere, underlayOf } from '../expected.ts';
import type { TestPacket } from '../rule-match.ts';
import { type Fate, isPolicyLike, type Obstacle, obstacles } from '../rule-walk.ts';
import { type NftChain, type NftRule, setKey } from '../ruleset.ts';
import type { Scene } from '../scene.ts';

interface Trial {
  /** Completes "… drops". */
  readonly words: string;
  /** Conditions of rules that would let all packets of this kind through. */
  readonly openings: readonly string[];
  /** The condition of a rule that keeps these packets, and no others, from being rewritten. */
  readonly exemption: string;
  readonly packet: TestPacket;
}

/** A port that no rule of a policy is likely to speak of. */
const ANY_PORT = 40_123;
const PEERS_TRIED = 4;

/** Peers that do not answer first: a rule may be about one address. */
function triedPeers(scene: Scene): readonly Ipv4[] {
  const failed = new Set(
    scene.agent.report?.peers.filter(({ state }) => state !== 'established').map(({ address }) => address),
  );
  const all = scene.traffic?.peers.map(({ address }) => address) ?? [];
  return [
    ...all.filter((address) => failed.has(formatIpv4(address))),
    ...all.filter((address) => !failed.has(formatIpv4(address))),
  ].slice(0, PEERS_TRIED);
}

export type Direction = 'inbound' | 'outbound';

export interface TunnelTrial extends Trial {
  readonly direction: Direction;
  readonly peer: Ipv4;
}

export function tunnelTrials(scene: Scene): readonly TunnelTrial[] {
  const { nodeIp, settings } = scene;
  const device = underlayOf(scene)?.name;
  if (nodeIp === undefined || device === undefined) return [];
  const common = {
    protocol: 'udp',
    sourcePort: ANY_PORT,
    destinationPort: settings.port,
    state: 'untracked',
  } as const;
  const trials: TunnelTrial[] = [];
  for (const peer of triedPeers(scene)) {
    const name = peerNameOf(scene, formatIpv4(peer));
    const into = { ...common, source: peer, destination: nodeIp, input: device, output: undefined };
    const out = { ...common, source: nodeIp, destination: peer, input: undefined, output: device };
    const incoming = `what peer "${name}" sends to UDP port ${settings.port} of this node`;
    const outgoing = `what this node sends to UDP port ${settings.port} of peer "${name}"`;
    const ingress = { hook: 'ingress', device } as const;
    const egress = { hook: 'egress', device } as const;
    const openings = [`udp dport ${settings.port}`] as const;
    const both = { openings, exemption: openings[0], peer } as const;
    const inbound = { ...both, words: incoming, direction: 'inbound' } as const;
    const outbound = { ...both, words: outgoing, direction: 'outbound' } as const;
    trials.push(
      { ...inbound, packet: { ...into, hook: 'prerouting', deviceHook: ingress, isToThisNode: true } },
      { ...inbound, packet: { ...into, hook: 'input', isToThisNode: true } },
      { ...outbound, packet: { ...out, hook: 'output', isToThisNode: false } },
      { ...outbound, packet: { ...out, hook: 'postrouting', deviceHook: egress, isToThisNode: false } },
    );
  }
  return trials;
}

interface Passage {
  readonly words: string;
  readonly source: Ipv4;
  readonly destination: Ipv4;
  readonly input: string;
  readonly output: string;
}

function passages(scene: Scene): readonly Passage[] {
  const here = somePodHere(scene);
  if (here === undefined) return [];
  const found: Passage[] = [];
  for (const { address } of somePodsThere(scene, PEERS_TRIED)) {
    found.push(
      {
        words: `packets of pods to pods of other nodes (${formatIpv4(here)} to ${formatIpv4(address)})`,
        source: here,
        destination: address,
        input: BRIDGE,
        output: TUN,
      },
      {
        words: `packets of other nodes' pods to pods here (${formatIpv4(address)} to ${formatIpv4(here)})`,
        source: address,
        destination: here,
        input: TUN,
        output: BRIDGE,
      },
    );
  }
  const neighbour = podPorts(scene)[1]?.address;
  if (neighbour !== undefined) {
    found.push({
      words: `packets between pods of this node (${formatIpv4(here)} to ${formatIpv4(neighbour)})`,
      source: here,
      destination: neighbour,
      input: BRIDGE,
      output: BRIDGE,
    });
  }
  return found;
}

function podTrials(scene: Scene): readonly Trial[] {
  const trials: Trial[] = [];
  const range = formatCidr(scene.settings.range);
  const openings = [`ip saddr ${range}`, `ip daddr ${range}`];
  const exemption = openings.join(' ');
  const ports = new Map(podPorts(scene).map(({ address, link }) => [address, link.name]));
  for (const { words, source, destination, input, output } of passages(scene)) {
    const packet = {
      source,
      destination,
      protocol: 'tcp',
      sourcePort: ANY_PORT,
      destinationPort: ANY_PORT,
      isToThisNode: false,
    } as const;
    const trial = { words, openings, exemption };
    for (const hook of ['prerouting', 'forward', 'postrouting'] as const) {
      const way = { hook, input, output: hook === 'prerouting' ? undefined : output };
      trials.push({ ...trial, packet: { ...packet, ...way, state: 'new' } });
    }
    // The bridge takes it in for the node and out to a pod; it forwards nothing from port to port.
    const frame = { ...packet, family: 'bridge', state: undefined } as const;
    const from = ports.get(source);
    const to = ports.get(destination);
    for (const hook of from === undefined ? [] : (['prerouting', 'input'] as const)) {
      trials.push({ ...trial, packet: { ...frame, hook, input: from, output: undefined } });
    }
    for (const hook of to === undefined ? [] : (['output', 'postrouting'] as const)) {
      trials.push({ ...trial, packet: { ...frame, hook, input: undefined, output: to } });
    }
  }
  return trials;
}

const DOES: Readonly<Record<Fate, string>> = {
  dropped: 'drops',
  rejected: 'rejects',
  source_rewritten: 'rewrites the source of',
  redirected: 'redirects',
};

export const chainName = ({ family, table, name }: NftChain): string => `${family} ${table} ${name}`;

/** By its own words about the tunnel's port, a peer or the pods: of any other rule something else may depend on it. */
function namesUs({ settings, traffic, nodeIp }: Scene, { expressions }: NftRule): boolean {
  const { base, prefixLength } = settings.range;
  const addresses = [
    ...(traffic?.peers.map(({ address }) => address) ?? []),
    ...(nodeIp === undefined ? [] : [nodeIp]),
  ];
  const ours = new Set<unknown>(
    [
      settings.port,
      ...addresses.map(formatIpv4),
      { prefix: { addr: formatIpv4(base), len: prefixLength } },
    ].map((value) => JSON.stringify(value)),
  );
  return expressions.some((expression) => {
    const { match } = (expression ?? {}) as {
      readonly match?: { readonly op: string; readonly right: unknown };
    }; // as: nft's
    return match !== undefined && match.op !== '!=' && ours.has(JSON.stringify(match.right));
  });
}

const AND_TELL = 'and tell the firewall that made it (firewalld, ufw, iptables)';

function remedyOf(scene: Scene, { fate, base, place }: Obstacle, { openings, exemption }: Trial): string {
  const isRefused = fate === 'dropped' || fate === 'rejected';
  if (isRefused && place !== undefined && namesUs(scene, place.rule)) {
    return `nft delete rule ${chainName(place.chain)} handle ${place.rule.handle}; ${AND_TELL} to leave this traffic alone`;
  }
  const accepted = isRefused ? openings : [exemption];
  const commands = accepted.map((condition) => `nft insert rule ${chainName(base)} ${condition} accept`);
  return `${commands.join('; ')}; ${AND_TELL}, so that it lasts`;
}

function told(scene: Scene, obstacle: Obstacle, trial: Trial): Found {
  const { fate, base, place, isCertain } = obstacle;
  const where = `chain "${chainName(place?.chain ?? base)}"`;
  const who = place === undefined ? `The policy of ${where}` : `Rule ${place.rule.handle} of ${where}`;
  const text = place === undefined ? '' : `: ${place.rule.text || place.rule.comment || 'not shown'}`;
  const verb = isCertain ? DOES[fate] : `${DOES[fate]} perhaps (a rule before it cannot be judged)`;
  return {
    severity: isCertain ? 'error' : 'warning',
    what: `${who} ${verb} ${trial.words}${text}`,
    fix: remedyOf(scene, obstacle, trial),
  };
}

export const foreignRules: Check = {
  id: 'foreign_rules',
  finds: "a rule or policy of another firewall that drops, rejects or rewrites pods' packets or the tunnel's",
  why: 'these packets are lost although everything of Weft is in order; a rewritten source is refused by the node that receives it',
  fix: 'nft list ruleset shows it; tell the firewall that made it to let UDP port 6784 between nodes and the interfaces "weave" and "weft0" alone',
  run(scene) {
    const { ruleset, legacyTables } = scene;
    const found = new Map<string, Found>();
    for (const trial of ruleset === undefined ? [] : [...tunnelTrials(scene), ...podTrials(scene)]) {
      for (const obstacle of obstacles(
        ruleset ?? { chains: [], sets: new Map() },
        trial.packet,
        FIREWALL_TABLE,
      )) {
        const { place, base } = obstacle;
        const key = `${chainName(base)} ${place?.chain.name} ${place?.rule.handle ?? 'policy'}`;
        if (found.has(key)) continue;
        // An accept by a rule that cannot be judged is usual: of what comes after it, only what concerns everything is worth a word.
        if (!obstacle.isCertain && !isPolicyLike(obstacle)) continue;
        found.set(key, told(scene, obstacle, trial));
      }
    }
    const hasTrouble = scene.agent.report?.peers.some(({ state }) => state === 'failed') === true;
    if (legacyTables.length > 0 && hasTrouble) {
      found.set('legacy', {
        severity: 'warning',
        what: `Tables of iptables-legacy are in use (${legacyTables.join(', ')}), whose rules the doctor cannot read, and peers do not answer`,
        why: 'a rule there may drop the tunnel',
        fix: 'iptables-legacy-save on the node; look for rules with DROP, REJECT or a policy DROP',
      });
    }
    return [...found.values()];
  },
};

type CommandFields = Readonly<Record<string, Readonly<Record<string, unknown>>>>;

/** Chain → comments of its rules, as control makes them. */
function ownRules(scene: Scene): ReadonlyMap<string, readonly string[]> {
  const { settings, nodeIp } = scene;
  const commands = firewallCommands(
    {
      range: settings.range,
      tunnelPort: settings.port,
      peerAddresses: nodeIp === undefined ? [] : [nodeIp],
      masquerade: settings.masquerade,
    },
    { inetChains: [], inetSets: [], bridgeChains: [] },
  );
  const chains = new Map<string, readonly string[]>();
  for (const command of commands) {
    const { chain, rule } = (command['add'] ?? {}) as CommandFields; // as: our own commands
    if (chain !== undefined)
      chains.set(setKey(String(chain['family']), FIREWALL_TABLE, String(chain['name'])), []);
    if (rule === undefined) continue;
    const key = setKey(String(rule['family']), FIREWALL_TABLE, String(rule['chain']));
    chains.set(key, [...(chains.get(key) ?? []), String(rule['comment'])]);
  }
  return chains;
}

export const ownFirewall: Check = {
  id: 'weft_rules',
  finds: "chains, rules or peers that are missing in Weft's own nftables tables",
  why: 'without them forged packets get in, pods are not masqueraded, or the tunnel is closed to a peer',
  fix: 'the agent makes them again within seconds; if it does not, see the finding about the agent',
  run(scene) {
    const { ruleset, traffic, nodeIp } = scene;
    if (ruleset === undefined || !hasServed(scene)) return [];
    const present = new Map(ruleset.chains.map((chain) => [chainName(chain), chain]));
    const found: Found[] = [];
    const missing = [...ownRules(scene)].flatMap(([name, comments]) => {
      const chain = present.get(name);
      if (chain === undefined) return [`chain "${name}"`];
      const there = new Set(chain.rules.map(({ comment }) => comment));
      return comments
        .filter((comment) => !there.has(comment))
        .map((comment) => `rule "${comment}" of chain "${name}"`);
    });
    if (missing.length > 0) {
      const more = missing.length > 3 ? ` and ${missing.length - 3} more` : '';
      found.push({ severity: 'error', what: `Missing: ${missing.slice(0, 3).join(', ')}${more}` });
    }
    const peers = ruleset.sets.get(setKey('inet', FIREWALL_TABLE, 'peers'))?.elements;
    const allowed = new Set(peers);
    const wanted = [
      ...(traffic?.peers.map(({ address }) => address) ?? []),
      ...(nodeIp === undefined ? [] : [nodeIp]),
    ];
    const closed =
      peers === undefined ? [] : wanted.map(formatIpv4).filter((address) => !allowed.has(address));
    if (closed.length > 0) {
      found.push({
        severity: 'error',
        what: `${closed.length} addresses of peers are not in nftables set "inet weft peers": ${closed.slice(0, 3).join(', ')}`,
        why: 'what these peers send is refused as of an unknown sender',
      });
    }
    return found;
  },
};

export const FIREWALL_CHECKS: readonly Check[] = [foreignRules, ownFirewall];
