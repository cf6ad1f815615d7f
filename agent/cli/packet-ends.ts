// What an operator means by the end of a packet: a pod by name, a node by name, or an address; and whose it is by the forwarding table.
import { type Ipv4, blockCidr, blockIndex, blockOf, formatIpv4, ipv4 } from '../../proto/address.ts';
import {
  type ForwardingPeer,
  type ForwardingTable,
  OWNER_FIRST_PEER,
  OWNER_NOBODY,
  OWNER_SELF,
} from '../../proto/forwarding-table.ts';
import { OperationError } from '../operation-error.ts';
import type { Owner } from '../wire/trace-view.ts';
import { type NodeTables, addressIn } from './node-tables.ts';

export interface PacketEnd {
  readonly address: Ipv4;
  readonly owner: Owner;
  /** "default/web-0", "node-2", where one was given or is known. */
  readonly name: string | undefined;
  /** A node was meant, not a pod. */
  readonly isNode: boolean;
}

export function ownerOf({ table, report }: NodeTables, address: Ipv4): Owner {
  const block = blockOf(table.range, table.blockPrefixLength, address);
  if (block === undefined) {
    if (report?.node.address === formatIpv4(address)) return { kind: 'this_underlay' };
    const peer = table.peers.find((each) => each.address === address);
    return peer === undefined ? { kind: 'outside' } : { kind: 'peer_underlay', peer };
  }
  const owner = table.owners[block] ?? OWNER_NOBODY;
  if (owner === OWNER_SELF) return { kind: 'this_node' };
  const peer =
    owner >= OWNER_FIRST_PEER ? table.peers.find(({ slot }) => slot === owner - OWNER_FIRST_PEER) : undefined;
  return peer === undefined ? { kind: 'nobody' } : { kind: 'peer', peer };
}

/** First usable addresses of a peer's blocks, in order: that of the block which it got first is its bridge's. */
export const gatewaysOf = (table: ForwardingTable, peer: ForwardingPeer): readonly Ipv4[] =>
  [...table.owners.entries()]
    .filter(([, owner]) => owner === OWNER_FIRST_PEER + peer.slot)
    .map(([block]) => ipv4(blockCidr(table.range, table.blockPrefixLength, blockIndex(block)).base + 1));

/** Throws OperationError: UNKNOWN_END with how to find it out. */
export function findEnd(tables: NodeTables, wanted: string): PacketEnd {
  const { report, table } = tables;
  const address = addressIn(wanted);
  if (address !== undefined) return endAt(tables, address);
  if (report === undefined) {
    throw new OperationError(
      `Cannot find "${wanted}": control does not answer, so only addresses are known; give an address`,
      { code: 'UNKNOWN_END' },
    );
  }
  const peer = tables.find(wanted);
  if (peer !== undefined) {
    return { address: peer.address, owner: { kind: 'peer_underlay', peer }, name: wanted, isNode: true };
  }
  if (wanted === report.node.name) {
    return { address: table.gateway, owner: { kind: 'this_node' }, name: wanted, isNode: true };
  }
  const pods = report.ipam.allocations.filter(
    ({ podName }) =>
      podName !== undefined && (podName === wanted || podName.slice(podName.indexOf('/') + 1) === wanted),
  );
  if (pods.length > 1) {
    const names = pods.map(({ podName }) => podName).join(', ');
    throw new OperationError(
      `Cannot tell which pod "${wanted}" is: there is ${names}; write namespace/name`,
      { code: 'UNKNOWN_END' },
    );
  }
  const [pod] = pods;
  const found = pod && addressIn(pod.address);
  if (pod === undefined || found === undefined) throw unknown(wanted, report.node.name);
  return { ...endAt(tables, found), name: pod.podName };
}

function endAt(tables: NodeTables, address: Ipv4): PacketEnd {
  const owner = ownerOf(tables, address);
  const pod = tables.report?.ipam.allocations.find((each) => each.address === formatIpv4(address))?.podName;
  const isNode =
    owner.kind.endsWith('underlay') || (owner.kind === 'this_node' && address === tables.table.gateway);
  const node = 'peer' in owner && isNode ? tables.nameOf(owner.peer) : undefined;
  return { address, owner, name: pod ?? node, isNode };
}

function unknown(wanted: string, node: string): OperationError {
  const [first = '', second] = wanted.split('/');
  const [namespace, name] = second === undefined ? ['NAMESPACE', first] : [first, second];
  return new OperationError(
    `Cannot find "${wanted}": it is no node, and no pod of this node ("${node}"); the address of a pod elsewhere is told by: kubectl get pod -n ${namespace} ${name} -o jsonpath='{.status.podIP}'`,
    { code: 'UNKNOWN_END' },
  );
}

/** `10.44.0.7 (default/web-0)` */
export const formatEnd = ({ address, name }: Pick<PacketEnd, 'address' | 'name'>): string =>
  name === undefined ? formatIpv4(address) : `${formatIpv4(address)} (${name})`;
