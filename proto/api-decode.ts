// Peer and AddressBlock as the agent takes them from the API: what the schema demands, and what it cannot say. Never throws. An API
// server that is hostile, old or without our CRDs' validation must not get an address into the forwarding table that is no node's.
import { parseCidr, parseIpv4, parseMac } from './address-text.ts';
import type { Cidr, Ipv4, Mac } from './address.ts';
import {
  API_GROUP_VERSION,
  type AddressBlock,
  type ObjectMeta,
  type OwnerReference,
  type Peer,
} from './api-kinds.ts';
import { ADDRESS_BLOCK, type CustomKind, PEER } from './api-schema.ts';
import { prune, validate } from './api-validation.ts';

export const OBJECT_REFUSALS = [
  'not_an_object',
  'wrong_kind', // apiVersion or kind is another
  'metadata', // a field of metadata is missing or has the wrong type
  'schema', // the detail says what, as the API server would
  'address_not_unicast', // a peer's address is loopback, multicast, broadcast or unspecified
  'duplicate_address',
  'mac_not_unicast', // the group bit is set, or all zero
  'cidr', // no CIDR, or not aligned
  'block_not_unicast', // the block is, or reaches into, what no pod can have
  'block_name', // metadata.name is not the CIDR
] as const;

export type ObjectRefusal = (typeof OBJECT_REFUSALS)[number];

/** A Decoded with one sentence more, for the log. */
export type DecodedObject<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly reason: ObjectRefusal; readonly detail: string };

const refuse = (
  reason: ObjectRefusal,
  detail: string,
): { readonly ok: false; readonly reason: ObjectRefusal; readonly detail: string } => ({
  ok: false,
  reason,
  detail,
});

type Fields = Readonly<Record<string, unknown>>;

const isFields = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** The name of the AddressBlock for a CIDR in text: `10.32.4.0-26`. */
export const blockName = (cidr: string): string => cidr.replace('/', '-');

export function decodePeer(value: unknown): DecodedObject<Peer> {
  const read = readShape<Peer>(PEER, value);
  if (!read.ok) return read;
  const { addresses, vtepMac } = read.value.spec;
  const parsed = addresses.map((address) => parseIpv4(address)); // cannot throw: the schema's format is as strict
  const odd = addresses.find((_, index) => !isHostAddress(parsed[index]));
  if (odd !== undefined) return refuse('address_not_unicast', `spec.addresses holds "${odd}"`);
  if (new Set(parsed).size < parsed.length)
    return refuse('duplicate_address', `spec.addresses holds one twice`);
  if (!isUnicastMac(parseMac(vtepMac))) return refuse('mac_not_unicast', `spec.vtepMac is "${vtepMac}"`);
  return read;
}

export function decodeAddressBlock(value: unknown): DecodedObject<AddressBlock> {
  const read = readShape<AddressBlock>(ADDRESS_BLOCK, value);
  if (!read.ok) return read;
  const { metadata, spec } = read.value;
  const cidr = readCidr(spec.cidr);
  if (cidr instanceof Error) return refuse('cidr', cidr.message);
  const last = cidr.base + 2 ** (32 - cidr.prefixLength) - 1;
  if (!isHostAddress(cidr.base) || last >= MULTICAST || cidr.prefixLength < 8) {
    return refuse('block_not_unicast', `spec.cidr is "${spec.cidr}"`);
  }
  if (metadata.name !== blockName(spec.cidr)) {
    return refuse('block_name', `metadata.name is "${metadata.name}", spec.cidr "${spec.cidr}"`);
  }
  return read;
}

function readCidr(text: string): Cidr | Error {
  try {
    return parseCidr(text);
  } catch (error) {
    return error as Error; // as: parseCidr throws nothing else
  }
}

const MULTICAST = 0xe0000000;

/** Not 0/8, not 127/8, nothing from 224.0.0.0 up. */
const isHostAddress = (address: Ipv4 | undefined): boolean =>
  address !== undefined && address >= 0x01000000 && address < MULTICAST && address >>> 24 !== 127;

const isUnicastMac = (mac: Mac): boolean => mac !== 0 && Math.floor(mac / 2 ** 40) % 2 === 0;

/** Type, metadata and schema; the answer holds known fields only. */
function readShape<T extends Peer | AddressBlock>(kind: CustomKind, value: unknown): DecodedObject<T> {
  if (!isFields(value)) return refuse('not_an_object', `${kind.kind}: not an object`);
  const { apiVersion, kind: kindName } = value;
  if (apiVersion !== API_GROUP_VERSION || kindName !== kind.kind) {
    return refuse(
      'wrong_kind',
      `${nameOf(kindName)} of ${nameOf(apiVersion)} is no ${kind.kind} of ${API_GROUP_VERSION}`,
    );
  }
  const metadata = readMetadata(value['metadata']);
  if (typeof metadata === 'string') return refuse('metadata', metadata);
  const pruned = prune(kind.schema, value);
  const [violation] = validate(kind.schema, pruned);
  if (violation !== undefined) return refuse('schema', `${violation.path}: ${violation.message}`);
  return { ok: true, value: { ...(pruned as T), metadata } }; // as: the schema is the type
}

/** Not String(): an object may bring a "toString" of its own. */
const nameOf = (value: unknown): string =>
  typeof value === 'string' ? JSON.stringify(value.slice(0, MAX_NAME)) : `a value of type ${typeof value}`;

const MAX_NAME = 253;
/** RFC 1123, as the API server has it for the names of objects. */
const SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;

/** The known fields, or what is wrong. */
function readMetadata(value: unknown): ObjectMeta | string {
  if (!isFields(value)) return 'metadata: not an object';
  const { name, uid, resourceVersion, creationTimestamp, generation } = value;
  if (typeof name !== 'string' || name.length > MAX_NAME || !SUBDOMAIN.test(name)) {
    return 'metadata.name: not a name';
  }
  for (const [field, text] of Object.entries({ uid, resourceVersion, creationTimestamp })) {
    if (text !== undefined && typeof text !== 'string') return `metadata.${field}: not a string`;
  }
  if (generation !== undefined && !Number.isSafeInteger(generation))
    return 'metadata.generation: not an integer';
  for (const field of ['labels', 'annotations']) {
    if (value[field] !== undefined && !isTexts(value[field]))
      return `metadata.${field}: not a map of strings`;
  }
  const owners = value['ownerReferences'];
  if (owners !== undefined && !(Array.isArray(owners) && owners.every(isOwnerReference))) {
    return 'metadata.ownerReferences: not a list of owner references';
  }
  const known = [
    'name',
    'uid',
    'resourceVersion',
    'creationTimestamp',
    'generation',
    'labels',
    'annotations',
    'ownerReferences',
  ];
  const entries = known.flatMap((field) => (value[field] === undefined ? [] : [[field, value[field]]]));
  return Object.fromEntries(entries) as ObjectMeta; // as: each field is checked above
}

const isTexts = (value: unknown): boolean =>
  isFields(value) && Object.values(value).every((text) => typeof text === 'string');

const isOwnerReference = (value: unknown): value is OwnerReference =>
  isFields(value) &&
  ['apiVersion', 'kind', 'name', 'uid'].every(
    (field) => typeof value[field] === 'string' && value[field] !== '',
  );
