// The API server's objects and their history: create lets one of a name win, each write has a version, a list can be an older state, a
// watch replays what came after a version as long as the history reaches back, and what belongs to a Node that is gone is collected.
import { statusError } from '../../agent/kube/api-status.ts';
import type { OperationError } from '../../agent/operation-error.ts';
import { ADDRESS_BLOCKS, type AddressBlock, PEERS } from '../../proto/api-kinds.ts';
import type { Chance } from './chance.ts';
import type { VirtualTime } from './virtual-time.ts';

export interface ApiObject {
  readonly metadata: {
    readonly name: string;
    readonly uid?: string;
    readonly resourceVersion?: string;
    readonly ownerReferences?: readonly { readonly uid: string }[];
  };
}

export type Plural = typeof PEERS | typeof ADDRESS_BLOCKS;

export interface WatchEntry {
  readonly version: number;
  readonly line: Uint8Array;
}

interface Kind {
  readonly objects: Map<string, ApiObject>;
  history: WatchEntry[];
  /** Older states, for lists that are behind. */
  past: { readonly version: number; readonly items: readonly ApiObject[] }[];
  /** Told of each entry. */
  readonly watchers: Set<(entry: WatchEntry) => void>;
}

export interface ModelApiOptions {
  readonly time: VirtualTime;
  readonly chance: Chance;
  readonly blockCreated: (block: AddressBlock) => void;
}

const MOST_PAST = 8;
const MOST_HISTORY = 400;
const COLLECT_MS = [100, 5000] as const;

export class ModelApi {
  readonly #options: ModelApiOptions;
  readonly #kinds: Record<Plural, Kind> = { [PEERS]: emptyKind(), [ADDRESS_BLOCKS]: emptyKind() };
  /** Name → UID of the Node. */
  readonly nodes: Map<string, string> = new Map();
  #version = 1;
  #uids = 0;
  #oldest = 0;
  writes = 0;

  constructor(options: ModelApiOptions) {
    this.#options = options;
  }

  get version(): number {
    return this.#version;
  }

  blocks(): ReadonlyMap<string, AddressBlock> {
    return this.#kinds[ADDRESS_BLOCKS].objects as unknown as ReadonlyMap<string, AddressBlock>; // as: what createBlock gave
  }

  addNode(name: string): void {
    this.nodes.set(name, `node-uid-${++this.#uids}`);
  }

  removeNode(name: string): void {
    this.nodes.delete(name);
    this.#collectSoon();
  }

  create(plural: Plural, object: ApiObject): ApiObject {
    const { objects } = this.#kinds[plural];
    const { name } = object.metadata;
    if (objects.has(name)) throw failure(409, 'AlreadyExists');
    const created = this.#put(plural, {
      ...object,
      metadata: { ...object.metadata, uid: `uid-${++this.#uids}` },
    });
    if (plural === ADDRESS_BLOCKS) this.#options.blockCreated(created as unknown as AddressBlock); // as: of that plural
    return created;
  }

  replace(plural: Plural, object: ApiObject): ApiObject {
    const { name, resourceVersion } = object.metadata;
    const present = this.get(plural, name);
    if (resourceVersion !== undefined && resourceVersion !== present.metadata.resourceVersion)
      throw failure(409, 'Conflict');
    if (plural === ADDRESS_BLOCKS && holderOf(object) !== holderOf(present)) throw failure(422, 'Invalid');
    return this.#put(plural, {
      ...object,
      metadata: { ...object.metadata, uid: present.metadata.uid ?? '' },
    });
  }

  get(plural: Plural, name: string): ApiObject {
    const object = this.#kinds[plural].objects.get(name);
    if (object === undefined) throw failure(404, 'NotFound');
    return object;
  }

  delete(plural: Plural, name: string, wanted: { uid?: string; resourceVersion?: string } = {}): void {
    const object = this.get(plural, name);
    const { uid, resourceVersion } = object.metadata;
    if ((wanted.uid ?? uid) !== uid || (wanted.resourceVersion ?? resourceVersion) !== resourceVersion)
      throw failure(409, 'Conflict');
    const kind = this.#kinds[plural];
    this.#remember(kind);
    kind.objects.delete(name);
    this.#record(kind, 'DELETED', versioned(object, ++this.#version));
  }

  /** `atLeast`: undefined for the newest. */
  list(plural: Plural, atLeast: number | undefined): { items: readonly ApiObject[]; version: number } {
    const kind = this.#kinds[plural];
    const older = atLeast === undefined ? [] : kind.past.filter(({ version }) => version >= atLeast);
    const { chance } = this.#options;
    const past = chance.happens(0.2) ? chance.oneOf(older) : undefined;
    return past ?? { items: [...kind.objects.values()], version: this.#version };
  }

  /** What came after the version; the answer ends it. Throws 410 when the history does not reach back. */
  watch(plural: Plural, from: number, told: (entry: WatchEntry) => void): () => void {
    if (from < this.#oldest) throw failure(410, 'Expired');
    const kind = this.#kinds[plural];
    for (const entry of kind.history) if (entry.version > from) told(entry);
    kind.watchers.add(told);
    return () => kind.watchers.delete(told);
  }

  /** The history is cut: watches from before get 410. */
  compact(): void {
    this.#oldest = this.#version;
    for (const kind of Object.values(this.#kinds)) kind.history = [];
  }

  #put(plural: Plural, object: ApiObject): ApiObject {
    const kind = this.#kinds[plural];
    const { name } = object.metadata;
    const type = kind.objects.has(name) ? 'MODIFIED' : 'ADDED';
    this.#remember(kind);
    const stored = versioned(object, ++this.#version);
    kind.objects.set(name, stored);
    this.#record(kind, type, stored);
    if (this.#isOrphan(stored)) this.#collectSoon();
    return stored;
  }

  #remember(kind: Kind): void {
    kind.past = [
      ...kind.past.slice(-MOST_PAST + 1),
      { version: this.#version, items: [...kind.objects.values()] },
    ];
  }

  #record(kind: Kind, type: string, object: ApiObject): void {
    this.writes += 1;
    const entry = { version: this.#version, line: Buffer.from(`${JSON.stringify({ type, object })}\n`) };
    kind.history.push(entry);
    if (kind.history.length > MOST_HISTORY) {
      kind.history = kind.history.slice(MOST_HISTORY / 2);
      this.#oldest = Math.max(this.#oldest, (kind.history[0]?.version ?? 1) - 1);
    }
    for (const told of kind.watchers) told(entry);
  }

  #isOrphan({ metadata }: ApiObject): boolean {
    const uids = new Set(this.nodes.values());
    return metadata.ownerReferences?.every(({ uid }) => !uids.has(uid)) ?? false;
  }

  #collectSoon(): void {
    const { time, chance } = this.#options;
    time.setTimer(chance.between(...COLLECT_MS), () => {
      for (const plural of [PEERS, ADDRESS_BLOCKS] as const) {
        for (const object of this.#kinds[plural].objects.values())
          if (this.#isOrphan(object)) this.delete(plural, object.metadata.name);
      }
    });
  }
}

/** What of a block never changes. */
const holderOf = (object: ApiObject): string => {
  const { spec } = object as unknown as AddressBlock; // as: what createBlock gave
  return `${spec.node} ${spec.stateId}`;
};

const emptyKind = (): Kind => ({ objects: new Map(), history: [], past: [], watchers: new Set() });

const versioned = (object: ApiObject, version: number): ApiObject => ({
  ...object,
  metadata: { ...object.metadata, resourceVersion: String(version) },
});

export const failure = (status: number, reason: string): OperationError =>
  statusError({ action: 'do as asked', status, body: { kind: 'Status', reason } });
