// The answer of /map/facts, as small as a poll every two seconds should be: a peer is a row without names of fields, a block two numbers,
// counters are told as they are. The page (page/facts.js) makes names, block numbers and rates of it. Types only, so that both can have them.
import type { AgedText, ConnectionState, NodeReport } from '../../../proto/node-report.ts';

/** Of this form. A page of another agent's version says so instead of showing nonsense. */
export const MAP_FORM = 1;

/** Numbers are whole; null: never, not known. */
export type PeerRow = readonly [
  name: string,
  address: string,
  state: ConnectionState,
  /** How long it is in this state. */
  stateSeconds: number,
  heardSecondsAgo: number | null,
  roundTripMicroseconds: number | null,
  pathMtu: number | null,
  /** Of probes whose answer is due; both 0 of a peer that answers none. */
  probesSent: number,
  probesAnswered: number,
  egressBytes: number,
  ingressBytes: number,
  /** When the peer's own probe was heard. */
  askedSecondsAgo: number | null,
  /** Index into `versions`. */
  version: number,
];

export interface MapFacts {
  readonly form: typeof MAP_FORM;
  /** Monotonic: what counters are compared over. */
  readonly nowMs: number;
  readonly version: string;
  readonly node: { readonly name: string; readonly address: string; readonly port: number };
  readonly notReady: readonly string[];
  readonly api: NodeReport['api'];
  /** The first of them; `problemCount` is of all. */
  readonly problems: readonly string[];
  readonly problemCount: number;
  readonly lastError: AgedText | undefined;
  readonly network: { readonly range: string; readonly blockPrefixLength: number; readonly mtu: number };
  readonly dataplaneUpSeconds: number | undefined;
  readonly addresses: { readonly used: number; readonly total: number };
  readonly drops: NodeReport['drops'];
  readonly versions: readonly string[];
  readonly peers: readonly PeerRow[];
  readonly blocks: MapBlocks;
}

export interface MapBlocks {
  /** Of the whole range. */
  readonly count: number;
  readonly own: readonly { readonly index: number; readonly state: string; readonly used: number }[];
  /** Holders that are no peers, in the order of their numbers, which follow those of the peers. */
  readonly otherHolders: readonly string[];
  /** Of each held block in ascending order: how far after the one before (the first: after -1), and its holder: index into `peers`, -1 for this node. */
  readonly held: readonly number[];
  /** Held, but the holder has gone: freed after the quarantine. */
  readonly abandoned: readonly number[];
  /** Free, and claimed by nobody until the quarantine is over. */
  readonly quarantined: readonly number[];
}
