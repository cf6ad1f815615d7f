// The node's routes, rules and addresses: Weft's own are there, and nothing else takes pods' packets elsewhere or uses their range.
import {
  type Cidr,
  cidrContains,
  cidrsOverlap,
  formatCidr,
  formatIpv4,
  type Ipv4,
} from '../../../proto/address.ts';
import { parseCidr, parseIpv4 } from '../../../proto/address-text.ts';
import type { Link } from '../../../proto/rtnetlink-link.ts';
import { type Route, RT_SCOPE_LINK, RT_TABLE_MAIN, RTN_UNICAST } from '../../../proto/rtnetlink-route.ts';
import { BRIDGE, rangeConflicts, ROUTE_PROTOCOL, TUN } from '../../control/node/range-conflicts.ts';
import type { Check, Found } from '../check.ts';
import {
  bridgeOf,
  gatewayOf,
  hasServed,
  linkAt,
  ownBlocks,
  podPorts,
  somePodHere,
  somePodsThere,
  tunOf,
  underlayOf,
} from '../expected.ts';
import { findWay, type Way } from '../route-lookup.ts';
import type { Scene } from '../scene.ts';

const nameOf = (scene: Scene, index: number | undefined): string =>
  index === undefined ? 'no interface' : `"${linkAt(scene, index)?.name ?? index}"`;

export const routes: Check = {
  id: 'routes',
  finds: "a route of Weft's that is missing",
  why: 'packets to these pods go to the default route, out of the pod network',
  fix: 'the agent sets it again within seconds; if it does not, see the finding about the agent, or run with --fix',
  needs: ['links', 'routes'],
  run(scene) {
    const tun = tunOf(scene);
    const bridge = bridgeOf(scene);
    const gateway = gatewayOf(scene);
    if (gateway === undefined || !hasServed(scene)) return [];
    const wanted: readonly (readonly [Cidr, { index: number; name: string } | undefined])[] = [
      [scene.settings.range, tun],
      ...ownBlocks(scene).map((block) => [block, bridge] as const),
    ];
    return wanted.flatMap(([destination, link]): readonly Found[] => {
      if (link === undefined) return [];
      const isThere = scene.kernel.routes.some(
        (route) =>
          route.table === RT_TABLE_MAIN &&
          route.index === link.index &&
          route.destination.base === destination.base &&
          route.destination.prefixLength === destination.prefixLength,
      );
      if (isThere) return [];
      const route: Route = {
        destination,
        table: RT_TABLE_MAIN,
        protocol: ROUTE_PROTOCOL,
        scope: RT_SCOPE_LINK,
        type: RTN_UNICAST,
        index: link.index,
        gateway: undefined,
        preferredSource: gateway,
        priority: 0,
        onLink: false,
      };
      return [
        {
          severity: 'error',
          what: `There is no route ${formatCidr(destination)} via "${link.name}"`,
          fix: `ip route add ${formatCidr(destination)} dev ${link.name} proto ${ROUTE_PROTOCOL} scope link src ${formatIpv4(gateway)}; the agent does it by itself`,
          repairs: [{ do: 'set_route', route, interfaceName: link.name }],
        },
      ];
    });
  },
};

const hasOwnRoute = (scene: Scene): boolean =>
  scene.kernel.routes.some(
    ({ protocol, index }) => protocol === ROUTE_PROTOCOL && index === tunOf(scene)?.index,
  );

interface Passage {
  readonly words: string;
  readonly source: Ipv4;
  readonly destination: Ipv4;
  readonly input: string;
  readonly expected: string;
}

/** A rule may be about one pod alone: each of them is asked for, up to so many. */
const MOST_PODS = 64;

function passages(scene: Scene): readonly Passage[] {
  const here = podPorts(scene)
    .slice(0, MOST_PODS)
    .map(({ address }) => address);
  const first = here[0] ?? somePodHere(scene);
  if (first === undefined) return [];
  const there = somePodsThere(scene, 4).map(({ address }) => address);
  const pairs = [
    ...there.map((destination) => [first, destination] as const),
    ...here
      .slice(1)
      .flatMap((source) => there.slice(0, 1).map((destination) => [source, destination] as const)),
  ];
  const remote = pairs.map(([source, destination]): Passage => ({
    words: `from a pod here (${formatIpv4(source)}) to a pod of another node (${formatIpv4(destination)})`,
    source,
    destination,
    input: BRIDGE,
    expected: TUN,
  }));
  const back = somePodsThere(scene, 1)[0]?.address;
  const incoming = podPorts(scene)
    .slice(0, MOST_PODS)
    .flatMap(({ address }): readonly Passage[] =>
      back === undefined
        ? []
        : [
            {
              words: `from another node (${formatIpv4(back)}) to the pod ${formatIpv4(address)}`,
              source: back,
              destination: address,
              input: TUN,
              expected: BRIDGE,
            },
          ],
    );
  return [...remote, ...incoming];
}

function culprit(scene: Scene, { route, rule }: Way): { readonly what: string; readonly fix: string } {
  const table = rule === undefined || rule.table === RT_TABLE_MAIN ? '' : ` table ${rule.table}`;
  if (route === undefined) {
    if (rule === undefined) return { what: 'no route takes it', fix: 'ip route show' };
    return { what: `rule ${rule.priority} refuses it`, fix: `ip rule del priority ${rule.priority}` };
  }
  const destination = formatCidr(route.destination);
  const via = route.gateway === undefined ? '' : ` by ${formatIpv4(route.gateway)}`;
  const isRule = table !== '' && route.destination.prefixLength === 0;
  return {
    what: `route ${destination}${table}${via} sends it to ${nameOf(scene, route.index)}${table === '' ? '' : ` (rule ${rule?.priority})`}`,
    fix: isRule ? `ip rule del priority ${rule?.priority}` : `ip route del ${destination}${table}`,
  };
}

export const policyRouting: Check = {
  id: 'foreign_routes',
  finds: "a route or policy rule of somebody else that takes pods' packets elsewhere",
  why: 'packets between these pods leave the pod network and are lost, or answers come from nowhere',
  fix: "delete it (ip route del, ip rule del), and tell the program that made it to leave the pods' range alone",
  needs: ['links', 'routes', 'rules'],
  run(scene) {
    // Without our own route everything goes elsewhere, which other checks say.
    if (!hasOwnRoute(scene) || scene.kernel.rules.length === 0) return [];
    const seen = new Map<string, Found>();
    for (const { words, source, destination, input, expected } of passages(scene)) {
      const way = findWay(scene.kernel, { source, destination, input });
      const output = linkAt(scene, way.route?.index)?.name;
      // Our own one means that a more specific one of ours is missing, as while the bridge is down.
      if (output === expected || way.route?.protocol === ROUTE_PROTOCOL) continue;
      const { what, fix } = culprit(scene, way);
      if (seen.has(what)) continue;
      seen.set(what, {
        severity: 'error',
        what: `A packet ${words} does not go to "${expected}": ${what}`,
        fix,
      });
    }
    return [...seen.values()];
  },
};

const ANOTHER_RANGE = 'choose another IPALLOC_RANGE before there are pods';

export const rangeOverlap: Check = {
  id: 'range_overlap',
  finds: "addresses or routes of the node, or Services, inside the pods' range",
  why: 'two things answer to one address: the agent refuses to start or attaches no pods',
  fix: 'remove what overlaps, or choose another IPALLOC_RANGE before there are pods',
  needs: ['links'],
  run(scene) {
    const { range } = scene.settings;
    const text = formatCidr(range);
    const found: Found[] = rangeConflicts(range, scene.kernel).map((conflict) => ({
      severity: 'error',
      what: `${conflict.charAt(0).toUpperCase()}${conflict.slice(1)} overlaps the pods' range ${text}`,
      fix: conflictRemedy(scene, conflict),
    }));
    if (scene.nodeIp !== undefined && cidrContains(range, scene.nodeIp)) {
      found.push({
        severity: 'error',
        what: `The node's own address ${formatIpv4(scene.nodeIp)} is in the pods' range ${text}`,
        fix: ANOTHER_RANGE,
      });
    }
    const host = attempt(() => parseIpv4(scene.serviceHost ?? ''));
    if (host !== undefined && cidrContains(range, host)) {
      found.push({
        severity: 'error',
        what: `The API server's Service address ${formatIpv4(host)} is in the pods' range ${text}`,
        fix: ANOTHER_RANGE,
      });
    }
    const told = scene.agent.report?.network.range;
    if (told !== undefined && told !== text && cidrsOverlap(parseCidr(told), range)) {
      found.push({
        severity: 'warning',
        what: `The agent works with range ${told}, its settings now say ${text}`,
        fix: 'kubectl -n weft rollout restart daemonset/weft',
      });
    }
    return found;
  },
};

/** Kinds of interfaces that pod networks and container runtimes make, and leave behind. */
const LEFT_BEHIND: ReadonlySet<string | undefined> = new Set(['bridge', 'vxlan', 'ipip', 'dummy', 'veth']);
/** Kinds of a bridge's ports where they are pods, containers or virtual machines. */
const POD_PORTS: ReadonlySet<string | undefined> = new Set(['veth', 'tun']);
/** Routes that the kernel makes with an address. */
const RTPROT_KERNEL = 2;

/**
 * "address A/N on "X"" and "route C on "X"", as rangeConflicts words them. What the node itself may depend on is not advised to be removed: only
 * what other networks of pods have left.
 */
function conflictRemedy(scene: Scene, conflict: string): string {
  const [, kind, what, name] = /^(address|route) (\S+) on "(.+)"$/.exec(conflict) ?? [];
  const link = scene.kernel.links.find((item) => item.name === name);
  if (link === undefined || !isLeftBehind(scene, link)) return ANOTHER_RANGE;
  const { index } = link;
  const isKernels = scene.kernel.routes.some(
    (route) =>
      route.index === index && route.protocol === RTPROT_KERNEL && formatCidr(route.destination) === what,
  );
  if (kind === 'route' && isKernels) return ANOTHER_RANGE;
  return `ip ${kind} del ${what} dev ${name}, or ${ANOTHER_RANGE}`;
}

const isLeftBehind = (scene: Scene, { kind, index }: Link): boolean =>
  LEFT_BEHIND.has(kind) &&
  index !== underlayOf(scene)?.index &&
  !outerLinks(scene).has(index) &&
  scene.kernel.links.every(({ master, kind: port }) => master !== index || POD_PORTS.has(port));

function attempt<T>(parse: () => T): T | undefined {
  try {
    return parse();
  } catch {
    return undefined;
  }
}

/** Interfaces that answers from outside the cluster come in by. */
const outerLinks = ({ kernel }: Scene): ReadonlySet<number | undefined> =>
  new Set(
    kernel.routes
      .filter(({ table, destination }) => table === RT_TABLE_MAIN && destination.prefixLength === 0)
      .map(({ index }) => index),
  );

export const forwarding: Check = {
  id: 'ip_forward',
  finds: 'IPv4 forwarding switched off where packets for pods come in',
  why: 'pods get no answers from outside the cluster; the agent sets it on its own interfaces and the underlay alone',
  fix: 'sysctl -w net.ipv4.ip_forward=1 (and in /etc/sysctl.d, so that it lasts)',
  run(scene) {
    const outer = outerLinks(scene);
    const own = scene.sysctls['net/ipv4/ip_forward'] === 0 ? ' (net.ipv4.ip_forward is 0)' : '';
    return scene.kernel.links
      .filter(({ index, inet }) => outer.has(index) && inet.forwarding === 0 && hasServed(scene))
      .map(({ name }): Found => ({
        severity: 'error',
        what: `Interface "${name}" of the default route does not forward${own}`,
      }));
  },
};

export const ROUTE_CHECKS: readonly Check[] = [rangeOverlap, routes, policyRouting, forwarding];
