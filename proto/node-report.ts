// A node's report: what control tells of its node at /report, as JSON, and what the status pages and the weft command are made of. Plain
// values; times are ages, so that a reader needs no clock. A field that is undefined is left out of the JSON.
import type { RefusalReason } from './drop-reason.ts';

/** Weave's words; `retrying` and `connecting` have no meaning without connections and are always 0 in the metrics. `pending`: it is new, and has not answered yet. */
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
  /** The last warnings and errors of control, the newest first; each says what to do. */
  readonly recent: readonly RecentEvent[];
  /** What contradicts in the cluster's objects, and what else a person has to put right, for as long as it lasts. */
  readonly problems: readonly string[];
  /** Those of the closed table that are set, by name, as they are in the agent's environment. */
  readonly settings: Readonly<Record<string, string>>;
}

/** Of an agent that cannot start. */
export interface RefusedReport {
  readonly version: string;
  readonly node: { readonly name: string };
  /** Why. */
  readonly notReady: readonly string[];
}

export interface RecentEvent {
  readonly level: 'warn' | 'error';
  /** Of the closed vocabulary of the logs. */
  readonly event: string;
  readonly text: string;
  /** Of the last time. */
  readonly ageSeconds: number;
  /** How often in a row, as far as it is remembered. */
  readonly count: number;
}

/** What `weft doctor` found. */
export interface NodeFault {
  readonly check: string;
  /** error: traffic is lost or pods cannot be attached, or soon so. */
  readonly severity: 'error' | 'warning';
  readonly what: string;
  readonly why: string;
  readonly fix: string;
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
    /** The node's end of the pod's link. */
    readonly hostInterface: string;
    /** Undefined: not known (taken over from the kernel, or recorded by an older agent). */
    readonly sinceSeconds: number | undefined;
  }[];
  /** Why the allocation log cannot be written. */
  readonly logFailure: string | undefined;
}

/** Who has which addresses, as control tells at /report/ipam: what is too much for each report. */
export interface IpamReport {
  /** Of the whole cluster. */
  readonly blocks: readonly {
    readonly cidr: string;
    readonly node: string;
    /** Since the claim; undefined: not known. */
    readonly sinceSeconds: number | undefined;
    /** Since its node has no peer of the same state; such a block is freed after the quarantine. Undefined: it has one. */
    readonly abandonedSeconds: number | undefined;
  }[];
  /** Blocks that were freed and are not claimed yet by anybody. */
  readonly quarantined: readonly {
    readonly cidr: string;
    readonly freedSeconds: number;
    readonly claimableInSeconds: number;
  }[];
  /** Addresses of this node that pods had, the longest freed first. */
  readonly freed: readonly { readonly address: string; readonly sinceSeconds: number | undefined }[];
  /** Ranges of Services, as far as the API shows them. */
  readonly serviceRanges: readonly string[];
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
  /** Since the peer's own probe was heard: it says that the way from there to here is open. Undefined: never. */
  readonly lastRequestSeconds: number | undefined;
  readonly roundTripSeconds: number | undefined;
  /** Of the last half to whole minute, 0 to 1; undefined: nobody was asked. */
  readonly probeLoss: number | undefined;
  /** Largest inner packet; undefined: not known. */
  readonly pathMtu: number | undefined;
  readonly egressPackets: number;
  readonly ingressPackets: number;
  readonly blocks: number;
}
