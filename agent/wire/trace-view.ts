// The tables of a node as a trace asks them (trace.ts).
import type { Ipv4, Mac } from '../../proto/address.ts';
import type { ForwardingPeer } from '../../proto/forwarding-table.ts';

export type NodePeer = ForwardingPeer;

/** Whose an address is. `outside`: of no node's underlay and not in the range. */
export type Owner =
  | { readonly kind: 'this_node' | 'nobody' | 'outside' | 'this_underlay' }
  | { readonly kind: 'peer' | 'peer_underlay'; readonly peer: NodePeer };

export interface TracedPacket {
  readonly source: Ipv4;
  readonly destination: Ipv4;
  readonly protocol: number | undefined;
  /** Destination's. */
  readonly port: number | undefined;
  readonly sourcePort: number | undefined;
}

export interface PodPortFacts {
  readonly interface: string;
  readonly podName: string | undefined;
  /** Inside the pod. */
  readonly mac: Mac;
  readonly isUp: boolean;
  /** And its other end is up too. */
  readonly isRunning: boolean;
  readonly isPort: boolean;
  readonly isForwarding: boolean;
  readonly bridge: string;
}

export interface RouteFacts {
  readonly interface: string;
  readonly gateway: Ipv4 | undefined;
  readonly table: number;
  readonly isLocal: boolean;
}

export interface ChainFacts {
  readonly family: string;
  readonly table: string;
  readonly name: string;
  readonly type: string;
  readonly hook: string;
  readonly priority: number;
  readonly policy: string;
  readonly rules: number;
  readonly isOurs: boolean;
}

/** A packet as a chain meets it. */
export interface Crossing {
  readonly hook: string;
  readonly input: string | undefined;
  readonly output: string | undefined;
  readonly source: Ipv4 | undefined;
  readonly destination: Ipv4;
  readonly protocol: number | undefined;
  /** Destination's. */
  readonly port: number | undefined;
  /** Undefined: not known; of a tunnel's datagram it is one of many. */
  readonly sourcePort: number | undefined;
  /** A datagram of the tunnel, whose connection is not tracked. */
  readonly isTunnel: boolean;
  readonly isToThisNode: boolean;
}

export interface ChainVerdict {
  readonly fate: 'passes' | 'dropped' | 'rejected' | 'source_rewritten' | 'redirected';
  /** False: a condition on the way cannot be told from the listing. */
  readonly isCertain: boolean;
  /** That decides, or may drop it; undefined: none, or the chain's policy. */
  readonly rule:
    | {
        readonly handle: number;
        readonly text: string;
        /** Its name, where it is not the one that the kernel calls. */
        readonly chain?: string;
      }
    | undefined;
}

export interface TraceView {
  readonly packet: TracedPacket;
  readonly bridge: string;
  readonly tun: string;
  /** The bridge's address. */
  readonly gateway: Ipv4;
  /** Of the tunnel. */
  readonly port: number;
  /** This node's underlay address, where it is known. */
  readonly underlay: Ipv4 | undefined;
  readonly generation: number;
  readonly dataplaneGeneration: number;
  readonly masquerades: boolean;
  /** In words. */
  readonly flow: string;
  /** In words; without the kernel's own three. */
  readonly policyRules: readonly string[];
  readonly chains: readonly ChainFacts[];
  /** Tables of the old iptables that are in use, whose rules nobody reads here. */
  readonly legacyTables: readonly string[];
  isInRange(address: Ipv4): boolean;
  /** In words. */
  blockOf(address: Ipv4): string;
  ownerOf(address: Ipv4): Owner;
  nameOf(peer: NodePeer): string;
  podPort(address: Ipv4): PodPortFacts | undefined;
  spoofElements(interfaceName: string): readonly { readonly mac: Mac; readonly address: Ipv4 }[];
  /** `code`: the errno's name with which the kernel refuses. */
  route(question: {
    readonly destination: Ipv4;
    readonly source: Ipv4 | undefined;
    /** Name of the interface that it comes in by. */
    readonly input: string | undefined;
  }): RouteFacts | { readonly code: string };
  /** What a chain that is not ours does with it. */
  judge(chain: ChainFacts, crossing: Crossing): ChainVerdict;
  /** Where rules that change addresses name this one. */
  natPlaces(address: Ipv4): readonly string[];
  /** 0 = not known. */
  pathMtu(slot: number): number;
  connection(peer: NodePeer): { readonly isUp: boolean; readonly text: string } | undefined;
}
