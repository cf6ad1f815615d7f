// Which objects exist by UID, and which objects each UID owns: kept in step with storage, so that collecting garbage after a delete
// reads only the dependents.
import type { ApiObject } from './api-object.ts';
import { RESOURCE_KINDS, resourceName } from './resource-kinds.ts';
import type { Change, ObjectKey, Storage } from './storage.ts';

const parse = (text: string): ApiObject => JSON.parse(text) as ApiObject; // as: we wrote it

export class OwnerIndex {
  readonly #alive = new Set<string>();
  /** Owner UID → dependent UID → key. */
  readonly #dependents = new Map<string, Map<string, ObjectKey>>();

  constructor(storage: Storage) {
    for (const kind of RESOURCE_KINDS) {
      const resource = resourceName(kind);
      for (const row of storage.list({ resource, namespace: undefined, at: storage.current })) {
        this.#add({ resource, namespace: row.namespace, name: row.name }, parse(row.object));
      }
    }
    storage.onChange((change) => this.#follow(change));
  }

  #follow(change: Change): void {
    if (change.previous !== undefined) this.#remove(parse(change.previous));
    if (change.type !== 'DELETED') this.#add(change.key, parse(change.object));
  }

  #add(key: ObjectKey, object: ApiObject): void {
    const { uid, ownerReferences = [] } = object.metadata;
    this.#alive.add(uid);
    for (const owner of ownerReferences) {
      const dependents = this.#dependents.get(owner.uid) ?? new Map<string, ObjectKey>();
      this.#dependents.set(owner.uid, dependents.set(uid, key));
    }
  }

  #remove(object: ApiObject): void {
    const { uid, ownerReferences = [] } = object.metadata;
    this.#alive.delete(uid);
    for (const owner of ownerReferences) {
      const dependents = this.#dependents.get(owner.uid);
      dependents?.delete(uid);
      if (dependents?.size === 0) this.#dependents.delete(owner.uid);
    }
  }

  isAlive(uid: string): boolean {
    return this.#alive.has(uid);
  }

  dependentsOf(uid: string): readonly ObjectKey[] {
    return [...(this.#dependents.get(uid)?.values() ?? [])];
  }

  /** UIDs that are named as owners and do not exist. */
  missingOwners(): readonly string[] {
    return [...this.#dependents.keys()].filter((uid) => !this.#alive.has(uid));
  }
}
