// Netlink messages (RFC 3549, linux/netlink.h): header, attributes, acknowledgements. Host order: little-endian on x64 and arm64.
//   0        4      6       8          12        16
//   | length | type | flags | sequence | port id | payload, then attributes: | length u16 | type u16 | value, padded to 4 | … |
// Builders return whole messages with sequence 0: the socket numbers them. Decoders look at foreign bytes and never throw.
import { type Decoded, decoded, refused } from './decoded.ts';

export const MESSAGE_HEADER_BYTES = 16;
const ATTRIBUTE_HEADER_BYTES = 4;

export const NLM_F_REQUEST = 0x1;
export const NLM_F_ACK = 0x4;
export const NLM_F_DUMP_INTR = 0x10;
export const NLM_F_REPLACE = 0x100;
export const NLM_F_EXCL = 0x200;
export const NLM_F_DUMP = 0x300;
export const NLM_F_CREATE = 0x400;

export const NLMSG_ERROR = 2;
export const NLMSG_DONE = 3;

const NLM_F_CAPPED = 0x100;
const NLM_F_ACK_TLVS = 0x200;
const NLMSGERR_ATTR_MSG = 1;
const NLA_F_NESTED = 0x8000;
const NLA_TYPE_MASK = 0x3fff;

const align4 = (bytes: number): number => (bytes + 3) & ~3;
const viewOf = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** An attribute to encode: bytes, or attributes inside it. */
export interface Attribute {
  readonly type: number;
  readonly value: Uint8Array | readonly Attribute[];
}

function fixed(byteLength: number, write: (view: DataView) => void): Uint8Array {
  const bytes = new Uint8Array(byteLength);
  write(viewOf(bytes));
  return bytes;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();

export const u8 = (type: number, value: number): Attribute => ({ type, value: Uint8Array.of(value) });
export const u32 = (type: number, value: number): Attribute => ({
  type,
  value: fixed(4, (view) => view.setUint32(0, value, true)),
});
/** Network order: IPv4 addresses, and every number of nf_tables. */
export const u32be = (type: number, value: number): Attribute => ({
  type,
  value: fixed(4, (view) => view.setUint32(0, value)),
});
/** NUL-terminated. */
export const text = (type: number, value: string): Attribute => ({
  type,
  value: encoder.encode(`${value}\0`),
});
export const raw = (type: number, value: Uint8Array): Attribute => ({ type, value });
export const nest = (type: number, value: readonly Attribute[]): Attribute => ({ type, value });

const isNest = (value: Attribute['value']): value is readonly Attribute[] => Array.isArray(value);

const valueBytes = (value: Attribute['value']): number =>
  isNest(value) ? attributesBytes(value) : value.length;

const attributesBytes = (attributes: readonly Attribute[]): number =>
  attributes.reduce((sum, { value }) => sum + ATTRIBUTE_HEADER_BYTES + align4(valueBytes(value)), 0);

function writeAttributes(view: DataView, start: number, attributes: readonly Attribute[]): number {
  let offset = start;
  for (const { type, value } of attributes) {
    const nested = isNest(value);
    const body = offset + ATTRIBUTE_HEADER_BYTES;
    if (nested) writeAttributes(view, body, value);
    else new Uint8Array(view.buffer, view.byteOffset + body, value.length).set(value);
    const bytes = ATTRIBUTE_HEADER_BYTES + valueBytes(value);
    view.setUint16(offset, bytes, true);
    view.setUint16(offset + 2, nested ? type | NLA_F_NESTED : type, true);
    offset += align4(bytes);
  }
  return offset;
}

/** Attributes alone, for a value that holds a fixed header before them (veth's peer). */
export function encodeAttributes(header: Uint8Array, attributes: readonly Attribute[]): Uint8Array {
  const bytes = new Uint8Array(header.length + attributesBytes(attributes));
  bytes.set(header);
  writeAttributes(viewOf(bytes), header.length, attributes);
  return bytes;
}

export interface MessageToEncode {
  readonly type: number;
  /** NLM_F_REQUEST is added. */
  readonly flags: number;
  /** The family's fixed header (ifinfomsg, rtmsg, nfgenmsg, …), a multiple of 4 bytes. */
  readonly header: Uint8Array;
  readonly attributes: readonly Attribute[];
}

export function encodeMessage({ type, flags, header, attributes }: MessageToEncode): Uint8Array {
  const start = MESSAGE_HEADER_BYTES + header.length;
  const bytes = new Uint8Array(start + attributesBytes(attributes));
  const view = viewOf(bytes);
  view.setUint32(0, bytes.length, true);
  view.setUint16(4, type, true);
  view.setUint16(6, flags | NLM_F_REQUEST, true);
  bytes.set(header, MESSAGE_HEADER_BYTES);
  writeAttributes(view, start, attributes);
  return bytes;
}

export type NetlinkRefusal = 'truncated' | 'bad_length' | 'not_an_acknowledgement';

export interface NetlinkMessage {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  /** Of the socket that asked for it, or whose change a notification tells of; 0: the kernel by itself. */
  readonly portId: number;
  /** A view into what was received. */
  readonly payload: Uint8Array;
}

/** Every message of a datagram. */
export function decodeMessages(bytes: Uint8Array): Decoded<readonly NetlinkMessage[], NetlinkRefusal> {
  const view = viewOf(bytes);
  const messages: NetlinkMessage[] = [];
  for (let offset = 0; offset < bytes.length;) {
    if (offset + MESSAGE_HEADER_BYTES > bytes.length) return refused('truncated');
    const length = view.getUint32(offset, true);
    if (length < MESSAGE_HEADER_BYTES) return refused('bad_length');
    if (offset + length > bytes.length) return refused('truncated');
    messages.push({
      type: view.getUint16(offset + 4, true),
      flags: view.getUint16(offset + 6, true),
      sequence: view.getUint32(offset + 8, true),
      portId: view.getUint32(offset + 12, true),
      payload: bytes.subarray(offset + MESSAGE_HEADER_BYTES, offset + length),
    });
    offset += align4(length);
  }
  return decoded(messages);
}

/** Attributes as received. A getter answers undefined when the attribute is missing or shorter than what is asked. */
export class Attributes {
  readonly #list: readonly { readonly type: number; readonly value: Uint8Array }[];

  constructor(list: readonly { readonly type: number; readonly value: Uint8Array }[]) {
    this.#list = list;
  }

  bytes(type: number, least = 0): Uint8Array | undefined {
    const value = this.#list.find((attribute) => attribute.type === type)?.value;
    return value === undefined || value.length < least ? undefined : value;
  }

  /** Values of every attribute of the type, in order: a list. */
  all(type: number): readonly Uint8Array[] {
    return this.#list.filter((attribute) => attribute.type === type).map(({ value }) => value);
  }

  u8(type: number): number | undefined {
    return this.bytes(type, 1)?.[0];
  }

  u32(type: number): number | undefined {
    const value = this.bytes(type, 4);
    return value === undefined ? undefined : viewOf(value).getUint32(0, true);
  }

  u32be(type: number): number | undefined {
    const value = this.bytes(type, 4);
    return value === undefined ? undefined : viewOf(value).getUint32(0);
  }

  text(type: number): string | undefined {
    const value = this.bytes(type);
    if (value === undefined) return undefined;
    const end = value.indexOf(0);
    return decoder.decode(end < 0 ? value : value.subarray(0, end));
  }

  /** Undefined also when what is inside is malformed. */
  nested(type: number): Attributes | undefined {
    const value = this.bytes(type);
    const inside = value === undefined ? undefined : decodeAttributes(value);
    return inside?.ok === true ? inside.value : undefined;
  }
}

export function decodeAttributes(bytes: Uint8Array): Decoded<Attributes, NetlinkRefusal> {
  const view = viewOf(bytes);
  const list: { type: number; value: Uint8Array }[] = [];
  for (let offset = 0; offset < bytes.length;) {
    if (offset + ATTRIBUTE_HEADER_BYTES > bytes.length) return refused('truncated');
    const length = view.getUint16(offset, true);
    if (length < ATTRIBUTE_HEADER_BYTES) return refused('bad_length');
    if (offset + length > bytes.length) return refused('truncated');
    const value = bytes.subarray(offset + ATTRIBUTE_HEADER_BYTES, offset + length);
    list.push({ type: view.getUint16(offset + 2, true) & NLA_TYPE_MASK, value });
    offset += align4(length);
  }
  return decoded(new Attributes(list));
}

export interface Acknowledgement {
  /** Positive errno, 0 for success. */
  readonly errno: number;
  /** What the kernel said in its extended acknowledgement; empty when it said nothing. */
  readonly text: string;
}

/** NLMSG_ERROR, or the NLMSG_DONE that ends a dump: errno, the request's header (the whole request on failure), attributes. */
export function decodeAcknowledgement(message: NetlinkMessage): Decoded<Acknowledgement, NetlinkRefusal> {
  const { type, flags, payload } = message;
  if (type !== NLMSG_ERROR && type !== NLMSG_DONE) return refused('not_an_acknowledgement');
  if (payload.length < 4) return type === NLMSG_DONE ? decoded({ errno: 0, text: '' }) : refused('truncated');
  const view = viewOf(payload);
  // -32768 … 0; a nonsense value becomes a positive number all the same.
  const errno = Math.abs(view.getInt32(0, true));
  let start = 4;
  if (type === NLMSG_ERROR) {
    if (payload.length < 4 + MESSAGE_HEADER_BYTES) return refused('truncated');
    const requestBytes = view.getUint32(4, true);
    start += flags & NLM_F_CAPPED ? MESSAGE_HEADER_BYTES : align4(requestBytes);
  }
  if (!(flags & NLM_F_ACK_TLVS) || start > payload.length) return decoded({ errno, text: '' });
  const attributes = decodeAttributes(payload.subarray(start));
  return decoded({ errno, text: attributes.ok ? (attributes.value.text(NLMSGERR_ATTR_MSG) ?? '') : '' });
}
