// The two kinds that the cluster's state lives in (weft.dev/v1alpha1, cluster-scoped).
// Peer: one per node, name = node name; the Node owns it, so it goes with the Node.
// AddressBlock: one per claimed block, name = the CIDR with "-" for "/"; creating it is the claim, and the API server lets exactly one
// create of a name win. It outlives its Node: its addresses may be in use for longer (docs/decisions/0015).

export const API_GROUP = 'weft.dev';
export const API_VERSION = 'v1alpha1';
export const API_GROUP_VERSION = 'weft.dev/v1alpha1';

export interface OwnerReference {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly uid: string;
}

export interface ObjectMeta {
  readonly name: string;
  readonly uid?: string;
  readonly resourceVersion?: string;
  readonly creationTimestamp?: string;
  readonly generation?: number;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly ownerReferences?: readonly OwnerReference[];
}

export interface PeerSpec {
  /** UID of the Node object: the identity. The VTEP MAC is derived from it. */
  readonly nodeUid: string;
  /** Underlay addresses, the preferred one first. At least one. */
  readonly addresses: readonly string[];
  /** UDP port that the node receives VXLAN on. */
  readonly port: number;
  readonly vtepMac: string;
  /** `probe`: answers peer probes (a kernel VXLAN peer has no features). */
  readonly features: readonly string[];
  readonly version: string;
  /** State directory of the agent; two that write one Peer in turn are two machines with one node name. None: a peer without an agent. */
  readonly stateId?: string;
  readonly publicKey?: string;
}

export interface Peer {
  readonly apiVersion: typeof API_GROUP_VERSION;
  readonly kind: 'Peer';
  readonly metadata: ObjectMeta;
  readonly spec: PeerSpec;
}

export interface AddressBlockSpec {
  readonly cidr: string;
  readonly node: string;
  /** Of the Node object when the claim was made, or confirmed the last time. */
  readonly nodeUid: string;
  /** State directory with the allocations of the block; the same in the node's Peer. None: of any. */
  readonly stateId?: string;
}

export interface AddressBlock {
  readonly apiVersion: typeof API_GROUP_VERSION;
  readonly kind: 'AddressBlock';
  readonly metadata: ObjectMeta;
  readonly spec: AddressBlockSpec;
}

export const PEERS = 'peers';
export const ADDRESS_BLOCKS = 'addressblocks';
