// CREATE, UPDATE and PATCH on storage: optimistic concurrency by resourceVersion, the metadata that the server owns, no write when
// nothing changes. Every refusal is an ApiFailure.
import { randomInt, randomUUID } from 'node:crypto';

import { type Admitted, type FieldValidation, admit, readMetadata, readObject } from './admission.ts';
import { ApiFailure, alreadyExists, badRequest, conflict, invalid, notFound } from './api-failure.ts';
import { type ApiObject, type Json, type JsonObject, type Metadata, sameJson } from './api-object.ts';
import { type ResourceKind, findKind, resourceName } from './resource-kinds.ts';
import type { ObjectKey, Storage } from './storage.ts';

export interface ObjectTarget {
  readonly kind: ResourceKind;
  /** '' for cluster-scoped kinds. */
  readonly namespace: string;
  readonly name: string;
  readonly subresource?: 'status';
}

export interface WriteOptions {
  readonly dryRun: boolean;
  readonly fieldValidation: FieldValidation;
}

export interface WriteResult extends Admitted {
  readonly code: 200 | 201;
}

export const keyOf = (target: Omit<ObjectTarget, 'subresource'>): ObjectKey => ({
  resource: resourceName(target.kind),
  namespace: target.namespace,
  name: target.name,
});

const NAME_LETTERS = 'bcdfghjklmnpqrstvwxz2456789';
const nameSuffix = (): string =>
  Array.from({ length: 5 }, () => NAME_LETTERS[randomInt(NAME_LETTERS.length)]).join('');

/** RFC 3339 in whole seconds, as metav1.Time. */
export const timestamp = (nowMs: number): string => new Date(nowMs).toISOString().replace(/\.\d+Z$/, 'Z');

export class ObjectWriter {
  readonly #storage: Storage;
  readonly #nowMs: () => number;

  constructor(options: { storage: Storage; nowMs: () => number }) {
    this.#storage = options.storage;
    this.#nowMs = options.nowMs;
  }

  read(target: ObjectTarget): ApiObject {
    const object = this.#storage.get(keyOf(target));
    if (object === undefined) throw notFound(target.kind, target.name);
    return object;
  }

  /** `target.name` is '' when the URL names none (POST). */
  create(target: ObjectTarget, body: Json | undefined, options: WriteOptions): WriteResult {
    const { kind, namespace } = target;
    const wanted = readObject(kind, body);
    const given = readMetadata(wanted);
    this.#checkNamespace(target, given.namespace);
    if (given.resourceVersion !== undefined) {
      const message = 'resourceVersion should not be set on objects to be created';
      throw new ApiFailure({ code: 500, reason: '', message });
    }
    const generated = given.generateName === undefined ? '' : given.generateName + nameSuffix();
    const name = given.name ?? (target.name === '' ? generated : target.name);
    if (name === '') {
      const message = 'Required value: name or generateName is required';
      throw invalid(kind, '', [{ path: 'metadata.name', reason: 'FieldValueRequired', message }]);
    }
    const { labels, annotations, ownerReferences, finalizers, generateName } = given;
    const metadata: Metadata = {
      name,
      ...(namespace === '' ? {} : { namespace }),
      ...(generateName && { generateName }),
      uid: randomUUID(),
      ...(kind.schema === undefined ? {} : { generation: 1 }),
      creationTimestamp: timestamp(this.#nowMs()),
      ...(labels && { labels }),
      ...(annotations && { annotations }),
      ...(ownerReferences && { ownerReferences }),
      ...(finalizers && { finalizers }),
    };
    const object = { ...wanted, metadata } as unknown as ApiObject; // as: readObject and the metadata above
    const key = keyOf({ kind, namespace, name });
    const admitted = admit({ kind, object, previous: undefined, fieldValidation: options.fieldValidation });
    if (this.#storage.get(key) !== undefined) throw alreadyExists(kind, name);
    const stored = options.dryRun ? admitted.object : this.#storage.put(key, admitted.object);
    return { object: stored, warnings: admitted.warnings, code: 201 };
  }

  update(target: ObjectTarget, body: Json | undefined, options: WriteOptions): WriteResult {
    const { kind, name } = target;
    const wanted = readObject(kind, body);
    const given = readMetadata(wanted);
    if (given.name !== undefined && given.name !== name) {
      throw badRequest(`the name of the object (${given.name}) does not match the name on the URL (${name})`);
    }
    this.#checkNamespace(target, given.namespace);
    const existing = this.read(target);
    if (given.uid !== undefined && given.uid !== existing.metadata.uid) {
      const cause = `Precondition failed: UID in precondition: ${given.uid}, UID in object meta: ${existing.metadata.uid}`;
      throw conflict(kind, name, cause);
    }
    if (given.resourceVersion === undefined || given.resourceVersion === '0') {
      if (kind.schema !== undefined) {
        const message = 'Invalid value: 0x0: must be specified for an update';
        throw invalid(kind, name, [
          { path: 'metadata.resourceVersion', reason: 'FieldValueInvalid', message },
        ]);
      }
    } else if (given.resourceVersion !== existing.metadata.resourceVersion) {
      throw conflict(kind, name);
    }
    const merged = mergeServerFields({ target, existing, wanted });
    const admitted = admit({
      kind,
      object: merged,
      previous: existing,
      fieldValidation: options.fieldValidation,
    });
    if (sameJson(admitted.object, existing))
      return { object: existing, warnings: admitted.warnings, code: 200 };
    const next = withGeneration(kind, existing, admitted.object);
    if (options.dryRun) return { object: next, warnings: admitted.warnings, code: 200 };
    const stored = this.#storage.put(keyOf(target), next);
    const finished =
      stored.metadata.deletionTimestamp !== undefined && stored.metadata.finalizers === undefined;
    if (finished) this.#storage.delete(keyOf(target));
    return { object: stored, warnings: admitted.warnings, code: 200 };
  }

  /** `apply` computes the patched object; a patch that names no resourceVersion applies to whatever is stored. */
  patch(target: ObjectTarget, apply: (existing: Json) => Json, options: WriteOptions): WriteResult {
    const existing = this.read(target);
    return this.update(target, apply(existing as unknown as JsonObject), options); // as: stored objects are JSON
  }

  exists(target: ObjectTarget): boolean {
    return this.#storage.get(keyOf(target)) !== undefined;
  }

  #checkNamespace(target: ObjectTarget, given: string | undefined): void {
    const { kind, namespace } = target;
    if (!kind.namespaced) return;
    if (given !== undefined && given !== namespace) {
      throw badRequest(
        'the namespace of the provided object does not match the namespace sent on the request',
      );
    }
    const namespaces = findKind('', 'v1', 'namespaces');
    if (namespaces !== undefined) this.read({ kind: namespaces, namespace: '', name: namespace });
  }
}

/** What the caller may not change comes from the stored object. */
function mergeServerFields(options: {
  target: ObjectTarget;
  existing: ApiObject;
  wanted: JsonObject;
}): ApiObject {
  const { target, existing, wanted } = options;
  if (target.subresource === 'status') return withStatus(existing, wanted['status']);
  const { labels, annotations, ownerReferences, finalizers } = readMetadata(wanted);
  const { labels: _l, annotations: _a, ownerReferences: _o, finalizers: _f, ...owned } = existing.metadata;
  const metadata: Metadata = {
    ...owned,
    ...(labels && { labels }),
    ...(annotations && { annotations }),
    ...(ownerReferences && { ownerReferences }),
    ...(finalizers && { finalizers }),
  };
  const object = { ...wanted, metadata } as unknown as ApiObject; // as: readObject and the metadata above
  return target.kind.statusSubresource ? withStatus(object, existing['status']) : object;
}

function withStatus(object: ApiObject, status: unknown): ApiObject {
  const { status: _, ...rest } = object;
  return status === undefined ? rest : { ...rest, status };
}

/** The generation counts changes outside metadata (kinds with a schema only, as in the real server). */
function withGeneration(kind: ResourceKind, existing: ApiObject, next: ApiObject): ApiObject {
  const { metadata: _, ...before } = existing;
  const { metadata, ...after } = next;
  if (kind.schema === undefined || sameJson(before, after)) return next;
  return { ...next, metadata: { ...metadata, generation: (existing.metadata.generation ?? 0) + 1 } };
}
