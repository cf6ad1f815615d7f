// Who this node is to the others: the UID of its Node object and the VTEP MAC derived from it. Cloned machines share machine-ids and
// host names come back, a Node's UID is never given twice. Known from the snapshot while the API is away.
import { createHash } from 'node:crypto';

import { type Mac, mac } from '../../../proto/address.ts';
import type { OwnerReference } from '../../../proto/api-kinds.ts';

export interface Identity {
  readonly nodeName: string;
  readonly nodeUid: string;
  readonly vtepMac: Mac;
}

/** Locally administered unicast (second digit a) and 40 bits of a hash: the same for every start of the node. */
export const vtepMacOf = (nodeUid: string): Mac =>
  mac(0x0a * 2 ** 40 + createHash('sha256').update(`weft vtep ${nodeUid}`).digest().readUIntBE(0, 5));

export const identityOf = (nodeName: string, nodeUid: string): Identity => ({
  nodeName,
  nodeUid,
  vtepMac: vtepMacOf(nodeUid),
});

/** Makes Kubernetes' own garbage collector remove what belongs to the node when its Node object goes. */
export const ownedByNode = ({ nodeName, nodeUid }: Identity): OwnerReference => ({
  apiVersion: 'v1',
  kind: 'Node',
  name: nodeName,
  uid: nodeUid,
});
