// The closed vocabulary of log events: the `event` field of every line is one of these. Each has a line in docs/operations.md; a name
// says what happened, in the past tense, and never changes its meaning once it was released.

export const EVENTS = [
  // Life of the agent.
  ['agent_started', 'a role of the agent started; its version and settings are in the fields'],
  ['agent_ready', 'the node can attach pods: network made, first block claimed, CNI configuration in place'],
  ['agent_not_ready', 'the node cannot attach pods at the moment; the message says why'],
  ['agent_stopping', 'the agent was asked to stop and finishes what is under way'],
  ['agent_stopped', 'a role of the agent ended as asked'],
  [
    'agent_refused_to_start',
    'a setting or the node makes it impossible to start; the message says what to change, and it is tried again',
  ],
  ['agent_failed', 'a bug of the agent itself ended a role; it is started again'],
  ['role_restarted', 'a role ended and is started again'],
  ['role_failed_to_start', 'a process for a role could not be started'],
  [
    'hand_over_started',
    'a new agent has started beside the old one, which goes on until the new one is warm',
  ],
  ['hand_over_finished', 'the new agent has the turn; the old one waits to be stopped'],
  ['hand_over_failed', 'the other agent ended during or after a hand-over; this one carries on'],
  // The cluster's API.
  ['api_connected', 'list and watch work (again)'],
  ['api_disconnected', 'the API does not answer; the last-known state stays in force'],
  ['api_request_failed', 'a request was refused or not answered'],
  ['api_relisted', 'a watch could not go on and the objects were listed again'],
  ['api_object_refused', 'an object of another node is not valid and is ignored'],
  ['event_failed', 'an Event about the node could not be created; it is tried again'],
  ['range_refused', 'the range overlaps the addresses of Services: no pods are attached'],
  ['pod_cidr_unused', 'the cluster gave the node a podCIDR within the range, which Weft does not use'],
  ['credentials_failed', 'the credentials for the API cannot be read or are refused'],
  ['snapshot_loaded', 'the last-known state was read from disk'],
  ['snapshot_refused', 'the last-known state on disk is damaged or foreign and is not used'],
  ['snapshot_failed', 'the last-known state could not be written'],
  ['peer_published', "this node's Peer object was written"],
  [
    'peers_listed',
    'the other nodes of the cluster were heard of for the first time; from now on each change has a line',
  ],
  ['peer_added', 'a node joined'],
  ['peer_changed', "a node's addresses or identity changed"],
  ['peer_removed', 'a node left'],
  ['peer_collision', 'two peers claim the same identity or address; the message says which one is used'],
  // Address blocks and addresses.
  ['block_claimed', 'a block is held by this node from now on'],
  ['block_contested', 'another node was faster with a block; another one is chosen'],
  ['block_restored', "a block of this node's had vanished and was created again"],
  ['block_fenced', "another node holds a block of this node's: no new addresses from it"],
  ['block_unfenced', 'a fenced block is no longer of concern: regained, or without pods'],
  ['block_confirmed', "a block of this node's is held under the identity of its new Node object"],
  ['block_released', 'an empty block was given back'],
  ['block_reclaimed', 'a block was freed whose node has been gone for the quarantine'],
  ['block_reclaim_failed', 'a block of a node that is gone could not be freed; it is tried again'],
  [
    'state_identity_changed',
    'the state directory has a new identity, since it is of another machine or cannot be kept',
  ],
  ['block_claim_failed', 'a block could not be claimed or given back; it is tried again'],
  ['range_exhausted', 'no block of the range is left to claim'],
  ['allocations_loaded', 'the allocations that the agent found at its start, and the blocks of this node'],
  ['allocations_voided', 'the node rebooted: every earlier allocation is void'],
  ['allocations_rebuilt', 'the log was damaged or missing; the allocations were taken from the kernel'],
  ['allocation_log_unwritable', 'the allocation log cannot be written: no address can be given'],
  ['allocation_log_recovered', 'the allocation log can be written again'],
  ['allocation_leaked', 'an allocation without a pod was found and freed'],
  // Pods.
  ['pod_attached', 'a pod got its interface and address'],
  ['pod_detached', "a pod's interface and address were removed"],
  ['cni_failed', 'a request of the container runtime failed; the message is what the runtime shows'],
  ['cni_refused', 'a connection to the CNI socket that is no request of the shim'],
  ['detach_repeated', 'a pod deletion for which there was nothing left to remove: runtimes repeat theirs'],
  ['tombstone_replayed', 'a pod deletion that happened while the agent was away was carried out'],
  ['cni_configuration_written', 'the CNI configuration was put in place'],
  ['cni_configuration_failed', 'the CNI configuration or the shim could not be installed'],
  [
    'cni_configuration_foreign',
    "another network's CNI configuration is on the node; the message says which one the runtime uses",
  ],
  // The node.
  ['network_made', "the node's bridge, routes and rules were made"],
  ['network_repaired', 'something of ours was missing or changed and was put right'],
  [
    'network_contested',
    'a program undoes the repairs again and again; the message says which one by its look',
  ],
  ['network_failed', "the node's bridge, routes or rules could not be made; it is tried again"],
  // The data plane.
  ['dataplane_active', 'a data plane carries the packets'],
  ['dataplane_failed', 'the data plane met an error that it cannot go on after'],
  ['dataplane_io_failed', 'a read or write of packets failed; counted as a drop'],
  ['forwarding_published', 'a new forwarding table was handed to the data plane'],
  ['forwarding_refused', 'a forwarding table is damaged and the last one stays in force'],
  ['packet_dropped', 'a sample of a refused packet, with the reason'],
  ['connection_established', 'a peer answers'],
  ['connection_failed', 'a peer that answered does not answer any more'],
  // Observability itself.
  ['status_listening', 'the status and metrics servers listen'],
  ['status_failed', 'a status or metrics request failed, or its address cannot be listened on'],
  ['log_lines_left_out', 'lines were left out by the rate limit; the fields say of which event and how many'],
] as const;

export type EventName = (typeof EVENTS)[number][0];
