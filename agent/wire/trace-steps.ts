// What the steps of a trace are made of (trace.ts): noting them, ending with a drop, and the parts that several ways of a packet share: nftables'
// base chains, rules that change addresses, the connection to a peer.
import type { RefusalReason } from '../../proto/drop-reason.ts';
import type { ChainFacts, ChainVerdict, Crossing, NodePeer, TraceView } from './trace-view.ts';

export interface TraceStep {
  readonly layer: string;
  /** `note`: it may matter, and is not ours to decide. */
  readonly outcome: 'ok' | 'note' | 'drop';
  readonly text: string;
}

export class Dropped extends Error {
  readonly reason: RefusalReason | undefined;
  constructor(message: string, reason?: RefusalReason) {
    super(message);
    this.reason = reason;
  }
}

export function connection(view: TraceView, steps: TraceStep[], peer: NodePeer): void {
  const words = view.connection(peer);
  if (words === undefined) {
    note(steps, 'connection', 'not known: control does not answer');
    return;
  }
  if (words.isUp) pass(steps, 'connection', words.text);
  else note(steps, 'connection', words.text);
}

/** Whether the destination is one that rules change, as a Service's: where it leads is not told here. */
export function isRedirected(view: TraceView, steps: TraceStep[]): boolean {
  const { destination } = view.packet;
  const places = view.isInRange(destination) ? [] : view.natPlaces(destination);
  for (const place of places)
    note(steps, 'nat', `${place}: the destination is changed there, as a Service's`);
  return places.length > 0;
}

const UDP = 17;
const INNER = 'nftables';

interface Chains {
  readonly families: readonly string[];
  readonly hooks: readonly string[];
  readonly layer?: string;
  /** The packet at a hook. */
  readonly at: (hook: string) => Crossing;
}

/** The traced packet, which comes in by `input` (undefined: a process of this node sends it), on the way that its route takes. */
export function inner(view: TraceView, input: string | undefined): Chains['at'] {
  const { source, destination, protocol, port, sourcePort } = view.packet;
  const route = view.route({ destination, source, input });
  const output = 'code' in route ? undefined : route.interface;
  const isToThisNode = !('code' in route) && route.isLocal;
  const isBefore = (hook: string): boolean => hook === 'prerouting' || hook === 'input';
  const packet = { source, destination, protocol, port, sourcePort, isToThisNode, isTunnel: false };
  return (hook) => Object.assign({ hook, input, output: isBefore(hook) ? undefined : output }, packet);
}

/** A datagram of the tunnel between this node and a peer, by the underlay. */
export function outer(view: TraceView, peer: NodePeer, direction: 'in' | 'out'): Chains['at'] {
  const route = view.route({ destination: peer.address, source: undefined, input: undefined });
  const device = 'code' in route ? undefined : route.interface;
  const tunnel = { protocol: UDP, sourcePort: undefined, isTunnel: true, isToThisNode: direction === 'in' };
  const ends =
    direction === 'in'
      ? {
          input: device,
          output: undefined,
          port: view.port,
          source: peer.address,
          destination: view.underlay ?? peer.address,
        }
      : {
          input: undefined,
          output: device,
          port: peer.port,
          source: view.underlay,
          destination: peer.address,
        };
  return (hook) => Object.assign({ hook }, tunnel, ends);
}

/** Base chains in the kernel's order. Ours are about the tunnel's port; others' are walked, rule by rule. Throws Dropped. */
export function chains(
  view: TraceView,
  steps: TraceStep[],
  { families, hooks, layer = INNER, at }: Chains,
): void {
  for (const hook of hooks) {
    const met = view.chains
      .filter((chain) => chain.hook === hook && families.includes(chain.family))
      .filter(({ type }) => type !== 'nat' || !at(hook).isTunnel) // nor is it asked by the kernel
      .toSorted((a, b) => a.priority - b.priority);
    for (const chain of met) {
      if (chain.isOurs) ours(view, steps, { chain, layer });
      else foreign(steps, { chain, layer, verdict: view.judge(chain, at(hook)) });
    }
  }
}

interface Met {
  readonly chain: ChainFacts;
  readonly layer: string;
}

/** The bridge's are told as the anti-spoof step, masquerade where the packet leaves the node. */
function ours(view: TraceView, steps: TraceStep[], { chain, layer }: Met): void {
  const { family, name, rules, type } = chain;
  if (family === 'bridge' || type === 'nat' || rules === 0) return;
  const { packet, port } = view;
  const toTunnel =
    packet.protocol === UDP &&
    packet.port === port &&
    view.ownerOf(packet.destination).kind.endsWith('underlay');
  if (toTunnel && layer === INNER && name.endsWith('prerouting')) {
    throw drop(steps, {
      layer,
      text: `inet weft ${name}: pods never reach a tunnel, masquerade would make them a valid peer`,
      reason: 'pod_to_tunnel',
    });
  }
  if (toTunnel && layer === INNER && name === 'output') {
    note(steps, layer, 'inet weft output refuses it but for root (process_to_tunnel)');
  } else pass(steps, layer, `inet weft ${name} (${chain.hook}) lets it pass`);
}

const DOES: Readonly<Record<Exclude<ChainVerdict['fate'], 'passes'>, string>> = {
  dropped: 'drops it',
  rejected: 'rejects it',
  source_rewritten: 'changes its source (another node refuses it then, inner_source_not_owned)',
  redirected: 'changes its destination (trace that instead)',
};

function foreign(
  steps: TraceStep[],
  { chain, layer, verdict }: Met & { readonly verdict: ChainVerdict },
): void {
  const { fate, isCertain, rule } = verdict;
  const where = `${chain.family} ${chain.table} ${chain.name} (${chain.hook})`;
  if (fate === 'passes') {
    if (isCertain) {
      if (chain.rules > 0) pass(steps, layer, `${where} lets it pass`);
    } else {
      const which =
        rule === undefined
          ? 'probably lets it pass: not every condition can be told from here'
          : `lets it pass, unless ${ruleName(rule)} is met, whose condition cannot be told from here: ${rule.text}`;
      note(steps, layer, `${where} ${which}`);
    }
    return;
  }
  const who = rule === undefined ? 'its policy' : ruleName(rule);
  const rest = rule === undefined ? '' : `: ${rule.text}`;
  const text = `${where}: ${who} ${isCertain ? '' : 'perhaps '}${DOES[fate]}${rest}`;
  if (isCertain && (fate === 'dropped' || fate === 'rejected')) throw drop(steps, { layer, text });
  note(steps, layer, text);
}

const ruleName = ({ handle, chain }: NonNullable<ChainVerdict['rule']>): string =>
  `rule ${handle}${chain === undefined ? '' : ` of ${chain}`}`;

export function pass(steps: TraceStep[], layer: string, text: string): void {
  steps.push({ layer, outcome: 'ok', text });
}

export function note(steps: TraceStep[], layer: string, text: string): void {
  steps.push({ layer, outcome: 'note', text });
}

export function drop(
  steps: TraceStep[],
  { layer, text, reason }: { readonly layer: string; readonly text: string; readonly reason?: RefusalReason },
): Dropped {
  steps.push({ layer, outcome: 'drop', text });
  return new Dropped(`dropped here${reason === undefined ? '' : ` (${reason})`}: ${text}`, reason);
}
