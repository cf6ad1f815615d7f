// What the doctor looks at: everything that checks need, gathered once (gather.ts), as plain data. What could not be looked at is undefined,
// and named in `unseen`; a check says nothing about what it cannot see. Counters are there twice, a few seconds apart.
import type { Ipv4, Mac } from '../../proto/address.ts';
import type { RefusalReason } from '../../proto/drop-reason.ts';
import type { ForwardingTable } from '../../proto/forwarding-table.ts';
import type { NodeReport } from '../../proto/node-report.ts';
import type { Link } from '../../proto/rtnetlink-link.ts';
import type { InterfaceAddress, Neighbour, Route } from '../../proto/rtnetlink-route.ts';
import type { PolicyRule } from '../../proto/rtnetlink-rule.ts';
import type { PodElement } from '../control/node/pod-guard.ts';
import type { Settings } from '../settings.ts';
import type { Ruleset } from './ruleset.ts';

export interface Scene {
  readonly settings: Settings;
  /** Why settings that were given cannot be used: `settings` has the defaults in their place. */
  readonly settingsRefusal: string | undefined;
  /** Undefined: no address is set and none could be found. */
  readonly nodeIp: Ipv4 | undefined;
  readonly agent: AgentFacts;
  readonly processes: readonly AgentProcess[];
  /** Of other programs' sockets too. */
  readonly sockets: SocketFacts;
  readonly traffic: TrafficFacts | undefined;
  readonly kernel: KernelFacts;
  /** Of all tables; undefined: nft could not be run, see `unseen`. */
  readonly ruleset: Ruleset | undefined;
  /** Tables of iptables-legacy that are in use; their rules cannot be read. */
  readonly legacyTables: readonly string[];
  /** The anti-spoof set; undefined: it could not be read. */
  readonly pods: readonly PodElement[] | undefined;
  /** By their path below /proc/sys. */
  readonly sysctls: Readonly<Record<string, number | undefined>>;
  readonly counters: CounterFacts;
  readonly files: FileFacts;
  readonly api: ApiFacts | undefined;
  /** TCP to peers that do not answer, by address. */
  readonly reach: ReadonlyMap<string, Reach>;
  readonly nowMs: number;
  /** From the environment: the API server's Service address. */
  readonly serviceHost: string | undefined;
  readonly version: string;
  /** What could not be looked at, and why. */
  readonly unseen: readonly string[];
}

export interface AgentFacts {
  /** At the end; undefined: it does not answer, or refuses to start. */
  readonly report: NodeReport | undefined;
  /** At the beginning. */
  readonly earlier: NodeReport | undefined;
  /** Why an agent that answers cannot start. */
  readonly refusal: string | undefined;
  /** Why nobody answers: a code such as ECONNREFUSED. */
  readonly silence: string | undefined;
}

export interface AgentProcess {
  readonly role: 'keeper' | 'control' | 'dataplane';
  readonly pid: number;
  /** As in proc_pid_stat(5): R, S, D, T, Z. */
  readonly state: string;
  readonly openFilesLimit: number | undefined;
}

export interface CgroupFacts {
  readonly pidsMax: number | undefined;
  readonly pidsCurrent: number | undefined;
  readonly memoryMax: number | undefined;
  readonly memoryCurrent: number | undefined;
  readonly oomKills: number | undefined;
}

export interface Socket {
  readonly address: string;
  readonly port: number;
  readonly inode: string;
  /** Datagrams that found the receive buffer full. */
  readonly drops: number;
  readonly queuedBytes: number;
  /** Program that holds it, where that can be seen. */
  readonly owner: { readonly pid: number; readonly command: string; readonly isAgent: boolean } | undefined;
}

export interface SocketFacts {
  /** At the tunnel's port. */
  readonly udp: readonly Socket[];
  readonly udpEarlier: readonly Socket[];
  /** Listening at the status address's port, and at the metrics' one. */
  readonly tcp: readonly Socket[];
}

export interface PeerTraffic {
  readonly slot: number;
  readonly address: Ipv4;
  readonly port: number;
  readonly vtepMac: Mac;
  readonly probes: boolean;
  /** By reason, in the time between the two looks. */
  readonly drops: Readonly<Partial<Record<RefusalReason, number>>>;
}

/** What the data plane's statistics and the forwarding table say, also without control. */
export interface TrafficFacts {
  readonly table: ForwardingTable;
  readonly seconds: number;
  /** Those that were there at both looks. */
  readonly peers: readonly PeerTraffic[];
  /** Of nobody in particular, and of this node, in that time; the nftables rules' too. */
  readonly drops: Readonly<Partial<Record<RefusalReason, number>>>;
  readonly loops: number;
  readonly generation: number;
}

/** A list that could not be had is empty, and in `missing`. */
export interface KernelFacts {
  readonly links: readonly Link[];
  readonly addresses: readonly InterfaceAddress[];
  readonly routes: readonly Route[];
  readonly rules: readonly PolicyRule[];
  readonly neighbours: readonly Neighbour[];
  readonly missing: ReadonlySet<KernelList>;
}

export type KernelList = 'links' | 'addresses' | 'routes' | 'rules' | 'neighbours';

/** What grew between the two looks. */
export interface CounterFacts {
  readonly udpChecksumErrors: number;
  readonly neighbourTableFulls: number;
  readonly neighbours: number | undefined;
  readonly cgroup: CgroupFacts;
}

export interface FolderFacts {
  readonly path: string;
  /** Undefined: it can be written to; otherwise the errno's name. */
  readonly refusal: string | undefined;
  readonly freeBytes: number | undefined;
  readonly freeInodes: number | undefined;
}

export interface FileFacts {
  readonly state: FolderFacts;
  readonly run: FolderFacts;
  /** Age in seconds, negative in the future; undefined: there is none. */
  readonly snapshotAgeSeconds: number | undefined;
  /** Why it could not be used: a SnapshotReason. */
  readonly snapshotRefusal: string | undefined;
  /** Names of files of the state directory with the time of their last change in the future. */
  readonly fromTheFuture: readonly { readonly name: string; readonly aheadSeconds: number }[];
  /** Of identity.json. */
  readonly stateId: string | undefined;
  /** Undefined: no folder is set. */
  readonly cni: CniFacts | undefined;
  /** Undefined: it can be opened; otherwise the errno's name. */
  readonly tunRefusal: string | undefined;
  /** When the service account's token expires; undefined: there is none, or it does not say. */
  readonly tokenExpiresMs: number | undefined;
}

export interface CniFacts {
  readonly directory: string;
  /** Undefined: it can be written to. */
  readonly refusal: string | undefined;
  /** Configurations, in the runtime's order. */
  readonly configurations: readonly string[];
  readonly pluginDirectory: string;
  /** Undefined: it is there and executable. */
  readonly pluginRefusal: string | undefined;
}

/** Answers to the doctor's own requests, with the agent's credentials. */
export interface ApiFacts {
  /** http(s)://host:port */
  readonly server: string;
  /** Why the configuration cannot be used. */
  readonly configuration: string | undefined;
  readonly node: ApiAnswer | undefined;
  readonly peer: ApiAnswer | undefined;
}

export interface ApiAnswer {
  /** HTTP status; 0: none came. */
  readonly status: number;
  /** Why none came: an errno's name, TIMEOUT. */
  readonly failure: string | undefined;
  readonly milliseconds: number;
  /** The server's clock less ours. */
  readonly clockAheadSeconds: number | undefined;
  readonly body: unknown;
}

/** open: somebody answers. refused: the machine is there. */
export type Reach = 'open' | 'refused' | 'unreachable' | 'silent';
