// The local copy of one kind: what lists and watch events do to it. Pure; the reflector drives it.
// Invariants: the resource version never goes back unless the caller rewinds; an object's version never goes back; a refused object is
// absent; whatever the watch protocol cannot explain asks for a new list and changes nothing.
import { isRecord } from './api-status.ts';
import { compareResourceVersions, isOlder } from './resource-version.ts';

export type EventOutcome<T> =
  | {
      readonly kind: 'changed';
      readonly name: string;
      readonly object: T | undefined;
      readonly resourceVersion: string;
    }
  /** A bookmark, or something known already. */
  | { readonly kind: 'nothing' }
  /** The server says that the watch cannot go on; `status` is its HTTP-like code. */
  | { readonly kind: 'error'; readonly status: number; readonly body: unknown }
  /** Out of order or not understood: only a list can tell. */
  | { readonly kind: 'suspicious'; readonly reason: string };

/** A Decoded that may say more than the reason. */
export type Decoder<T> = (
  value: unknown,
) =>
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly reason: string; readonly detail?: string };

export interface Refusal {
  readonly name: string;
  /** From the decoder's closed list, or that the object has no name or version. */
  readonly reason: string;
  /** For people. */
  readonly detail?: string;
}

interface Held<T> {
  readonly object: T;
  readonly resourceVersion: string;
}

export class Replica<T> {
  readonly #decode: Decoder<T>;
  readonly #report: (refusal: Refusal) => void;
  #objects = new Map<string, Held<T>>();
  #refused = new Map<string, string>();
  #resourceVersion: string | undefined;

  /** `floor`: a version known from before; older lists are stale. `report` hears of each refused name and reason once. */
  constructor(options: { decode: Decoder<T>; report: (refusal: Refusal) => void; floor?: string }) {
    this.#decode = options.decode;
    this.#report = options.report;
    this.#resourceVersion = options.floor;
  }

  /** Where the next watch starts. */
  get resourceVersion(): string | undefined {
    return this.#resourceVersion;
  }

  get size(): number {
    return this.#objects.size;
  }

  /** Names that are refused now, with the reason. */
  get refused(): ReadonlyMap<string, string> {
    return this.#refused;
  }

  objects(): Map<string, T> {
    return new Map([...this.#objects].map(([name, { object }]) => [name, object]));
  }

  /** Forgets the version, not the objects: the next list is accepted whatever its age. */
  rewind(): void {
    this.#resourceVersion = undefined;
  }

  /** All pages of one list. False, and nothing changed, when it is older than what is known. */
  acceptList(items: readonly unknown[], resourceVersion: string): boolean {
    if (isOlder(resourceVersion, this.#resourceVersion)) return false;
    const objects = new Map<string, Held<T>>();
    const refusals: Refusal[] = [];
    items.forEach((item, at) => {
      const decision = this.#judge(item, `item ${at} of the list`);
      if (decision.ok) objects.set(decision.name, decision.held);
      else refusals.push(decision);
    });
    for (const refusal of refusals) this.#note(refusal);
    this.#objects = objects;
    this.#refused = new Map(refusals.map(({ name, reason }) => [name, reason]));
    this.#resourceVersion = resourceVersion;
    return true;
  }

  applyEvent(event: unknown): EventOutcome<T> {
    const type = isRecord(event) ? event['type'] : undefined;
    const item = isRecord(event) ? event['object'] : undefined;
    switch (type) {
      case 'ADDED':
      case 'MODIFIED':
      case 'DELETED':
        return this.#applyChange(type, item);
      case 'BOOKMARK':
        return this.#applyBookmark(item);
      case 'ERROR': {
        const code = isRecord(item) ? item['code'] : undefined;
        return { kind: 'error', status: typeof code === 'number' ? code : 500, body: item };
      }
      default:
        return { kind: 'suspicious', reason: `unknown event type ${JSON.stringify(type)?.slice(0, 40)}` };
    }
  }

  #applyBookmark(item: unknown): EventOutcome<T> {
    const version = identity(item).resourceVersion;
    if (version === undefined) return { kind: 'suspicious', reason: 'bookmark without resourceVersion' };
    if (!isOlder(version, this.#resourceVersion)) this.#resourceVersion = version;
    return { kind: 'nothing' };
  }

  #applyChange(type: 'ADDED' | 'MODIFIED' | 'DELETED', item: unknown): EventOutcome<T> {
    const { name, resourceVersion } = identity(item);
    if (name === undefined || resourceVersion === undefined) {
      return { kind: 'suspicious', reason: `${type} event without name or resourceVersion` };
    }
    const held = this.#objects.get(name);
    if (held !== undefined) {
      // A later page of the list knew it already.
      const known = compareResourceVersions(resourceVersion, held.resourceVersion) ?? 1;
      if (known < 0 || (known === 0 && type !== 'DELETED')) return { kind: 'nothing' };
    }
    if (this.#resourceVersion !== undefined && notNewer(resourceVersion, this.#resourceVersion)) {
      return {
        kind: 'suspicious',
        reason: `${type} event of "${name}" has version ${resourceVersion}, not newer than ${this.#resourceVersion}`,
      };
    }
    this.#resourceVersion = resourceVersion;
    if (type === 'DELETED') {
      // Of a refused one the last form that could be read may still be in use.
      const wasRefused = this.#refused.delete(name);
      return this.#objects.delete(name) || wasRefused ? gone(name, resourceVersion) : { kind: 'nothing' };
    }
    const decision = this.#judge(item, name);
    if (!decision.ok) {
      this.#note(decision);
      this.#refused.set(name, decision.reason);
      return this.#objects.delete(name) ? gone(name, resourceVersion) : { kind: 'nothing' };
    }
    this.#refused.delete(name);
    this.#objects.set(name, decision.held);
    return { kind: 'changed', name, object: decision.held.object, resourceVersion };
  }

  #judge(
    item: unknown,
    place: string,
  ):
    | { readonly ok: true; readonly name: string; readonly held: Held<T> }
    | ({ readonly ok: false } & Refusal) {
    const { name, resourceVersion } = identity(item);
    if (name === undefined) return { ok: false, name: place, reason: 'no metadata.name' };
    if (resourceVersion === undefined) return { ok: false, name, reason: 'no metadata.resourceVersion' };
    const answer = this.#decode(item);
    if (answer.ok) return { ok: true, name, held: { object: answer.value, resourceVersion } };
    const { reason, detail } = answer;
    return { ok: false, name, reason, ...(detail === undefined ? {} : { detail }) };
  }

  #note({ name, reason, detail }: Refusal): void {
    if (this.#refused.get(name) === reason) return;
    this.#report({ name, reason, ...(detail === undefined ? {} : { detail }) });
  }
}

const gone = <T>(name: string, resourceVersion: string): EventOutcome<T> => ({
  kind: 'changed',
  name,
  object: undefined,
  resourceVersion,
});

const notNewer = (a: string, b: string): boolean => (compareResourceVersions(a, b) ?? 1) <= 0;

const LONGEST_NAME = 253;

function identity(item: unknown): { name?: string; resourceVersion?: string } {
  const metadata = isRecord(item) ? item['metadata'] : undefined;
  if (!isRecord(metadata)) return {};
  const { name, resourceVersion } = metadata;
  return {
    ...(typeof name === 'string' && name !== '' && name.length <= LONGEST_NAME ? { name } : {}),
    ...(typeof resourceVersion === 'string' && resourceVersion !== '' ? { resourceVersion } : {}),
  };
}
