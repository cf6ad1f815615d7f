// Objects and their history in SQLite. One resourceVersion for everything, rising by one per write and never reused. The history
// serves watches and lists of the past; what is older than `compacted` is gone (the API answers 410). Synchronous on purpose: a
// request is one turn of the event loop, so no lock and no lost update. One process per file (exclusive lock).
import { DatabaseSync, type StatementSync } from 'node:sqlite';

import { invariant } from '../proto/invariant.ts';
import type { ApiObject } from './api-object.ts';

export interface ObjectKey {
  /** `peers.weft.dev`, `nodes`. */
  readonly resource: string;
  /** '' for cluster-scoped kinds. */
  readonly namespace: string;
  readonly name: string;
}

export interface Change {
  readonly resourceVersion: number;
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
  readonly key: ObjectKey;
  /** JSON of the object after the change; of a deleted one the last state with the deletion's resourceVersion. */
  readonly object: string;
  readonly previous: string | undefined;
}

export interface ListRequest {
  readonly resource: string;
  readonly namespace: string | undefined;
  /** The state as of this resourceVersion; not before `compacted`, not after `current`. */
  readonly at: number;
  /** Only what follows this key. */
  readonly after?: { readonly namespace: string; readonly name: string } | undefined;
  readonly limit?: number | undefined;
}

export interface StoredObject {
  readonly namespace: string;
  readonly name: string;
  readonly object: string;
}

/** Called around each commit; faults use it to crash on either side. */
export interface CommitHooks {
  before(): void;
  after(): void;
}

const SCHEMA = `
  PRAGMA locking_mode = EXCLUSIVE;
  PRAGMA journal_mode = WAL;
  PRAGMA synchronous = FULL;
  CREATE TABLE IF NOT EXISTS objects (
    resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, object TEXT NOT NULL,
    PRIMARY KEY (resource, namespace, name)) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS history (
    version INTEGER PRIMARY KEY, type TEXT NOT NULL,
    resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, object TEXT NOT NULL, previous TEXT);
  CREATE INDEX IF NOT EXISTS history_by_key ON history (resource, namespace, name, version);
  CREATE TABLE IF NOT EXISTS versions (id INTEGER PRIMARY KEY CHECK (id = 0), current INTEGER NOT NULL, compacted INTEGER NOT NULL);
`;

const LIST_NOW = `
  SELECT namespace, name, object FROM objects
  WHERE resource = :resource AND (:namespace IS NULL OR namespace = :namespace)
    AND (namespace, name) > (:afterNamespace, :afterName)
  ORDER BY namespace, name LIMIT :limit`;

/** What stands now and was not touched since, and what was touched as it stood before the first touch. */
const LIST_PAST = `
  SELECT namespace, name, object FROM (
    SELECT namespace, name, object FROM objects o WHERE resource = :resource AND NOT EXISTS (
      SELECT 1 FROM history h
      WHERE h.resource = o.resource AND h.namespace = o.namespace AND h.name = o.name AND h.version > :at)
    UNION ALL
    SELECT namespace, name, previous FROM history h
    WHERE resource = :resource AND version > :at AND previous IS NOT NULL AND NOT EXISTS (
      SELECT 1 FROM history e
      WHERE e.resource = h.resource AND e.namespace = h.namespace AND e.name = h.name
        AND e.version > :at AND e.version < h.version))
  WHERE (:namespace IS NULL OR namespace = :namespace) AND (namespace, name) > (:afterNamespace, :afterName)
  ORDER BY namespace, name LIMIT :limit`;

const COUNT_AFTER = `
  SELECT count(*) AS count FROM objects
  WHERE resource = :resource AND (:namespace IS NULL OR namespace = :namespace)
    AND (namespace, name) > (:afterNamespace, :afterName)`;

export class Storage {
  readonly #database: DatabaseSync;
  readonly #historyLimit: number;
  readonly #listeners: ((change: Change) => void)[] = [];
  readonly #get: StatementSync;
  readonly #put: StatementSync;
  readonly #delete: StatementSync;
  readonly #record: StatementSync;
  readonly #advance: StatementSync;
  readonly #listNow: StatementSync;
  readonly #listPast: StatementSync;
  readonly #countAfter: StatementSync;
  readonly #changes: StatementSync;
  hooks: CommitHooks | undefined;
  #current: number;
  #compacted: number;

  /**
   * `historyLimit`: how many of the latest changes are kept for watches and old lists. `firstVersion`: where a new database starts to
   * count; a client of a lost database that comes with an older version is then told to list anew. Throws when another process has
   * the file.
   */
  constructor(options: { file: string; historyLimit: number; firstVersion: number }) {
    const database = new DatabaseSync(options.file);
    database.exec(SCHEMA);
    database
      .prepare('INSERT OR IGNORE INTO versions VALUES (0, ?, ?)')
      .run(options.firstVersion, options.firstVersion);
    this.#database = database;
    this.#historyLimit = options.historyLimit;
    const row = database.prepare('SELECT current, compacted FROM versions').get();
    this.#current = Number(row?.['current']);
    this.#compacted = Number(row?.['compacted']);
    this.#get = database.prepare(
      'SELECT object FROM objects WHERE resource = ? AND namespace = ? AND name = ?',
    );
    this.#put = database.prepare('INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?)');
    this.#delete = database.prepare('DELETE FROM objects WHERE resource = ? AND namespace = ? AND name = ?');
    this.#record = database.prepare('INSERT INTO history VALUES (?, ?, ?, ?, ?, ?, ?)');
    this.#advance = database.prepare('UPDATE versions SET current = ?');
    this.#listNow = database.prepare(LIST_NOW);
    this.#listPast = database.prepare(LIST_PAST);
    this.#countAfter = database.prepare(COUNT_AFTER);
    this.#changes = database.prepare(
      'SELECT * FROM history WHERE version > ? AND resource = ? ORDER BY version',
    );
  }

  /** The latest write's resourceVersion. */
  get current(): number {
    return this.#current;
  }

  /** The newest resourceVersion whose successors are incomplete: watches and lists may start here, not before. */
  get compacted(): number {
    return this.#compacted;
  }

  onChange(listener: (change: Change) => void): void {
    this.#listeners.push(listener);
  }

  get(key: ObjectKey): ApiObject | undefined {
    const row = this.#get.get(key.resource, key.namespace, key.name);
    return row === undefined ? undefined : (JSON.parse(String(row['object'])) as ApiObject); // as: we wrote it
  }

  /** Creates or replaces; the answer carries the new resourceVersion. Durable when it returns. */
  put(key: ObjectKey, object: ApiObject): ApiObject {
    return this.#commit(key, object, 'put');
  }

  /** Deletes what is there; the answer is its last state with the deletion's resourceVersion. */
  delete(key: ObjectKey): ApiObject {
    const object = this.get(key);
    invariant(object !== undefined, () => `delete of ${key.resource} "${key.name}" that is not stored`);
    return this.#commit(key, object, 'delete');
  }

  #commit(key: ObjectKey, object: ApiObject, action: 'put' | 'delete'): ApiObject {
    this.hooks?.before();
    const resourceVersion = this.#current + 1;
    const stamped = {
      ...object,
      metadata: { ...object.metadata, resourceVersion: String(resourceVersion) },
    };
    const text = JSON.stringify(stamped);
    const columns = [key.resource, key.namespace, key.name] as const;
    const stored = this.#get.get(...columns);
    const previous = stored === undefined ? undefined : String(stored['object']);
    const added = previous === undefined ? 'ADDED' : 'MODIFIED';
    const type = action === 'delete' ? 'DELETED' : added;
    this.#database.exec('BEGIN IMMEDIATE');
    try {
      if (action === 'delete') this.#delete.run(...columns);
      else this.#put.run(...columns, text);
      this.#record.run(resourceVersion, type, ...columns, text, previous ?? null);
      this.#advance.run(resourceVersion);
      this.#database.exec('COMMIT');
    } catch (error) {
      this.#database.exec('ROLLBACK');
      throw error;
    }
    this.#current = resourceVersion;
    this.hooks?.after();
    for (const listener of this.#listeners) listener({ resourceVersion, type, key, object: text, previous });
    if (this.#current - this.#compacted > this.#historyLimit * 1.25) {
      this.compact(this.#current - this.#historyLimit);
    }
    return stamped;
  }

  list(request: ListRequest): readonly StoredObject[] {
    invariant(
      request.at >= this.#compacted && request.at <= this.#current,
      () => `list at ${request.at} outside ${this.#compacted}…${this.#current}`,
    );
    const parameters = {
      resource: request.resource,
      namespace: request.namespace ?? null,
      afterNamespace: request.after?.namespace ?? '',
      afterName: request.after?.name ?? '',
      limit: request.limit ?? -1,
    };
    const rows =
      request.at === this.#current
        ? this.#listNow.all(parameters)
        : this.#listPast.all({ ...parameters, at: request.at });
    return rows as unknown as readonly StoredObject[]; // as: the columns that were selected
  }

  /** How many objects follow the key, as of now. */
  countAfter(request: Omit<ListRequest, 'at' | 'limit'>): number {
    const row = this.#countAfter.get({
      resource: request.resource,
      namespace: request.namespace ?? null,
      afterNamespace: request.after?.namespace ?? '',
      afterName: request.after?.name ?? '',
    });
    return Number(row?.['count']);
  }

  /** Changes of a resource after a version that is not compacted. */
  changesAfter(resource: string, version: number): readonly Change[] {
    return this.#changes.all(version, resource).map((row) => ({
      resourceVersion: Number(row['version']),
      type: row['type'] as Change['type'], // as: we wrote it
      key: { resource, namespace: String(row['namespace']), name: String(row['name']) },
      object: String(row['object']),
      previous: row['previous'] === null ? undefined : String(row['previous']),
    }));
  }

  /** Forgets the history up to and including a version. */
  compact(upTo: number): void {
    if (upTo <= this.#compacted) return;
    this.#database.prepare('DELETE FROM history WHERE version <= ?').run(upTo);
    this.#database.prepare('UPDATE versions SET compacted = ?').run(upTo);
    this.#compacted = upTo;
  }

  close(): void {
    this.#database.close();
  }
}
