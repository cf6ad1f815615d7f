// The tables of a node as plain values, for the tests of trace.
import type {
  ChainFacts,
  NodePeer,
  Owner,
  PodPortFacts,
  RouteFacts,
  TraceView,
  TracedPacket,
} from '../../agent/wire/trace-view.ts';
import { parseIpv4 } from '../../proto/address-text.ts';
import { type Ipv4, type Mac, formatIpv4, mac } from '../../proto/address.ts';

export const at: (text: string) => Ipv4 = parseIpv4;
export const POD = '10.32.0.2';
export const NEIGHBOUR = '10.32.0.3';
export const GATEWAY = '10.32.0.1';
export const REMOTE = '10.44.0.2';
export const NOBODYS = '10.47.0.9';
export const OUTSIDE = '8.8.8.8';
export const UNDERLAY = '172.31.0.11';
export const PEER: NodePeer = {
  slot: 3,
  address: at('172.31.0.12'),
  port: 6784,
  vtepMac: mac(1),
  probes: true,
};
const POD_MAC: Mac = mac(0x0e11_2233_4455);

const OWNERS: Readonly<Record<string, Owner>> = {
  [POD]: { kind: 'this_node' },
  [NEIGHBOUR]: { kind: 'this_node' },
  [GATEWAY]: { kind: 'this_node' },
  '10.32.0.60': { kind: 'this_node' },
  [REMOTE]: { kind: 'peer', peer: PEER },
  [NOBODYS]: { kind: 'nobody' },
  '172.31.0.12': { kind: 'peer_underlay', peer: PEER },
  [UNDERLAY]: { kind: 'this_underlay' },
};

const chain = (given: Partial<ChainFacts>): ChainFacts => ({
  family: 'inet',
  table: 'weft',
  name: 'forward',
  type: 'filter',
  hook: 'forward',
  priority: 0,
  policy: 'accept',
  rules: 1,
  isOurs: true,
  ...given,
});
export const foreign = (name: string, hook: string, given: Partial<ChainFacts> = {}): ChainFacts =>
  chain({ family: 'ip', table: 'filter', name, hook, isOurs: false, ...given });
export const OURS: readonly ChainFacts[] = [
  chain({ name: 'raw_prerouting', hook: 'prerouting', priority: -300 }),
  chain({}),
  chain({ name: 'output', hook: 'output' }),
  chain({ name: 'postrouting', hook: 'postrouting', type: 'nat', rules: 2 }),
];
export const pod = (given: Partial<PodPortFacts> = {}): PodPortFacts => ({
  interface: 'vethwe1',
  podName: 'default/web',
  mac: POD_MAC,
  isUp: true,
  isRunning: true,
  isPort: true,
  isForwarding: true,
  bridge: 'weave',
  ...given,
});
export const by = (name: string, given: Partial<RouteFacts> = {}): RouteFacts => ({
  interface: name,
  gateway: undefined,
  table: 254,
  isLocal: false,
  ...given,
});

const ROUTES: Readonly<Record<string, RouteFacts>> = {
  [POD]: by('weave'),
  [NEIGHBOUR]: by('weave'),
  '10.32.0.60': by('weave'),
  [GATEWAY]: by('lo', { isLocal: true }),
  [UNDERLAY]: by('lo', { isLocal: true }),
  [REMOTE]: by('weft0'),
  [NOBODYS]: by('weft0'),
  [OUTSIDE]: by('eth0', { gateway: at('172.31.0.1') }),
  '172.31.0.12': by('eth0'),
  '10.96.0.10': by('eth0', { gateway: at('172.31.0.1') }),
};

export function viewOf(
  source: string,
  destination: string,
  given: Partial<TraceView> & { readonly packet?: TracedPacket } = {},
): TraceView {
  return {
    packet: {
      source: at(source),
      destination: at(destination),
      protocol: undefined,
      port: undefined,
      sourcePort: undefined,
    },
    bridge: 'weave',
    tun: 'weft0',
    gateway: at(GATEWAY),
    port: 6784,
    underlay: at(UNDERLAY),
    generation: 5,
    dataplaneGeneration: 5,
    masquerades: true,
    flow: 'a flow',
    policyRules: [],
    chains: OURS,
    legacyTables: [],
    isInRange: (address) => formatIpv4(address).startsWith('10.3') || formatIpv4(address).startsWith('10.4'),
    blockOf: (address) => `${formatIpv4(address)}/26`,
    ownerOf: (address) => OWNERS[formatIpv4(address)] ?? { kind: 'outside' },
    nameOf: () => 'node-2',
    podPort: (address) =>
      address === at(POD)
        ? pod()
        : address === at(NEIGHBOUR)
          ? pod({ interface: 'vethwe2', podName: 'default/db' })
          : undefined,
    spoofElements: (name) => (name === 'vethwe1' ? [{ mac: POD_MAC, address: at(POD) }] : []),
    route: ({ destination: asked }) => ROUTES[formatIpv4(asked)] ?? { code: 'ENETUNREACH' },
    judge: () => ({ fate: 'passes', isCertain: true, rule: undefined }),
    natPlaces: (address) => (formatIpv4(address) === '10.96.0.10' ? ['map ip kube-proxy service-ips'] : []),
    pathMtu: () => 1450,
    connection: () => ({ isUp: true, text: 'node-2 is established' }),
    ...given,
  };
}
