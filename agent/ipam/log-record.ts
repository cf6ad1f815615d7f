// The text of the allocation log: one checksummed line per entry, `crc32 in 8 hex digits, space, JSON, newline`; the checksum is over
// the JSON's bytes. A tail without a whole line after it is torn (power was lost while it was written) and ignored; a bad line
// with whole ones after it is damage: nothing after it is believed and the log has to be rebuilt. An entry that is older than the one before
// it is what is left of an append that failed, where power was lost while the next one was written over it: it is ignored as well. Fields that a reader does not know it
// leaves out, so a release may add some; `atMs` is for people alone, and lost where an older agent rewrites the log.
import type { Ipv4 } from '../../proto/address.ts';
import { formatIpv4 } from '../../proto/address.ts';
import { parseIpv4 } from '../../proto/address-text.ts';
import { type Decoded, decoded, refused } from '../../proto/decoded.ts';
import { crc32 } from '../../proto/crc32.ts';

/** Everything before it is void: a new log, another boot, or a compaction. `sequence` is the highest that was used. */
export interface VoidEntry {
  readonly kind: 'void';
  readonly bootId: string;
  readonly sequence: number;
}

export interface AllocateEntry {
  readonly kind: 'allocate';
  readonly sequence: number;
  readonly containerId: string;
  readonly interfaceName: string;
  readonly netnsInode: number;
  readonly address: Ipv4;
  readonly hostInterface: string;
  readonly podName?: string;
  /** The CNI network's name. */
  readonly network?: string;
  /** Milliseconds since the epoch. */
  readonly atMs?: number;
}

/** `allocation` is the sequence of the allocation that ends: a late entry cannot free what was given out again. */
export interface ReleaseEntry {
  readonly kind: 'release';
  readonly sequence: number;
  readonly allocation: number;
  readonly address: Ipv4;
  /** Milliseconds since the epoch. */
  readonly atMs?: number;
}

export type LogEntry = VoidEntry | AllocateEntry | ReleaseEntry;

export type LineRefusal = 'checksum' | 'json' | 'fields';

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const NEWLINE = 0x0a;
const SPACE = 0x20;
const CHECKSUM_DIGITS = 8;

export function encodeLogEntry(entry: LogEntry): Uint8Array {
  const json = encoder.encode(JSON.stringify(toFields(entry)));
  const line = new Uint8Array(CHECKSUM_DIGITS + 1 + json.length + 1);
  encoder.encodeInto(crc32(json).toString(16).padStart(CHECKSUM_DIGITS, '0'), line);
  line[CHECKSUM_DIGITS] = SPACE;
  line.set(json, CHECKSUM_DIGITS + 1);
  line[line.length - 1] = NEWLINE;
  return line;
}

/** `line` without its newline. */
export function decodeLogLine(line: Uint8Array): Decoded<LogEntry, LineRefusal> {
  const json = line.subarray(CHECKSUM_DIGITS + 1);
  const checksum = decoder.decode(line.subarray(0, CHECKSUM_DIGITS));
  const whole =
    line[CHECKSUM_DIGITS] === SPACE && checksum === crc32(json).toString(16).padStart(CHECKSUM_DIGITS, '0');
  if (!whole) return refused('checksum');
  try {
    const fields: unknown = JSON.parse(decoder.decode(json));
    const entry = fromFields(fields);
    return entry === undefined ? refused('fields') : decoded(entry);
  } catch {
    return refused('json');
  }
}

export interface LogContent {
  readonly entries: readonly LogEntry[];
  /** Bytes of the whole lines that were believed; what follows is to be cut off before the log is written again. */
  readonly validBytes: number;
  /** Something unfinished followed. */
  readonly torn: boolean;
  /** The log is damaged after `entries`. */
  readonly damage: { readonly line: number; readonly reason: LineRefusal } | undefined;
}

export function decodeLog(bytes: Uint8Array): LogContent {
  const entries: LogEntry[] = [];
  const order = new EntryOrder();
  let at = 0;
  for (;;) {
    const end = bytes.indexOf(NEWLINE, at);
    if (end < 0) return { entries, validBytes: at, torn: at < bytes.length, damage: undefined };
    const entry = decodeLogLine(bytes.subarray(at, end));
    if (!entry.ok) {
      const damaged = wholeLineFollows(bytes, end + 1);
      const damage = damaged ? { line: entries.length + 1, reason: entry.reason } : undefined;
      return { entries, validBytes: at, torn: !damaged, damage };
    }
    if (!order.follows(entry.value)) return { entries, validBytes: at, torn: true, damage: undefined };
    entries.push(entry.value);
    at = end + 1;
  }
}

/** What is appended counts up; before it, up to the sequence of `void`, come a compacted log's entries in any order. */
class EntryOrder {
  #newest = 0;
  #hasAppended = false;

  follows({ kind, sequence }: LogEntry): boolean {
    if (kind === 'void') {
      this.#hasAppended = false;
      this.#newest = sequence;
      return true;
    }
    if (sequence <= this.#newest) return !this.#hasAppended;
    this.#hasAppended = true;
    this.#newest = sequence;
    return true;
  }
}

function wholeLineFollows(bytes: Uint8Array, from: number): boolean {
  for (let at = from; ;) {
    const end = bytes.indexOf(NEWLINE, at);
    if (end < 0) return false;
    if (decodeLogLine(bytes.subarray(at, end)).ok) return true;
    at = end + 1;
  }
}

function toFields(entry: LogEntry): Record<string, unknown> {
  switch (entry.kind) {
    case 'void':
      return { ...entry };
    case 'allocate':
    case 'release':
      return { ...entry, address: formatIpv4(entry.address) };
    default:
      return entry satisfies never;
  }
}

function fromFields(value: unknown): LogEntry | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const fields: Record<string, unknown> = { ...value };
  const text = (name: string): string => {
    const found = fields[name];
    if (typeof found !== 'string') throw new Error(name);
    return found;
  };
  const count = (name: string): number => {
    const found = fields[name];
    if (typeof found !== 'number' || !Number.isSafeInteger(found) || found < 0) throw new Error(name);
    return found;
  };
  try {
    switch (fields['kind']) {
      case 'void':
        return { kind: 'void', bootId: text('bootId'), sequence: count('sequence') };
      case 'allocate':
        return {
          kind: 'allocate',
          sequence: count('sequence'),
          containerId: text('containerId'),
          interfaceName: text('interfaceName'),
          netnsInode: count('netnsInode'),
          address: parseIpv4(text('address')),
          hostInterface: text('hostInterface'),
          ...(fields['podName'] === undefined ? {} : { podName: text('podName') }),
          ...(fields['network'] === undefined ? {} : { network: text('network') }),
          ...(fields['atMs'] === undefined ? {} : { atMs: count('atMs') }),
        };
      case 'release':
        return {
          kind: 'release',
          sequence: count('sequence'),
          allocation: count('allocation'),
          address: parseIpv4(text('address')),
          ...(fields['atMs'] === undefined ? {} : { atMs: count('atMs') }),
        };
      default:
        return undefined;
    }
  } catch {
    return undefined; // a field is missing or of another type
  }
}
