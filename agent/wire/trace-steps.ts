// What the steps of a trace are made of (trace.ts): noting them, ending with a drop, and the parts that several ways of a packet share: nftables'
// base chains, rules that change addresses, the connection to a peer.
import type { RefusalReason } from '../../proto/drop-reason.ts';
import type { ChainFacts, NodePeer, TraceView } from './trace-view.ts';

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

export function services(view: TraceView, steps: TraceStep[]): void {
  const { destination } = view.packet;
  if (view.isInRange(destination)) return;
  for (const place of view.natPlaces(destination)) {
    note(
      steps,
      'nat',
      `${place}: the destination may be changed there, as for a Service; trace an endpoint instead (kubectl get endpointslices -A)`,
    );
  }
}

const UDP = 17;
const INNER = 'nftables';

interface Chains {
  readonly families: readonly string[];
  readonly hooks: readonly string[];
  readonly layer?: string;
}

/** Base chains in the kernel's order. Ours are about the tunnel's port; what others decide is theirs. Throws Dropped. */
export function chains(
  view: TraceView,
  steps: TraceStep[],
  { families, hooks, layer = 'nftables' }: Chains,
): void {
  for (const hook of hooks) {
    const met = view.chains
      .filter((chain) => chain.hook === hook && families.includes(chain.family))
      .toSorted((a, b) => a.priority - b.priority);
    for (const chain of met) {
      if (chain.isOurs) ours(view, steps, { chain, layer });
      else foreign(steps, { chain, layer });
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

function foreign(steps: TraceStep[], { chain, layer }: Met): void {
  const { family, table, name, type, hook, rules, policy } = chain;
  const where = `${family} ${table} ${name} (${hook}, ${type}, ${rules} rule${rules === 1 ? '' : 's'})`;
  if (rules === 0 && policy === 'drop') {
    throw drop(steps, { layer, text: `${where} is not ours, and its policy is drop` });
  }
  if (rules === 0) return;
  const risk = policy === 'drop' ? ': its policy is drop, so what it does not accept ends there' : '';
  note(steps, layer, `${where} is not ours${risk}`);
}

export const tunnelGuards = (view: TraceView): string => {
  const foreign = view.chains.filter(
    ({ hook, isOurs, family, rules }) =>
      !isOurs && rules > 0 && family !== 'bridge' && (hook === 'input' || hook === 'prerouting'),
  );
  const others = foreign.map(({ family, table, name }) => `${family} ${table} ${name}`);
  return ['inet weft raw_prerouting (unknown_sender)', ...others].join(', ');
};

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
