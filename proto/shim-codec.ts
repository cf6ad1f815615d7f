// Codec of the exchange between shim and agent (layout: shim-message.ts). Total: any bytes give a value or a reason, never an exception.
// A tombstone on disk is a request of the same form that carries no descriptors.
import { type Decoded, decoded, refused } from './decoded.ts';
import { invariant } from './invariant.ts';
import {
  MAX_REQUEST_BYTES,
  MAX_RESPONSE_BYTES,
  REQUEST_HEADER_BYTES,
  RESPONSE_HEADER_BYTES,
  SHIM_MAGIC,
  SHIM_PROTOCOL_VERSION,
} from './shim-message.ts';

/** Descriptors of a request that concerns a live namespace, in this order. */
export const NETLINK_DESCRIPTOR = 0;
export const NETNS_DESCRIPTOR = 1;
export const MAX_DESCRIPTORS = 2;

export interface ShimRequest {
  /** How many descriptors the sender says it passed: 0 or 2. */
  readonly descriptors: number;
  readonly environment: ReadonlyMap<string, string>;
  /** A view into the input. */
  readonly stdin: Uint8Array;
}

export interface ShimResponse {
  /** What the shim exits with, 0 … 255. */
  readonly status: number;
  /** What the shim prints. */
  readonly json: string;
}

export type ShimRefusal =
  | 'truncated'
  | 'not-weft'
  | 'protocol-version'
  | 'descriptor-count'
  | 'too-large'
  | 'trailing-bytes'
  | 'environment-malformed'
  | 'environment-duplicate'
  | 'status'
  | 'not-utf8';

const viewOf = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** Length of the whole request by its first bytes; undefined while the header is incomplete. */
export function requestBytes(head: Uint8Array): Decoded<number | undefined, ShimRefusal> {
  const view = viewOf(head);
  if (head.length >= 4 && view.getUint32(0) !== SHIM_MAGIC) return refused('not-weft');
  if (head.length < REQUEST_HEADER_BYTES) return decoded(undefined);
  if (view.getUint16(4) !== SHIM_PROTOCOL_VERSION) return refused('protocol-version');
  const descriptors = view.getUint16(6);
  if (descriptors !== 0 && descriptors !== MAX_DESCRIPTORS) return refused('descriptor-count');
  const payload = view.getUint32(8) + view.getUint32(12);
  return payload > MAX_REQUEST_BYTES ? refused('too-large') : decoded(REQUEST_HEADER_BYTES + payload);
}

/** Decodes one whole request. */
export function decodeRequest(bytes: Uint8Array): Decoded<ShimRequest, ShimRefusal> {
  const length = requestBytes(bytes);
  if (!length.ok) return length;
  if (length.value === undefined || bytes.length < length.value) return refused('truncated');
  if (bytes.length > length.value) return refused('trailing-bytes');
  const view = viewOf(bytes);
  const stdinAt = REQUEST_HEADER_BYTES + view.getUint32(8);
  const environment = decodeVariables(bytes.subarray(REQUEST_HEADER_BYTES, stdinAt));
  if (!environment.ok) return environment;
  return decoded({
    descriptors: view.getUint16(6),
    environment: environment.value,
    stdin: bytes.subarray(stdinAt),
  });
}

function decodeVariables(bytes: Uint8Array): Decoded<ReadonlyMap<string, string>, ShimRefusal> {
  const variables = new Map<string, string>();
  if (bytes.length === 0) return decoded(variables);
  if (bytes.at(-1) !== 0) return refused('environment-malformed');
  // Not fatal: bytes that are not UTF-8 become U+FFFD, which no grammar of a name or an id admits.
  const entries = new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes.subarray(0, -1)).split('\0');
  for (const entry of entries) {
    const equals = entry.indexOf('=');
    const name = entry.slice(0, Math.max(equals, 0));
    if (!name.startsWith('CNI_') && !name.startsWith('WEFT_')) return refused('environment-malformed');
    if (variables.has(name)) return refused('environment-duplicate');
    variables.set(name, entry.slice(equals + 1));
  }
  return decoded(variables);
}

/** Encodes a request; for tests and for tools that play the shim. */
export function encodeRequest(request: {
  readonly descriptors: number;
  readonly environment: Iterable<readonly [name: string, value: string]>;
  readonly stdin: Uint8Array;
}): Uint8Array {
  const text = [...request.environment].map(([name, value]) => `${name}=${value}\0`).join('');
  const environment = new TextEncoder().encode(text);
  const bytes = new Uint8Array(REQUEST_HEADER_BYTES + environment.length + request.stdin.length);
  const view = viewOf(bytes);
  view.setUint32(0, SHIM_MAGIC);
  view.setUint16(4, SHIM_PROTOCOL_VERSION);
  view.setUint16(6, request.descriptors);
  view.setUint32(8, environment.length);
  view.setUint32(12, request.stdin.length);
  bytes.set(environment, REQUEST_HEADER_BYTES);
  bytes.set(request.stdin, REQUEST_HEADER_BYTES + environment.length);
  return bytes;
}

export function encodeResponse({ status, json }: ShimResponse): Uint8Array {
  const body = new TextEncoder().encode(json);
  invariant(status >= 0 && status <= 255, () => `exit status ${status}`);
  invariant(body.length <= MAX_RESPONSE_BYTES, () => `response of ${body.length} B`);
  const bytes = new Uint8Array(RESPONSE_HEADER_BYTES + body.length);
  const view = viewOf(bytes);
  view.setUint32(0, SHIM_MAGIC);
  view.setUint16(4, SHIM_PROTOCOL_VERSION);
  view.setUint16(6, status);
  view.setUint32(8, body.length);
  bytes.set(body, RESPONSE_HEADER_BYTES);
  return bytes;
}

export function decodeResponse(bytes: Uint8Array): Decoded<ShimResponse, ShimRefusal> {
  if (bytes.length < RESPONSE_HEADER_BYTES) return refused('truncated');
  const view = viewOf(bytes);
  if (view.getUint32(0) !== SHIM_MAGIC) return refused('not-weft');
  if (view.getUint16(4) !== SHIM_PROTOCOL_VERSION) return refused('protocol-version');
  const status = view.getUint16(6);
  const length = view.getUint32(8);
  if (status > 255) return refused('status');
  if (length > MAX_RESPONSE_BYTES) return refused('too-large');
  if (bytes.length < RESPONSE_HEADER_BYTES + length) return refused('truncated');
  if (bytes.length > RESPONSE_HEADER_BYTES + length) return refused('trailing-bytes');
  const json = decodeText(bytes.subarray(RESPONSE_HEADER_BYTES));
  return json === undefined ? refused('not-utf8') : decoded({ status, json });
}

/** The text of UTF-8 bytes, or undefined when they are not. */
export function decodeText(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    return undefined; // TypeError: not UTF-8; the fatal decoder has no other way to say so
  }
}
