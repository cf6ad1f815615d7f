// What the answers of the hops on the way to a ping's target say of where it ends, as its last line. Pure.
import { type Ipv4, formatIpv4 } from '../../proto/address.ts';
import { type PacketEnd, formatEnd } from './packet-ends.ts';
import type { Tally } from './round-trips.ts';

export interface Asked {
  readonly name: string;
  readonly tally: Pick<Tally, 'sent' | 'answered'>;
}

export interface PingFindings {
  readonly target: PacketEnd;
  /** The other node; undefined: the packets stay here. */
  readonly peer: { readonly name: string; readonly port: number } | undefined;
  /** Whether the peer's data plane answered probes. Undefined: it was not asked, a kernel VXLAN device answers none. */
  readonly dataplane: boolean | undefined;
  /** This node's. */
  readonly gateway: Ipv4;
}

/** The target is the last hop. */
export function pingVerdict(
  hops: readonly Asked[],
  { target, peer, dataplane, gateway }: PingFindings,
): string {
  const answers = (hop: Asked | undefined): boolean | undefined =>
    hop === undefined || hop.tally.sent === 0 ? undefined : hop.tally.answered > 0;
  const [ofTarget, ofUnderlay, ofNode] = [
    hops.at(-1),
    hops.find(({ name }) => name === 'underlay'),
    hops.find(({ name }) => name === 'node'),
  ].map(answers);
  if (ofTarget === undefined) return `${formatEnd(target)} was not asked before the end.`;
  if (ofTarget) return `${target.name ?? formatIpv4(target.address)} answers.`;
  if (peer === undefined) return localVerdict(target);
  const { name, port } = peer;
  const isThrough = dataplane ?? ofNode;
  if (isThrough !== true && ofUnderlay === false) {
    return `Nothing of ${name} answers: is the node up, and the network between the nodes? Look at: kubectl get node ${name}`;
  }
  if (dataplane === false) {
    return `${name} answers past the tunnel, and its data plane does not: is UDP ${port} open between the nodes both ways, and its agent running? Look at: kubectl -n weft get pods -o wide; weft capture --outer --peer ${name}`;
  }
  if (dataplane === undefined && ofNode === false) {
    return `${name} answers past the tunnel, and nothing behind it does: is UDP ${port} open between the nodes both ways, and is its VXLAN device up? Look at: weft capture --outer --peer ${name}`;
  }
  if (ofNode === false || target.isNode) {
    return `The data plane of ${name} answers, and the stack behind it does not: its bridge, routes or firewall; on it: weft doctor`;
  }
  return `${name} answers, and ${formatEnd(target)} does not: the pod is gone, a NetworkPolicy refuses these requests (try --port), or the trouble is on its node; there: weft trace ${formatIpv4(gateway)} ${formatIpv4(target.address)}`;
}

function localVerdict(target: PacketEnd): string {
  if (target.owner.kind === 'outside')
    return `${formatIpv4(target.address)} is no address of this network, and does not answer.`;
  return `${formatEnd(target)} does not answer: is it still there? weft trace ${formatIpv4(target.address)} ${formatIpv4(target.address)} shows this node's side`;
}
