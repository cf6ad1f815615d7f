// Peers and blocks as numbers: what forwarding and claims need of the API objects. Pure; undefined for what cannot be used.
import {
  type BlockIndex,
  type Cidr,
  type Ipv4,
  type Mac,
  blockOf,
  cidrContains,
} from '../../../proto/address.ts';
import { parseCidr, parseIpv4, parseMac } from '../../../proto/address-text.ts';
import type { AddressBlock, Peer } from '../../../proto/api-kinds.ts';
import { formatBlockName } from '../../ipam/block-name.ts';

export interface PeerFacts {
  readonly address: Ipv4;
  readonly port: number;
  readonly vtepMac: Mac;
  readonly probes: boolean;
}

export interface BlockFacts {
  readonly cidr: Cidr;
  readonly index: BlockIndex;
  readonly node: string;
}

/** API objects are immutable here, so parsing each once is enough. */
const peersSeen = new WeakMap<Peer, { readonly facts: PeerFacts | undefined }>();
const cidrsSeen = new WeakMap<AddressBlock, { readonly cidr: Cidr | undefined }>();

export function peerFacts(peer: Peer): PeerFacts | undefined {
  let seen = peersSeen.get(peer);
  if (seen === undefined) {
    seen = { facts: attempt(() => parsePeer(peer)) };
    peersSeen.set(peer, seen);
  }
  return seen.facts;
}

function parsePeer({ spec }: Peer): PeerFacts | undefined {
  // The preferred address that this version can send to.
  const address = spec.addresses
    .map((text) => attempt(() => parseIpv4(text)))
    .find((one) => one !== undefined);
  if (address === undefined || address === 0) return undefined;
  return {
    address,
    port: spec.port,
    vtepMac: parseMac(spec.vtepMac),
    probes: spec.features.includes('probe'),
  };
}

/** A block counts when its name is its CIDR, of the cluster's block size, within the range: then no two can overlap. */
export function blockFacts(
  block: AddressBlock,
  { range, blockPrefixLength }: { readonly range: Cidr; readonly blockPrefixLength: number },
): BlockFacts | undefined {
  let seen = cidrsSeen.get(block);
  if (seen === undefined) {
    seen = { cidr: attempt(() => parseCidr(block.spec.cidr)) };
    cidrsSeen.set(block, seen);
  }
  const { cidr } = seen;
  if (cidr === undefined || cidr.prefixLength !== blockPrefixLength || !cidrContains(range, cidr.base)) {
    return undefined;
  }
  const index = blockOf(range, blockPrefixLength, cidr.base);
  if (index === undefined || block.metadata.name !== formatBlockName(cidr)) return undefined;
  return { cidr, index, node: block.spec.node };
}

/** Order by age: creation time (RFC 3339 in UTC, so text compares), then uid, then name; without a time is youngest. */
export function olderPeer(a: Peer, b: Peer): number {
  const key = ({ metadata }: Peer): readonly string[] => [
    metadata.creationTimestamp ?? '~',
    metadata.uid ?? '~',
    metadata.name,
  ];
  const [left, right] = [key(a), key(b)];
  for (let at = 0; at < left.length; at++) {
    if (left[at]! !== right[at]!) return left[at]! < right[at]! ? -1 : 1; // !: keys have the same length
  }
  return 0;
}

function attempt<T>(parse: () => T): T | undefined {
  try {
    return parse();
  } catch {
    return undefined;
  }
}
