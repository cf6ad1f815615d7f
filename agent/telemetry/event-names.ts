// The closed vocabulary of log events: the `event` field of every line is one of these. Each has a line in docs/operations/log-events.md; a name
// says what happened, in the past tense, and never changes its meaning once it was released. An event is logged at its levels only, and
// one that can be a warning or an error says here what a person does about it: both are checked by the compiler. Pure.
import type { LogLevel } from './log-level.ts';

type Quiet = 'debug' | 'info' | 'debug, info';
type Loud = 'warn' | 'error' | 'warn, error' | 'info, warn' | 'debug, warn' | 'info, error';
export type EventRow =
  | readonly [name: string, levels: Quiet, meaning: string]
  | readonly [name: string, levels: Loud, meaning: string, remedy: string];

export const EVENTS = [
  // Life of the agent.
  ['agent_started', 'info', 'a role of the agent started; its version and settings are in the fields'],
  [
    'agent_ready',
    'info',
    'the node can attach pods: network made, first block claimed, CNI configuration in place',
  ],
  [
    'agent_not_ready',
    'warn',
    'the node cannot attach pods any more, or for another reason than before; the message says why',
    'do what the reason says; pods that run are not concerned',
  ],
  [
    'agent_stopping',
    'info, warn',
    'the agent was asked to stop and finishes what is under way; as a warning: its Node was deleted and created again, and it starts anew',
    'nothing: it is started again',
  ],
  ['agent_stopped', 'info', 'a role of the agent ended as asked'],
  [
    'agent_refused_to_start',
    'error',
    'a setting or the node makes it impossible to start; the message says what to change, and it is tried again',
    'see [refusals.md](refusals.md), by its `code`',
  ],
  [
    'agent_failed',
    'error',
    'a bug of the agent itself ended a role; it is started again',
    'report the line with its `stack`; nothing else is to be done',
  ],
  [
    'role_restarted',
    'debug, warn',
    'a role ended and is started again; while it keeps ending, each growth of the pause has a warning, then one in ten minutes',
    'nothing for a single one; where it goes on: `dmesg` (out of memory), the limits of the container, and the line before it',
  ],
  [
    'role_failed_to_start',
    'error',
    'a process for a role could not be started',
    'free processes, memory or file descriptors on the node, by the `code`',
  ],
  [
    'hand_over_started',
    'info',
    'a new agent has started beside the old one, which goes on until the new one is warm',
  ],
  ['hand_over_finished', 'info', 'the new agent has the turn; the old one waits to be stopped'],
  [
    'hand_over_failed',
    'warn, error',
    'the other agent ended during or after a hand-over; this one carries on',
    'nothing for packets; look in the log of the other agent for why it ended',
  ],
  // The cluster's API.
  ['api_connected', 'info', 'list and watch work (again)'],
  [
    'api_disconnected',
    'warn',
    'the API does not answer, or refuses; the last-known state stays in force',
    'look whether the API server is up and reached from the node (`weft doctor`); by its `code`: [refusals.md](refusals.md)',
  ],
  [
    'api_request_failed',
    'warn',
    'a request was refused or not answered; it is tried again, and told again when it fails in another way',
    'look whether the API server is up and reached from the node (`weft doctor`); by its `code`: [refusals.md](refusals.md)',
  ],
  ['api_request_recovered', 'info', 'what api_request_failed told of has succeeded'],
  [
    'api_relisted',
    'warn',
    'the API answered with a state older than one seen before, which is ignored, or believed when it stays so (a restored backup)',
    'nothing, unless it goes on: then look whether all API servers share one etcd, and whether its backup was restored',
  ],
  [
    'api_object_refused',
    'warn',
    'an object of another node is not valid and is ignored',
    'correct or delete the object that the message names',
  ],
  [
    'event_failed',
    'warn',
    'an Event about the node could not be created; it is tried again',
    "apply the manifest of this version, for the agent's Role on Events",
  ],
  [
    'range_refused',
    'error',
    'the range overlaps the addresses of Services: no pods are attached',
    'choose another `IPALLOC_RANGE`, or another Service range',
  ],
  [
    'pod_cidr_unused',
    'info',
    'the cluster gave the node a podCIDR within the range, which Weft does not use',
  ],
  [
    'credentials_failed',
    'error',
    'the credentials for the API cannot be read',
    'mount the service account, or correct the file that `KUBECONFIG` names',
  ],
  ['snapshot_loaded', 'info', 'the last-known state was read from disk'],
  [
    'snapshot_refused',
    'warn',
    'the last-known state on disk is damaged or foreign and is not used',
    'nothing while the API answers; look at the disk where it happens again',
  ],
  [
    'snapshot_failed',
    'warn',
    'the last-known state could not be written; it is tried again',
    'free space in `WEFT_STATE_DIR`, or make it writable',
  ],
  ['snapshot_recovered', 'info', 'the last-known state can be written again'],
  [
    'peer_published',
    'info, warn',
    "this node's Peer object was written; as a warning: somebody keeps deleting or changing it",
    'look whether the Node exists and whether another machine has its name',
  ],
  [
    'peers_listed',
    'info',
    'the other nodes of the cluster were heard of for the first time; from now on each change has a line',
  ],
  ['peer_added', 'info', 'a node joined'],
  ['peer_changed', 'info', "a node's addresses or identity changed"],
  ['peer_removed', 'info', 'a node left'],
  [
    'peer_collision',
    'warn',
    'two peers claim the same identity or address; the message says which one is used',
    'give one of the two machines another name or address, as the message says',
  ],
  ['contradiction_ended', 'info', 'what peer_collision or api_object_refused told of is over'],
  // Address blocks and addresses.
  ['block_claimed', 'info', 'a block is held by this node from now on'],
  ['block_contested', 'info', 'another node was faster with a block; another one is chosen'],
  [
    'block_restored',
    'debug, warn',
    "a block of this node's had vanished and was created again; while it keeps vanishing, warned of three times",
    'find who deletes AddressBlocks; look whether the Node object exists',
  ],
  [
    'block_fenced',
    'warn',
    "another node holds a block of this node's: no new addresses from it",
    'delete the pods of this node that have an address of the block',
  ],
  ['block_unfenced', 'info', 'a fenced block is no longer of concern: regained, or without pods'],
  ['block_confirmed', 'info', "a block of this node's is held under the identity of its new Node object"],
  ['block_released', 'info', 'an empty block was given back'],
  ['block_reclaimed', 'info', 'a block was freed whose node has been gone for the quarantine'],
  [
    'block_reclaim_failed',
    'warn',
    'a block of a node that is gone could not be freed; it is tried again',
    'look whether the API server is up and reached from the node (`weft doctor`); by its `code`: [refusals.md](refusals.md)',
  ],
  [
    'state_identity_changed',
    'warn',
    'the state directory has a new identity, since it is of another machine or cannot be kept',
    'nothing after a machine was cloned; else free space in `WEFT_STATE_DIR`, or make it writable',
  ],
  [
    'block_claim_failed',
    'warn',
    'a block could not be claimed or given back; it is tried again',
    'look whether the API server is up and reached from the node (`weft doctor`); by its `code`: [refusals.md](refusals.md)',
  ],
  [
    'range_exhausted',
    'warn',
    'no block of the range is left to claim',
    'remove nodes, wait for the quarantine of freed blocks, or use a larger range',
  ],
  [
    'allocations_loaded',
    'info',
    'the allocations that the agent found at its start, and the blocks of this node',
  ],
  ['allocations_voided', 'info', 'the node rebooted: every earlier allocation is void'],
  [
    'allocations_rebuilt',
    'info, warn',
    'the log was damaged or missing, or behind; the allocations were taken from the kernel',
    'nothing, unless somebody put back an older file: leave `WEFT_STATE_DIR` to the agent',
  ],
  [
    'allocation_log_unwritable',
    'error',
    'the allocation log cannot be written: no address can be given',
    'free space in `WEFT_STATE_DIR`, or make it writable',
  ],
  ['allocation_log_recovered', 'info', 'the allocation log can be written again'],
  [
    'allocation_leaked',
    'warn',
    'an allocation without a pod, or an interface without an allocation, was found and removed',
    'nothing; where it goes on, look why the container runtime does not call DEL',
  ],
  // Pods.
  ['pod_attached', 'debug', 'a pod got its interface and address'],
  ['pod_detached', 'debug', "a pod's interface and address were removed"],
  [
    'cni_failed',
    'debug, warn',
    'a request of the container runtime failed; the message is what the runtime shows. The same failure again is at debug for ten minutes',
    'do what the message says; the runtime asks again by itself',
  ],
  [
    'cni_refused',
    'debug, warn',
    'a connection to the CNI socket that is no request of the shim. The same again is at debug for ten minutes',
    'find who connects to the socket; restart the agent where the shim is of another version',
  ],
  [
    'detach_repeated',
    'debug',
    'a pod deletion for which there was nothing left to remove: runtimes repeat theirs',
  ],
  ['tombstone_replayed', 'info', 'a pod deletion that happened while the agent was away was carried out'],
  ['cni_configuration_written', 'info', 'the CNI configuration was put in place'],
  [
    'cni_configuration_failed',
    'error',
    'the CNI configuration or the shim could not be installed',
    'make the folder that the message names writable, or correct `ConfigMap/weft-cni`',
  ],
  [
    'cni_configuration_foreign',
    'info, warn',
    "another network's CNI configuration is on the node; the message says which one the runtime uses",
    "remove the other network's file when it is no longer wanted",
  ],
  ['cni_configuration_effective', 'info', "the runtime attaches pods by Weft's CNI configuration again"],
  // The node.
  ['network_made', 'debug, info', "the node's bridge, routes and rules were made"],
  [
    'network_repaired',
    'debug, warn',
    'something of ours was missing or changed and was put right; at debug while network_contested lasts',
    'nothing for a single one; else find which program changes it',
  ],
  [
    'network_contested',
    'warn',
    'a program undoes the repairs again and again; the message says which one by its look',
    "tell that program to leave Weft's interfaces, routes and tables alone",
  ],
  ['network_contest_ended', 'info', 'nobody has undone repairs for ten minutes'],
  [
    'mtu_changed',
    'warn',
    "the underlay's MTU changed, and with it the device's and that of new pods",
    'nothing; make pods anew that should use a larger MTU',
  ],
  [
    'network_failed',
    'warn, error',
    "the node's bridge, routes or rules could not be made or looked at; it is tried again",
    'do what the message says: it names what is in the way',
  ],
  ['network_recovered', 'info', 'what network_failed told of is over'],
  // The data plane.
  ['dataplane_active', 'info', 'a data plane carries the packets'],
  [
    'dataplane_failed',
    'error',
    'the data plane met an error that it cannot go on after; another process takes over',
    'by its `code`: free memory on the node; else report the line',
  ],
  [
    'dataplane_io_failed',
    'warn',
    'a read or write of packets failed; counted as a drop',
    'by its `code`: see `egress_send_failed` and `tun_write_failed` in [drops.md](drops.md)',
  ],
  ['forwarding_published', 'debug', 'a new forwarding table was handed to the data plane'],
  [
    'forwarding_refused',
    'warn',
    'a forwarding table is damaged and the last one stays in force',
    'restart the agent of the node, and report the line',
  ],
  [
    'packet_dropped',
    'warn, error',
    'packets are refused for a reason, and were in each of several looks in a row; told when it begins. As an error: packets in flight were given up',
    'by its `reason`: see [drops.md](drops.md)',
  ],
  [
    'packet_drops_ended',
    'info',
    'no packet has been refused for ten minutes for the reason that packet_dropped told of',
  ],
  ['connection_established', 'info', 'a peer answers'],
  [
    'connection_failed',
    'warn',
    'a peer that answered does not answer any more, or a new one has not within ten seconds',
    'look whether that node is up, and whether its UDP port of the tunnel is open in both directions (`weft ping`)',
  ],
  [
    'path_mtu_lowered',
    'warn',
    'the path to a peer takes less than it did; pods are told by ICMP',
    'nothing, unless the underlay should carry more: look at its links and tunnels',
  ],
  ['path_mtu_raised', 'info', 'the path to a peer takes more than it did'],
  // The agent's own look at its node.
  [
    'fault_found',
    'warn, error',
    '`weft doctor`, which the agent runs by itself, finds something wrong',
    'do what the message says; [doctor.md](doctor.md) has each `check`',
  ],
  ['fault_gone', 'info', 'what `weft doctor` found is no longer so'],
  [
    'self_check_failed',
    'warn',
    '`weft doctor` could not be run',
    'run it by hand: `kubectl -n weft exec POD -- weft doctor` says why it cannot',
  ],
  // Observability itself.
  ['status_listening', 'info', 'the status and metrics servers listen'],
  [
    'status_failed',
    'warn, error',
    'a status or metrics request failed, or part of what they show cannot be read or written',
    'do what the message says; traffic is not concerned',
  ],
  [
    'log_lines_left_out',
    'info',
    'lines were left out by the rate limit; the fields say of which event and how many',
  ],
] as const;

/** The same as rows that hold what this file's head says. */
export const EVENT_ROWS: readonly EventRow[] = EVENTS;

type Row = (typeof EVENTS)[number];

export type EventName = Row[0];
/** The events that may be logged at a level. What is said at trace is in nobody's way. */
export type EventAt<L extends LogLevel> = L extends 'trace'
  ? EventName
  : Extract<Row, readonly [string, L | `${string}, ${L}` | `${L}, ${string}`, ...unknown[]]>[0];
