// A node's report: what control tells of its node at /report, as JSON, and what the status pages and the weft command are made of. Plain
// values; times are ages, so that a reader needs no clock. A field that is undefined is left out of the JSON.
import type { RefusalReason } from './drop-reason.ts';

/** Weave's words; `retrying` and `connecting` have no meaning without connections and are always 0 in the metrics. `pending`: not answered yet. */
export type ConnectionState = 'established' | 'pending' | 'failed';

export interface NodeReport {
  readonly version: string;
  readonly node: {
    readonly name: string;
    /** Undefined until the API was reached once. */
    readonly uid: string | undefined;
    readonly address: string;
    readonly port: number;
    readonly vtepMac: string | undefined;
  };
  /** Why pods cannot be attached at the moment; empty = ready. */
  readonly notReady: readonly string[];
  readonly api: {
    readonly isConnected: boolean;
    /** Undefined: never heard. */
    readonly lastSyncAgeSeconds: number | undefined;
    readonly source: 'snapshot' | 'api';
  };
  readonly network: {
    readonly range: string;
    readonly blockPrefixLength: number;
    readonly gateway: string | undefined;
    readonly mtu: number;
    readonly masquerade: boolean;
  };
  readonly ipam: IpamFacts;
  readonly peers: readonly PeerStatus[];
  readonly dataplane: {
    readonly processId: number;
    readonly generation: number;
    readonly upSeconds: number | undefined;
  };
  /** Refused packets by reason, of all peers together, by the data plane and by the nftables rules; those above 0. */
  readonly drops: Readonly<Partial<Record<RefusalReason, number>>>;
  readonly roles: readonly { readonly role: string; readonly pid: number; readonly restarts: number }[];
  readonly repairs: { readonly count: number; readonly last: AgedText | undefined };
  /** The last error that an operator should know, with its remedy. */
  readonly lastError: AgedText | undefined;
  /** Contradictions in the cluster's objects. */
  readonly problems: readonly string[];
}

export interface AgedText {
  readonly text: string;
  readonly ageSeconds: number;
}

export interface IpamFacts {
  readonly total: number;
  readonly used: number;
  readonly free: number;
  readonly ownBlocks: readonly { readonly cidr: string; readonly state: string; readonly used: number }[];
  /** Blocks of the cluster by node, this one included. */
  readonly blocksByNode: Readonly<Record<string, number>>;
  readonly rangeBlocks: number;
  readonly quarantinedBlocks: number;
  readonly allocations: readonly {
    readonly address: string;
    readonly containerId: string;
    readonly interfaceName: string;
    readonly podName: string | undefined;
  }[];
  /** Why the allocation log cannot be written. */
  readonly logFailure: string | undefined;
}

export interface PeerStatus {
  readonly name: string;
  readonly address: string;
  readonly port: number;
  readonly vtepMac: string;
  readonly version: string;
  readonly state: ConnectionState;
  readonly sinceSeconds: number;
  /** Undefined: never. */
  readonly lastHeardSeconds: number | undefined;
  readonly roundTripSeconds: number | undefined;
  /** Largest inner packet; undefined: not known. */
  readonly pathMtu: number | undefined;
  readonly egressPackets: number;
  readonly ingressPackets: number;
  readonly blocks: number;
}
