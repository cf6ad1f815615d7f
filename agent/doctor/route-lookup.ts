// Where the kernel's rules and routes send a packet, as the kernel does it: the rules by priority, in each table the longest prefix. Tells the
// rule and the route, which the kernel's own answer (RTM_GETROUTE) does not. Pure.
import { type Cidr, cidrContains, type Ipv4 } from '../../proto/address.ts';
import type { Route } from '../../proto/rtnetlink-route.ts';
import { FR_ACT_TO_TBL, type PolicyRule } from '../../proto/rtnetlink-rule.ts';
import type { KernelFacts } from './scene.ts';

export interface RoutedPacket {
  readonly source: Ipv4 | undefined;
  readonly destination: Ipv4;
  /** Where it came in; undefined: of this node. */
  readonly input: string | undefined;
}

export interface Way {
  /** Undefined: the rule itself refuses, or there is none. */
  readonly route: Route | undefined;
  readonly rule: PolicyRule | undefined;
}

const REFUSALS: ReadonlySet<number> = new Set([6, 7, 8]);
/** RTN_THROW: the next rule decides. */
const THROW = 9;
const RT_TABLE_LOCAL = 255;

export function findWay({ rules, routes }: Pick<KernelFacts, 'rules' | 'routes'>, packet: RoutedPacket): Way {
  for (const rule of rules.toSorted((a, b) => a.priority - b.priority)) {
    if (!applies(rule, packet)) continue;
    if (REFUSALS.has(rule.action)) return { route: undefined, rule };
    if (rule.action !== FR_ACT_TO_TBL) continue; // goto and nop: other rules decide
    const route = lookUp(routes, rule, packet.destination);
    if (route !== undefined && route.type !== THROW) return { route, rule };
  }
  return { route: undefined, rule: undefined };
}

function applies(rule: PolicyRule, { source, destination, input }: RoutedPacket): boolean {
  // What asks for more than we know is taken for not ours: packets of pods have no mark.
  if (rule.isSelective || rule.outputInterface !== undefined) return false;
  const isMarked = rule.mark !== undefined && rule.mark.value !== 0;
  const holds =
    contains(rule.source, source) &&
    contains(rule.destination, destination) &&
    !isMarked &&
    (rule.inputInterface === undefined || rule.inputInterface === (input ?? 'lo'));
  return holds !== rule.isInverted;
}

const contains = (prefix: Cidr | undefined, address: Ipv4 | undefined): boolean =>
  prefix === undefined || (address !== undefined && cidrContains(prefix, address));

function lookUp(routes: readonly Route[], rule: PolicyRule, destination: Ipv4): Route | undefined {
  let best: Route | undefined;
  for (const route of routes) {
    if (route.table !== rule.table || !cidrContains(route.destination, destination)) continue;
    // Of addresses of the node and broadcasts, which are no way for a pod's packet.
    if (route.table === RT_TABLE_LOCAL && route.destination.prefixLength < 32) continue;
    if (route.destination.prefixLength <= rule.suppressedPrefixLength) continue;
    const isBetter =
      best === undefined ||
      route.destination.prefixLength > best.destination.prefixLength ||
      (route.destination.prefixLength === best.destination.prefixLength && route.priority < best.priority);
    if (isBetter) best = route;
  }
  return best;
}
