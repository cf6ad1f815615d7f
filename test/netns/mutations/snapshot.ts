// What Weft keeps on a node, as ip, nft and /proc show it, in a form that can be compared: without handles, indices, counts and whatever else
// changes by itself. Pods that come and go meanwhile are left out.
import { type Place, runCommand } from '../../lab/command.ts';

type Json = Readonly<Record<string, unknown>>;

/** What it is about → how it is, as text. */
export type Snapshot = ReadonlyMap<string, string>;

const INTERFACES = ['weave', 'weft0'];
const UNDERLAY = 'eth0';
const SETTINGS = ['forwarding', 'rp_filter', 'send_redirects', 'accept_redirects', 'accept_local'];
const LINK_FACTS = ['mtu', 'txqlen', 'address', 'master', 'ifalias', 'inet6_addr_gen_mode'];
const BRIDGE_FACTS = ['stp_state'];
const PORT_FACTS = [
  'state',
  'hairpin',
  'guard',
  'root_block',
  'learning',
  'flood',
  'mcast_flood',
  'bcast_flood',
  'neigh_suppress',
  'vlan_tunnel',
  'isolated',
  'locked',
];

const PARTS = [
  'ip -d -j link show',
  'ip -4 -j addr show',
  'ip -4 -j route show table all proto 87',
  'nft -j list ruleset',
] as const;

const SCRIPT = [
  // A command that finds nothing prints nothing.
  ...PARTS.map((command) => `${command} || true; echo; echo ---`),
  ...[...INTERFACES, UNDERLAY].map(
    (name) =>
      `for key in ${SETTINGS.join(' ')}; do echo "${name} $key $(cat /proc/sys/net/ipv4/conf/${name}/$key 2>/dev/null)"; done`,
  ),
].join('\n');

const parse = (text: string | undefined): unknown => {
  const trimmed = text?.trim() ?? '';
  return trimmed === '' ? [] : JSON.parse(trimmed);
};

const pick = (object: Json, keys: readonly string[]): Json =>
  Object.fromEntries(keys.flatMap((key) => (object[key] === undefined ? [] : [[key, object[key]]])));

/** `isKept` tells by a pod's host interface whether it counts. */
export async function takeSnapshot(place: Place, isKept: (port: string) => boolean): Promise<Snapshot> {
  const output = await runCommand(place, ['sh', '-c', SCRIPT]);
  const [links, addresses, routes, ruleset, settings = ''] = output.split('\n---\n');
  const facts = new Map<string, string>();
  const isOurs = (name: string): boolean =>
    INTERFACES.includes(name) || (name.startsWith('vethwe') && isKept(name));

  for (const link of parse(links) as readonly Json[]) {
    const name = String(link['ifname']);
    if (!isOurs(name)) continue;
    const info = (link['linkinfo'] ?? {}) as Json; // as: ip's own form
    const facets = {
      ...pick(link, LINK_FACTS),
      up: (link['flags'] as readonly string[]).includes('UP'),
      kind: info['info_kind'],
      bridge: name === 'weave' ? pick(info['info_data'] as Json, BRIDGE_FACTS) : undefined,
      port:
        info['info_slave_kind'] === 'bridge' ? pick(info['info_slave_data'] as Json, PORT_FACTS) : undefined,
    };
    facts.set(`link ${name}`, JSON.stringify(facets));
  }
  for (const { ifname, addr_info } of parse(addresses) as readonly Json[]) {
    if (!INTERFACES.includes(String(ifname))) continue;
    const held = (addr_info as readonly Json[]).map(
      ({ local, prefixlen, scope }) => `${String(local)}/${String(prefixlen)} ${String(scope)}`,
    );
    facts.set(`addresses ${String(ifname)}`, held.sort().join(', '));
  }
  const routed = (parse(routes) as readonly Json[]).map((route) =>
    JSON.stringify(pick(route, ['dst', 'dev', 'prefsrc', 'scope', 'table', 'type'])),
  );
  facts.set('routes', routed.sort().join('\n'));
  addRuleset(facts, parse(ruleset), isKept);
  for (const line of settings.trim().split('\n')) facts.set(`setting ${line.split(' ', 2).join(' ')}`, line);
  return facts;
}

function addRuleset(facts: Map<string, string>, ruleset: unknown, isKept: (port: string) => boolean): void {
  const objects = (ruleset as { nftables?: readonly Json[] }).nftables ?? []; // as: nft's own form
  const rules = new Map<string, string[]>();
  for (const object of objects) {
    for (const [kind, content] of Object.entries(object)) {
      const { handle: _handle, packets: _packets, bytes: _bytes, elem, ...rest } = content as Json;
      if (kind === 'metainfo' || (rest['table'] ?? rest['name']) !== 'weft') continue;
      const { family, table, chain, name } = rest as Readonly<Record<string, string | undefined>>; // as: nft's own form
      const label = [kind, family, table, chain, name].filter((word) => word !== undefined).join(' ');
      if (kind === 'rule') {
        rules.set(label, [...(rules.get(label) ?? []), JSON.stringify(rest)]);
        continue;
      }
      const elements = ((elem ?? []) as readonly unknown[])
        .map((element) => JSON.stringify(element))
        .filter((text) => {
          const port = /vethwe\w+/.exec(text)?.[0];
          return port === undefined || isKept(port);
        });
      facts.set(label, JSON.stringify([rest, elements.sort()]));
    }
  }
  for (const [label, texts] of rules) facts.set(label, texts.join('\n'));
}

/** What differs, in words; empty: alike. */
export function differences(right: Snapshot, now: Snapshot): readonly string[] {
  const labels = new Set([...right.keys(), ...now.keys()]);
  return [...labels]
    .filter((label) => right.get(label) !== now.get(label))
    .map((label) => `${label}: ${now.get(label) ?? 'missing'} instead of ${right.get(label) ?? 'nothing'}`);
}
