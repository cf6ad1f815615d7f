// What keeps the node from serving pods as it should and a person has to put right: one sentence with its remedy, for the log, the status
// pages and an Event about the node. Pure.
import { codeOf } from '../operation-error.ts';

export interface Trouble {
  readonly code: string;
  readonly message: string;
}

/** InvalidConfiguration: change a setting, or what contradicts it. NetworkUnavailable: look at the node. ClusterStateUnavailable: at the API. */
export type EventReason = 'InvalidConfiguration' | 'NetworkUnavailable' | 'ClusterStateUnavailable';

/** Code, reason of the Event and meaning; the documentation's table is compared with it. Other codes are errno names: NetworkUnavailable. */
export const TROUBLES: readonly (readonly [code: string, reason: EventReason, meaning: string])[] = [
  ['SETTING_INVALID', 'InvalidConfiguration', 'a setting has a value that cannot be used on this node'],
  [
    'RANGE_OVERLAP',
    'InvalidConfiguration',
    'something of the node or the cluster uses addresses of the range',
  ],
  [
    'NO_NODE_ADDRESS',
    'InvalidConfiguration',
    'no address is set and there is no default route to take it from',
  ],
  ['UNDERLAY_MISSING', 'InvalidConfiguration', "the node's address is on none of its interfaces"],
  ['ADDRESS_NOT_LOCAL', 'InvalidConfiguration', "the tunnel's port cannot be opened at the node's address"],
  ['CONFIG_INVALID', 'InvalidConfiguration', 'the configuration of the API client cannot be used'],
  ['NODE_NAME_TWICE', 'InvalidConfiguration', 'two machines have one node name'],
  [
    'RANGE_EXHAUSTED',
    'InvalidConfiguration',
    'no address is free on the node, and no block of the range to claim',
  ],
  ['BLOCK_LIMIT', 'InvalidConfiguration', 'no address is free on the node, and it may hold no more blocks'],
  ['CNI_OVERRULED', 'InvalidConfiguration', "the runtime uses another network's CNI configuration"],
  ['CNI_TEMPLATE_INVALID', 'InvalidConfiguration', 'the CNI configuration to write is damaged'],
  ['PEER_COLLISION', 'InvalidConfiguration', "another node's Peer claims this node's address or VTEP MAC"],
  [
    'BLOCK_FENCED',
    'InvalidConfiguration',
    "pods of this node have addresses of a block that is another node's now",
  ],
  ['TUN_MISSING', 'NetworkUnavailable', 'there is no /dev/net/tun'],
  [
    'TUN_DENIED',
    'NetworkUnavailable',
    '/dev/net/tun may not be opened: CAP_NET_ADMIN or a device rule is missing',
  ],
  ['TUN_BUSY', 'NetworkUnavailable', 'an interface of the name weft0 is of another kind'],
  ['FOREIGN_INTERFACE', 'NetworkUnavailable', "an interface of one of Weft's names is somebody else's"],
  ['PORT_IN_USE', 'NetworkUnavailable', "another program has the tunnel's UDP port"],
  ['EADDRINUSE', 'NetworkUnavailable', 'another program has the status or metrics address'],
  ['NFT_MISSING', 'NetworkUnavailable', 'the program nft cannot be run'],
  ['NFT_REFUSED', 'NetworkUnavailable', "the kernel refuses Weft's nftables rules"],
  ['PREDECESSOR_SILENT', 'NetworkUnavailable', 'the agent that runs on the node does not answer the new one'],
  [
    'PREDECESSOR_REFUSED',
    'NetworkUnavailable',
    'the agent that runs on the node does not pass what the new one needs',
  ],
  ['NETWORK_CONTESTED', 'NetworkUnavailable', 'a program of the node undoes what the agent puts right'],
  [
    'DATAPLANE_DOWN',
    'NetworkUnavailable',
    'no process of the data plane runs: no packet reaches other nodes',
  ],
  [
    'WORKER_MISSING',
    'NetworkUnavailable',
    'some processes of the data plane do not run: their flows get no packets',
  ],
  [
    'PEERS_UNREACHABLE',
    'NetworkUnavailable',
    'other nodes, more than a tenth of them, have not answered for a minute',
  ],
  ['LOG_UNWRITABLE', 'NetworkUnavailable', 'the allocation log cannot be written: no pod gets an address'],
  [
    'SNAPSHOT_UNWRITABLE',
    'NetworkUnavailable',
    'the last-known state cannot be written: a restart without the API would know older state',
  ],
  ['FORBIDDEN', 'ClusterStateUnavailable', "the agent's role does not allow a request that it needs"],
  ['UNAUTHORIZED', 'ClusterStateUnavailable', 'the API server does not take the credentials'],
  [
    'NOT_FOUND',
    'ClusterStateUnavailable',
    'the custom resource definitions, or the Node object, are not there',
  ],
  ['INVALID', 'ClusterStateUnavailable', 'the custom resource definitions are of another version'],
];

const REASONS = new Map(TROUBLES.map(([code, reason]) => [code, reason]));

/** Listed ones have their remedy in their message. */
export const isListed = ({ code }: Trouble): boolean => REASONS.has(code);

export const eventReason = ({ code }: Trouble): EventReason => REASONS.get(code) ?? 'NetworkUnavailable';

/** Answers of an API server that stay the same until somebody changes something there. */
export const isLastingAnswer = (error: unknown): boolean =>
  REASONS.get(codeOf(error)) === 'ClusterStateUnavailable';

export const troubleOf = (error: unknown, message?: string): Trouble => ({
  code: codeOf(error),
  message: message ?? (error instanceof Error ? error.message : String(error)),
});
