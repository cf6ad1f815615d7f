// The closed list of log fields: what a line may have beside `time`, `level`, `role`, `event` and `msg`. A field that is not listed, or of another
// type, does not compile (logger.ts, dataplane/report.ts). Each has a line in docs/operations/log-events.md; none ever holds a token, a key
// or what a container runtime sent on stdin. Pure.
import type { OperationContext } from '../operation-error.ts';

/** Units of numbers are types of their own. */
interface TypeOf {
  readonly text: string;
  readonly number: number;
  readonly bytes: number;
  readonly ms: number;
  readonly 'true or false': boolean;
}

export const FIELDS = [
  // What went wrong.
  [
    'code',
    'text',
    'of an error: an errno name, or a word in capitals that stays the same from version to version',
  ],
  ['error', 'text', 'the message of an error with those of its causes'],
  ['cni_code', 'number', 'the error code that the container runtime got (CNI specification)'],
  ['reason', 'text', 'why something was refused: a word out of a closed list'],
  ['check', 'text', 'of `weft doctor`: which check found it'],
  ['kind', 'text', 'of a contradiction between objects, or of an interface'],
  ['stack', 'text', 'where in the source a bug of the agent ended it'],
  ['setting', 'text', 'name of the setting that is refused'],
  ['value', 'text', 'the value of that setting'],
  ['conflict', 'text', 'what overlaps the range: an address, a route or a Service range'],
  // Of the agent.
  ['version', 'text', 'version of an agent'],
  ['node', 'text', 'name of the Node'],
  ['node_ip', 'text', "the node's address, which other nodes send to"],
  ['signal', 'text', 'the signal that asked the agent to stop'],
  ['name', 'text', 'of a role of the agent, or of an object of the API'],
  ['how', 'text', 'how a process ended: its exit code or signal'],
  ['was_active', 'true or false', 'whether the process that ended had a turn; a spare has none'],
  ['restarts', 'number', 'how often the role was started again since the agent started'],
  ['worker', 'number', 'of the data plane, from 0 on'],
  ['workers', 'number', 'how many workers of the data plane there are'],
  ['offloads', 'number', 'of the TUN: bits of TUNSETOFFLOAD'],
  ['outcome', 'text', 'how a hand-over ended'],
  ['process', 'number', 'process id of another program, as the kernel tells it'],
  // Of the network.
  ['range', 'text', 'IPALLOC_RANGE'],
  ['mtu', 'bytes', 'largest packet inside pods'],
  ['mtu_before', 'bytes', 'the same before the change'],
  ['path_mtu', 'bytes', 'largest inner packet that the path to a peer takes'],
  ['path_mtu_before', 'bytes', 'the same before the change'],
  ['interface', 'text', 'name of an interface: of the node, or inside the pod for CNI requests'],
  ['host_interface', 'text', "name of the node's end of a pod's interface"],
  ['address', 'text', 'IPv4 address of a pod or of a peer'],
  ['address_before', 'text', 'the same before the change'],
  ['vtep_mac', 'text', "a node's inner MAC address in the tunnel"],
  ['generation', 'number', 'of the forwarding table; it grows with each'],
  ['operation', 'text', 'the system call on the packet path that failed'],
  ['path', 'text', 'of a file'],
  // Of the cluster.
  ['resource', 'text', 'plural of a kind of the API'],
  ['peer', 'text', 'name of another node'],
  ['peers', 'number', 'how many'],
  ['pod_cidr', 'text', 'podCIDRs of the Node'],
  ['block', 'text', 'name of an AddressBlock'],
  ['blocks', 'text', 'names of AddressBlocks'],
  ['block_count', 'number', 'how many AddressBlocks'],
  ['held', 'number', 'how many AddressBlocks of the range are held'],
  ['holder', 'text', 'name of the node that holds the block'],
  // Of pods.
  ['command', 'text', 'verb of a CNI request'],
  ['container', 'text', 'id of the container (sandbox)'],
  ['pod', 'text', 'namespace/name'],
  ['plugins_left_out', 'text', 'chained CNI plugins that are not on the node'],
  ['duration_ms', 'ms', 'from the whole request to the reply'],
  // Of counting.
  ['count', 'number', 'how many, of what the message says'],
  ['repeated', 'number', 'how often the same happened since it was last told, this time included'],
  ['left_out', 'number', 'how many lines of this event the rate limit left out before this one'],
  ['of_event', 'text', 'the event whose lines were left out'],
] as const;

/** The same as rows; it does not compile with a type that is none. */
export const FIELD_ROWS: readonly (readonly [name: string, type: keyof TypeOf, meaning: string])[] = FIELDS;

type Row = (typeof FIELDS)[number];

/** Flat; never a token, a key or what a container runtime sent on stdin. */
export type LogFields = {
  readonly [R in Row as R[0]]?: TypeOf[R[1]] | undefined;
};

/** To intersect the type of given fields with: refuses those that are not listed, also where they come in a variable. */
export type Unlisted<Given> = { readonly [Name in Exclude<keyof Given, keyof LogFields>]: never };

const TYPES: ReadonlyMap<string, string> = new Map(
  FIELDS.map(([name, type]) => [
    name,
    type === 'text' ? 'string' : type === 'true or false' ? 'boolean' : 'number',
  ]),
);

/** Whether a line may have it. */
export const isLogField = (name: string, value: unknown): boolean => TYPES.get(name) === typeof value;

/** What of an error's context is listed; the rest is in its message. */
export const contextFields = (context: OperationContext): LogFields =>
  Object.fromEntries(Object.entries(context).filter(([name, value]) => isLogField(name, value)));
