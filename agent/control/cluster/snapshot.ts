// The last-known state of the cluster on disk: what a node needs to forward and to serve ADD while the API is away.
// One file, written whole beside the old one and renamed over it, so a reader finds the old or the new state; a checksum over the
// content tells when even that failed. Reading never throws: what cannot be trusted is refused with a reason and does not exist.
//
//   {"weftSnapshot":1,"sha256":"<64 hex digits of the content's bytes>","content":{…}}⏎
import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';

import type { AddressBlock, Peer } from '../../../proto/api-kinds.ts';
import { type Decoded, decoded, refused } from '../../../proto/decoded.ts';
import { codeOf } from '../../operation-error.ts';

export interface Snapshot {
  readonly nodeName: string;
  /** Unknown until the API was reached once. */
  readonly nodeUid?: string;
  /** Of the cluster, as CIDR text. */
  readonly range: string;
  readonly blockPrefixLength: number;
  readonly vni: number;
  readonly resourceVersions: { readonly peers?: string; readonly blocks?: string };
  readonly peers: readonly Peer[];
  readonly blocks: readonly AddressBlock[];
  /** Peer name → its slot in the forwarding table. */
  readonly slots: Readonly<Record<string, number>>;
  /** Block name → milliseconds since it was freed, when this was written. Time without an agent does not count: the safe side. */
  readonly freedBlocks: Readonly<Record<string, number>>;
}

export const SNAPSHOT_REASONS = [
  'missing',
  'unreadable',
  'too-large',
  'torn',
  'other-version',
  'checksum',
  'malformed',
  'other-node',
  'other-range',
] as const;
export type SnapshotReason = (typeof SNAPSHOT_REASONS)[number];

export const SNAPSHOT_FILE = 'snapshot.json';
const VERSION = 1;
const MAX_BYTES = 256 << 20;

/** Whose snapshot is wanted; one of another node or another range is refused. */
export interface SnapshotOwner {
  readonly nodeName: string;
  readonly range: string;
  readonly blockPrefixLength: number;
}

export interface SnapshotDecoders {
  readonly decodePeer: (value: unknown) => Decoded<Peer>;
  readonly decodeAddressBlock: (value: unknown) => Decoded<AddressBlock>;
}

export interface SnapshotReadOptions extends SnapshotDecoders {
  readonly directory: string;
  readonly owner: SnapshotOwner;
}

export async function readSnapshot(options: SnapshotReadOptions): Promise<Decoded<Snapshot, SnapshotReason>> {
  const path = join(options.directory, SNAPSHOT_FILE);
  let bytes: Uint8Array;
  try {
    if ((await stat(path)).size > MAX_BYTES) return refused('too-large');
    bytes = await readFile(path);
  } catch (error) {
    return refused(codeOf(error) === 'ENOENT' ? 'missing' : 'unreadable');
  }
  return decodeSnapshot(bytes, options);
}

export function encodeSnapshot(snapshot: Snapshot): Uint8Array {
  const content = Buffer.from(JSON.stringify(snapshot), 'utf8');
  const head = `{"weftSnapshot":${VERSION},"sha256":"${sha256(content)}","content":`;
  return Buffer.concat([Buffer.from(head), content, Buffer.from('}\n')]);
}

const HEAD = /^\{"weftSnapshot":(\d{1,4}),"sha256":"([0-9a-f]{64})","content":/;
const HEAD_BYTES = 112;

export function decodeSnapshot(
  bytes: Uint8Array,
  options: Omit<SnapshotReadOptions, 'directory'>,
): Decoded<Snapshot, SnapshotReason> {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const head = HEAD.exec(buffer.toString('latin1', 0, HEAD_BYTES));
  if (head === null) return refused(buffer.length < HEAD_BYTES ? 'torn' : 'malformed');
  if (head[1] !== String(VERSION)) return refused('other-version');
  if (buffer.toString('latin1', buffer.length - 2) !== '}\n') return refused('torn');
  const content = buffer.subarray(head[0].length, -2);
  if (sha256(content) !== head[2]) return refused('checksum');
  let value: unknown;
  try {
    value = JSON.parse(content.toString('utf8'));
  } catch {
    return refused('malformed');
  }
  return checkContent(value, options);
}

function checkContent(
  value: unknown,
  { owner, decodePeer, decodeAddressBlock }: Omit<SnapshotReadOptions, 'directory'>,
): Decoded<Snapshot, SnapshotReason> {
  if (!isRecord(value)) return refused('malformed');
  const { nodeName, nodeUid, range, blockPrefixLength, vni, resourceVersions } = value;
  if (nodeName !== owner.nodeName) return refused('other-node');
  if (range !== owner.range || blockPrefixLength !== owner.blockPrefixLength) return refused('other-range');
  const peers = decodeAll(value['peers'], decodePeer);
  const blocks = decodeAll(value['blocks'], decodeAddressBlock);
  const slots = numbers(value['slots']);
  const freedBlocks = numbers(value['freedBlocks']);
  if (
    peers === undefined ||
    blocks === undefined ||
    slots === undefined ||
    freedBlocks === undefined ||
    typeof vni !== 'number' ||
    !isRecord(resourceVersions) ||
    !Object.values(resourceVersions).every((version) => typeof version === 'string')
  ) {
    return refused('malformed');
  }
  return decoded({
    nodeName: owner.nodeName,
    ...(typeof nodeUid === 'string' ? { nodeUid } : {}),
    range: owner.range,
    blockPrefixLength: owner.blockPrefixLength,
    vni,
    resourceVersions,
    peers,
    blocks,
    slots,
    freedBlocks,
  });
}

function decodeAll<T>(values: unknown, decode: (value: unknown) => Decoded<T>): readonly T[] | undefined {
  if (!Array.isArray(values)) return undefined;
  const all: T[] = [];
  for (const value of values) {
    const answer = decode(value);
    if (!answer.ok) return undefined;
    all.push(answer.value);
  }
  return all;
}

function numbers(value: unknown): Readonly<Record<string, number>> | undefined {
  if (!isRecord(value)) return undefined;
  const valid = Object.values(value).every(
    (entry) => typeof entry === 'number' && Number.isFinite(entry) && entry >= 0,
  );
  return valid ? (value as Record<string, number>) : undefined; // as: every value was checked
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
