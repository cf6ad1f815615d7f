// DELETE with its preconditions and finalizers, and the garbage collector: an object whose every owner is gone goes too, at once.
// An owner of a kind that this server does not have counts as there (the real collector cannot look it up either).
import { type ApiFailure, type Status, badRequest, conflict } from './api-failure.ts';
import {
  type ApiObject,
  type Json,
  type OwnerReference,
  isJsonObject,
  ownField,
  textOf,
} from './api-object.ts';
import { type ObjectTarget, keyOf, timestamp } from './object-writes.ts';
import { OwnerIndex } from './owner-index.ts';
import { findByGroupKind } from './resource-kinds.ts';
import type { ObjectKey, Storage } from './storage.ts';

export interface DeleteOptions {
  readonly uid: string | undefined;
  readonly resourceVersion: string | undefined;
  readonly orphanDependents: boolean;
  readonly dryRun: boolean;
}

/** From the body (a DeleteOptions object or nothing) and the query, which older clients use. */
export function readDeleteOptions(body: Json | undefined, query: URLSearchParams): DeleteOptions {
  if (body !== undefined && !isJsonObject(body))
    throw badRequest('the body of a delete must be DeleteOptions');
  const preconditions = body === undefined ? undefined : ownField(body, 'preconditions');
  const precondition = (name: string): string | undefined => {
    const value = isJsonObject(preconditions) ? ownField(preconditions, name) : undefined;
    return typeof value === 'string' ? value : undefined;
  };
  const field = (name: string): Json | undefined => (body === undefined ? undefined : ownField(body, name));
  const policy = field('propagationPolicy') ?? query.get('propagationPolicy') ?? undefined;
  if (policy !== undefined && !['Orphan', 'Background', 'Foreground'].includes(textOf(policy))) {
    throw badRequest(
      `Unsupported value: ${JSON.stringify(policy)}: supported values: "Background", "Foreground", "Orphan"`,
    );
  }
  const dryRun = field('dryRun');
  return {
    uid: precondition('uid'),
    resourceVersion: precondition('resourceVersion'),
    orphanDependents: policy === 'Orphan' || field('orphanDependents') === true,
    dryRun: query.getAll('dryRun').includes('All') || (Array.isArray(dryRun) && dryRun.includes('All')),
  };
}

export class ObjectRemover {
  readonly #storage: Storage;
  readonly #nowMs: () => number;
  readonly #owners: OwnerIndex;
  #sweepPending = false;
  #closed = false;

  constructor(options: { storage: Storage; nowMs: () => number }) {
    this.#storage = options.storage;
    this.#nowMs = options.nowMs;
    this.#owners = new OwnerIndex(options.storage);
    this.sweep(); // what a crash between a delete and its collection left
  }

  /** The object as it was, and whether it is gone (false while finalizers hold it). Throws what forbids it. */
  delete(
    target: ObjectTarget,
    existing: ApiObject,
    options: DeleteOptions,
  ): { object: ApiObject; gone: boolean } {
    const refusal = brokenPrecondition(target, existing, options);
    if (refusal !== undefined) throw refusal;
    if (options.dryRun) return { object: existing, gone: true };
    const { uid } = existing.metadata;
    if (options.orphanDependents) {
      for (const key of this.#owners.dependentsOf(uid)) this.#disown(key, (owner) => owner.uid === uid);
    }
    return this.#remove(keyOf(target), existing);
  }

  #remove(key: ObjectKey, object: ApiObject): { object: ApiObject; gone: boolean } {
    const { metadata } = object;
    if (metadata.finalizers !== undefined) {
      if (metadata.deletionTimestamp !== undefined) return { object, gone: false };
      const marked = { deletionTimestamp: timestamp(this.#nowMs()), deletionGracePeriodSeconds: 0 };
      return {
        object: this.#storage.put(key, { ...object, metadata: { ...metadata, ...marked } }),
        gone: false,
      };
    }
    const deleted = this.#storage.delete(key);
    this.#collectDependents(metadata.uid);
    return { object: deleted, gone: true };
  }

  #collectDependents(uid: string): void {
    for (const key of this.#owners.dependentsOf(uid)) {
      const dependent = this.#storage.get(key);
      if (dependent === undefined) continue;
      const { ownerReferences = [] } = dependent.metadata;
      if (ownerReferences.every((owner) => this.#isGone(owner))) this.#remove(key, dependent);
      else this.#disown(key, (owner) => this.#isGone(owner));
    }
  }

  #isGone(owner: OwnerReference): boolean {
    return findByGroupKind(owner.apiVersion, owner.kind) !== undefined && !this.#owners.isAlive(owner.uid);
  }

  #disown(key: ObjectKey, isDropped: (owner: OwnerReference) => boolean): void {
    const object = this.#storage.get(key);
    if (object === undefined) return;
    const { ownerReferences = [], ...rest } = object.metadata;
    const kept = ownerReferences.filter((owner) => !isDropped(owner));
    if (kept.length === ownerReferences.length) return;
    const metadata = kept.length === 0 ? rest : { ...rest, ownerReferences: kept };
    this.#storage.put(key, { ...object, metadata });
  }

  /** Collects what has only owners that do not exist. */
  sweep(): void {
    for (const uid of this.#owners.missingOwners()) this.#collectDependents(uid);
  }

  /** After a write that may name an owner that is gone already: collect it once the response is out. */
  sweepSoon(): void {
    if (this.#sweepPending) return;
    this.#sweepPending = true;
    setImmediate(() => {
      this.#sweepPending = false;
      if (!this.#closed) this.sweep();
    });
  }

  close(): void {
    this.#closed = true;
  }
}

function brokenPrecondition(
  target: ObjectTarget,
  existing: ApiObject,
  options: DeleteOptions,
): ApiFailure | undefined {
  const { uid, resourceVersion } = existing.metadata;
  if (options.uid !== undefined && options.uid !== uid) {
    const cause = `Precondition failed: UID in precondition: ${options.uid}, UID in object meta: ${uid}`;
    return conflict(target.kind, target.name, cause);
  }
  if (options.resourceVersion !== undefined && options.resourceVersion !== resourceVersion) {
    const cause =
      `the ResourceVersion in the precondition (${options.resourceVersion}) does not match the ResourceVersion in record ` +
      `(${resourceVersion}). The object might have been modified`;
    return conflict(target.kind, target.name, cause);
  }
  return undefined;
}

/** What a delete answers when the object is gone. */
export const deletedStatus = (target: ObjectTarget, uid: string): Omit<Status, 'code'> => ({
  kind: 'Status',
  apiVersion: 'v1',
  metadata: {},
  status: 'Success',
  details: {
    name: target.name,
    ...(target.kind.group === '' ? {} : { group: target.kind.group }),
    kind: target.kind.plural,
    uid,
  },
});
