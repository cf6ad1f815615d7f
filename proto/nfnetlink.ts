// nf_tables over nfnetlink (linux/netfilter/nf_tables.h): elements of a set with a concatenated key, counter objects, the generation.
// struct nfgenmsg: | family | version 0 | resource id, network order |. Changes travel in one datagram between a batch's begin and
// end and take effect together or not at all. Each part of a concatenated key is padded to 4 bytes.
import { type Decoded, decoded, refused } from './decoded.ts';
import {
  type Attribute,
  type Attributes,
  decodeAttributes,
  encodeMessage,
  NLM_F_ACK,
  NLM_F_CREATE,
  NLM_F_DUMP,
  nest,
  raw,
  text,
  u32be,
} from './netlink.ts';

const NFGENMSG_BYTES = 4;
const NFNL_SUBSYS_NFTABLES = 10;
const NFNL_MSG_BATCH_BEGIN = 16;
const NFNL_MSG_BATCH_END = 17;
const nftMessage = (type: number): number => (NFNL_SUBSYS_NFTABLES << 8) | type;
export const NFT_MSG_NEWSETELEM: number = nftMessage(12);
const NFT_MSG_GETSETELEM = nftMessage(13);
const NFT_MSG_DELSETELEM = nftMessage(14);
const NFT_MSG_GETGEN = nftMessage(16);
export const NFT_MSG_NEWOBJ: number = nftMessage(18);
const NFT_MSG_GETOBJ = nftMessage(19);

const NFTA_SET_ELEM_LIST_TABLE = 1;
const NFTA_SET_ELEM_LIST_SET = 2;
const NFTA_SET_ELEM_LIST_ELEMENTS = 3;
const NFTA_LIST_ELEM = 1;
const NFTA_SET_ELEM_KEY = 1;
const NFTA_DATA_VALUE = 1;
const NFTA_GEN_ID = 1;
const NFTA_OBJ_TABLE = 1;
const NFTA_OBJ_NAME = 2;
const NFTA_OBJ_TYPE = 3;
const NFTA_OBJ_DATA = 4;
const NFT_OBJECT_COUNTER = 1;
const NFTA_COUNTER_PACKETS = 2;

const NFPROTO_UNSPEC = 0;
export const NFPROTO_INET = 1;
export const NFPROTO_BRIDGE = 7;

/** A list of elements is one attribute, whose length has 16 bits. */
export const MAX_ELEMENTS_PER_MESSAGE = 500;

export interface NftSet {
  readonly family: number;
  readonly table: string;
  readonly name: string;
}

const header = (family: number, resource = 0): Uint8Array =>
  Uint8Array.of(family, 0, resource >> 8, resource & 255);

const mark = (type: number): Uint8Array =>
  encodeMessage({ type, flags: 0, header: header(0, NFNL_SUBSYS_NFTABLES), attributes: [] });

const setName = (set: NftSet): Attribute[] => [
  text(NFTA_SET_ELEM_LIST_TABLE, set.table),
  text(NFTA_SET_ELEM_LIST_SET, set.name),
];

export interface SetElements {
  readonly set: NftSet;
  /** At most MAX_ELEMENTS_PER_MESSAGE. */
  readonly keys: readonly Uint8Array[];
}

/** begin, one change that asks for an acknowledgement, end. */
function batch(type: number, flags: number, { set, keys }: SetElements): Uint8Array {
  const elements = keys.map((key) =>
    nest(NFTA_LIST_ELEM, [nest(NFTA_SET_ELEM_KEY, [raw(NFTA_DATA_VALUE, key)])]),
  );
  const change = encodeMessage({
    type,
    flags: flags | NLM_F_ACK,
    header: header(set.family),
    attributes: [...setName(set), nest(NFTA_SET_ELEM_LIST_ELEMENTS, elements)],
  });
  const begin = mark(NFNL_MSG_BATCH_BEGIN);
  const end = mark(NFNL_MSG_BATCH_END);
  const bytes = new Uint8Array(begin.length + change.length + end.length);
  bytes.set(begin);
  bytes.set(change, begin.length);
  bytes.set(end, begin.length + change.length);
  return bytes;
}

/** An element that is there already is no error. */
export const addSetElements = (elements: SetElements): Uint8Array =>
  batch(NFT_MSG_NEWSETELEM, NLM_F_CREATE, elements);
/** An element that is not there fails the batch with ENOENT. */
export const deleteSetElements = (elements: SetElements): Uint8Array =>
  batch(NFT_MSG_DELSETELEM, 0, elements);

export const dumpSetElements = (set: NftSet): Uint8Array =>
  encodeMessage({
    type: NFT_MSG_GETSETELEM,
    flags: NLM_F_DUMP,
    header: header(set.family),
    attributes: setName(set),
  });

/** The counter objects of the tables of that name, of every family. No table is no error: there are none. */
export const dumpCounters = (table: string): Uint8Array =>
  encodeMessage({
    type: NFT_MSG_GETOBJ,
    flags: NLM_F_DUMP,
    header: header(NFPROTO_UNSPEC),
    attributes: [text(NFTA_OBJ_TABLE, table), u32be(NFTA_OBJ_TYPE, NFT_OBJECT_COUNTER)],
  });

export const getGeneration = (): Uint8Array =>
  encodeMessage({ type: NFT_MSG_GETGEN, flags: NLM_F_ACK, header: header(0), attributes: [] });

export type NftRefusal = 'truncated' | 'malformed' | 'not_a_counter';

/** The payload of an NFT_MSG_NEWSETELEM of a dump: the keys it lists. */
export function decodeSetElements(payload: Uint8Array): Decoded<readonly Uint8Array[], NftRefusal> {
  if (payload.length < NFGENMSG_BYTES) return refused('truncated');
  const attributes = decodeAttributes(payload.subarray(NFGENMSG_BYTES));
  if (!attributes.ok) return refused('malformed');
  const list = attributes.value.nested(NFTA_SET_ELEM_LIST_ELEMENTS);
  const keys: Uint8Array[] = [];
  for (const element of list?.all(NFTA_LIST_ELEM) ?? []) {
    const inside = decodeAttributes(element);
    const key = inside.ok ? inside.value.nested(NFTA_SET_ELEM_KEY)?.bytes(NFTA_DATA_VALUE) : undefined;
    if (key === undefined) return refused('malformed');
    keys.push(key);
  }
  return decoded(keys);
}

export interface NftCounter {
  readonly family: number;
  readonly table: string;
  readonly name: string;
  readonly packets: number;
}

function u64be(attributes: Attributes | undefined, type: number): number | undefined {
  const value = attributes?.bytes(type, 8);
  if (value === undefined) return undefined;
  return Number(new DataView(value.buffer, value.byteOffset, value.byteLength).getBigUint64(0));
}

/** The payload of an NFT_MSG_NEWOBJ. Counts are exact to 2^53. */
export function decodeCounter(payload: Uint8Array): Decoded<NftCounter, NftRefusal> {
  const family = payload[0];
  if (family === undefined || payload.length < NFGENMSG_BYTES) return refused('truncated');
  const decodedAttributes = decodeAttributes(payload.subarray(NFGENMSG_BYTES));
  if (!decodedAttributes.ok) return refused('malformed');
  const attributes = decodedAttributes.value;
  if (attributes.u32be(NFTA_OBJ_TYPE) !== NFT_OBJECT_COUNTER) return refused('not_a_counter');
  const table = attributes.text(NFTA_OBJ_TABLE);
  const name = attributes.text(NFTA_OBJ_NAME);
  const packets = u64be(attributes.nested(NFTA_OBJ_DATA), NFTA_COUNTER_PACKETS);
  if (table === undefined || name === undefined || packets === undefined) return refused('malformed');
  return decoded({ family, table, name, packets });
}

/** The payload of an NFT_MSG_NEWGEN: a number that every change of any program's tables in the namespace raises. */
export function decodeGeneration(payload: Uint8Array): Decoded<number, NftRefusal> {
  if (payload.length < NFGENMSG_BYTES) return refused('truncated');
  const attributes = decodeAttributes(payload.subarray(NFGENMSG_BYTES));
  const generation = attributes.ok ? attributes.value.u32be(NFTA_GEN_ID) : undefined;
  return generation === undefined ? refused('malformed') : decoded(generation);
}
