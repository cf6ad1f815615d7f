// WATCH: one stream of JSON lines per watcher, fed by the storage's changes in the order of their resourceVersions. Replay of the
// past and subscription happen in one turn of the event loop, so that no change is missed or doubled.
// https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
import { randomInt } from 'node:crypto';
import type { ServerResponse } from 'node:http';

import { type ApiFailure, expired, invalidListOptions } from './api-failure.ts';
import type { ApiObject } from './api-object.ts';
import { type ListScope, parseResourceVersion, parseSelectors } from './list.ts';
import { type Representation, renderObject } from './representation.ts';
import { type ResourceKind, apiVersionOf, resourceName } from './resource-kinds.ts';
import type { ObjectPredicate } from './selectors.ts';
import type { Change, Storage } from './storage.ts';

/** A watcher that lets this much pile up unread is closed, as the real server does. */
const MAX_UNREAD_BYTES = 16 * 1024 * 1024;
const INITIAL_EVENTS_END = { 'k8s.io/initial-events-end': 'true' };

type EventType = 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK';

interface WatchOptions {
  readonly scope: ListScope;
  readonly representation: Representation;
  readonly matches: ObjectPredicate | undefined;
  readonly bookmarks: boolean;
}

const parse = (text: string): ApiObject => JSON.parse(text) as ApiObject; // as: we wrote it

class Watcher {
  readonly options: WatchOptions;
  readonly response: ServerResponse;
  readonly #nowMs: () => number;
  readonly #after: number;
  #sentColumns = false;
  /** Half-open on request: the connection stays, nothing more is sent. */
  stalled = false;

  /** `after`: changes up to this resourceVersion are not the watcher's. */
  constructor(options: {
    watch: WatchOptions;
    response: ServerResponse;
    nowMs: () => number;
    after: number;
  }) {
    this.options = options.watch;
    this.response = options.response;
    this.#nowMs = options.nowMs;
    this.#after = options.after;
  }

  /** The change as this watcher sees it: an object that starts to match is added, one that stops to match is deleted. */
  deliver(change: Change): void {
    const { scope, matches, representation } = this.options;
    if (change.resourceVersion <= this.#after) return;
    if (scope.namespace !== undefined && scope.namespace !== change.key.namespace) return;
    if (matches === undefined && representation.form === 'object') {
      this.#write(`{"type":"${change.type}","object":${change.object}}\n`);
      return;
    }
    const object = parse(change.object);
    const before = change.previous !== undefined && (matches?.(parse(change.previous)) ?? true);
    const after = change.type !== 'DELETED' && (matches?.(object) ?? true);
    if (!before && !after) return;
    const kept = before ? 'MODIFIED' : 'ADDED';
    this.send(after ? kept : 'DELETED', object);
  }

  send(type: EventType, object: ApiObject): void {
    const { scope, representation } = this.options;
    const rendered = renderObject({
      kind: scope.kind,
      representation,
      object,
      nowMs: this.#nowMs(),
      withColumns: !this.#sentColumns,
    });
    this.#sentColumns = true;
    this.#write(`${JSON.stringify({ type, object: rendered })}\n`);
  }

  bookmark(resourceVersion: number, annotations?: Readonly<Record<string, string>>): void {
    const { kind } = this.options.scope;
    const metadata = {
      resourceVersion: String(resourceVersion),
      creationTimestamp: null,
      ...(annotations && { annotations }),
    };
    const object = { kind: kind.kind, apiVersion: apiVersionOf(kind), metadata };
    const { form } = this.options.representation;
    const shown =
      form === 'table'
        ? {
            kind: 'Table',
            apiVersion: 'meta.k8s.io/v1',
            metadata,
            columnDefinitions: null,
            rows: [{ cells: [], object }],
          }
        : object;
    this.#write(`${JSON.stringify({ type: 'BOOKMARK', object: shown })}\n`);
  }

  fail(failure: ApiFailure): void {
    this.#write(`${JSON.stringify({ type: 'ERROR', object: failure.status })}\n`);
    this.end();
  }

  end(): void {
    if (!this.stalled) this.response.end();
  }

  #write(line: string): void {
    if (this.stalled || this.response.writableEnded || this.response.destroyed) return;
    this.response.write(line);
    if (this.response.writableLength > MAX_UNREAD_BYTES) this.response.destroy();
  }
}

export class WatchHub {
  readonly #storage: Storage;
  readonly #nowMs: () => number;
  readonly #watchers = new Map<string, Set<Watcher>>();
  readonly #bookmarkTimer: NodeJS.Timeout;
  /** Asked before a change goes out to the open watches: true drops it (a fault on request). */
  dropChange: ((change: Change) => boolean) | undefined;

  constructor(options: { storage: Storage; nowMs: () => number; bookmarkIntervalMs: number }) {
    this.#storage = options.storage;
    this.#nowMs = options.nowMs;
    this.#storage.onChange((change) => this.#publish(change));
    this.#bookmarkTimer = setInterval(() => this.sendBookmarks(), options.bookmarkIntervalMs);
    this.#bookmarkTimer.unref();
  }

  /** Answers a watch request; the response stays open until timeoutSeconds, the client, or close(). Throws before any byte is sent. */
  start(options: {
    scope: ListScope;
    query: URLSearchParams;
    representation: Representation;
    response: ServerResponse;
  }): void {
    const { scope, query, response } = options;
    const watch: WatchOptions = {
      scope,
      representation: options.representation,
      matches: parseSelectors(query, scope.kind),
      bookmarks: isTrue(query.get('allowWatchBookmarks')),
    };
    const version = parseResourceVersion(query.get('resourceVersion'));
    const initial = initialEvents(query, version);
    const watcher = new Watcher({ watch, response, nowMs: this.#nowMs, after: version ?? 0 });
    response.writeHead(200, { 'content-type': 'application/json', 'cache-control': 'no-cache, private' });
    response.flushHeaders();
    if (version !== undefined && version !== 0 && version < this.#storage.compacted) {
      watcher.fail(expired(`too old resource version: ${version} (${this.#storage.compacted})`));
      return;
    }
    if (initial === 'send') this.#sendInitial(watcher);
    else if (version !== undefined && version !== 0) this.#replay(watcher, version);
    if (query.get('sendInitialEvents') === 'true' && watch.bookmarks) {
      watcher.bookmark(this.#storage.current, INITIAL_EVENTS_END);
    }
    this.#add(watcher, timeoutMs(query.get('timeoutSeconds')));
  }

  #sendInitial(watcher: Watcher): void {
    const { scope, matches } = watcher.options;
    const at = this.#storage.current;
    for (const row of this.#storage.list({
      resource: resourceName(scope.kind),
      namespace: scope.namespace,
      at,
    })) {
      const object = parse(row.object);
      if (matches?.(object) ?? true) watcher.send('ADDED', object);
    }
  }

  #replay(watcher: Watcher, version: number): void {
    for (const change of this.#storage.changesAfter(resourceName(watcher.options.scope.kind), version)) {
      watcher.deliver(change);
    }
  }

  #add(watcher: Watcher, afterMs: number): void {
    const resource = resourceName(watcher.options.scope.kind);
    const watchers = this.#watchers.get(resource) ?? new Set();
    this.#watchers.set(resource, watchers);
    watchers.add(watcher);
    const timer = setTimeout(() => {
      if (watcher.options.bookmarks) watcher.bookmark(this.#storage.current);
      watcher.end();
    }, afterMs);
    timer.unref();
    watcher.response.once('close', () => {
      clearTimeout(timer);
      watchers.delete(watcher);
    });
  }

  #publish(change: Change): void {
    if (this.dropChange?.(change) === true) return;
    for (const watcher of this.#watchers.get(change.key.resource) ?? []) watcher.deliver(change);
  }

  sendBookmarks(): void {
    for (const watcher of this.open()) {
      if (watcher.options.bookmarks) this.bookmark(watcher);
    }
  }

  bookmark(watcher: Watcher): void {
    watcher.bookmark(this.#storage.current);
  }

  /** The open watches of a resource, or of all. */
  open(kind?: ResourceKind): readonly Watcher[] {
    const sets =
      kind === undefined ? [...this.#watchers.values()] : [this.#watchers.get(resourceName(kind)) ?? []];
    return sets.flatMap((set) => Array.from(set));
  }

  close(): void {
    clearInterval(this.#bookmarkTimer);
    for (const watcher of this.open()) watcher.end();
  }
}

const isTrue = (text: string | null): boolean => text === 'true' || text === '1';

/** Whether the objects that exist come first, as ADDED events. */
function initialEvents(query: URLSearchParams, version: number | undefined): 'send' | 'omit' {
  const wanted = query.get('sendInitialEvents');
  const match = query.get('resourceVersionMatch');
  if (wanted === null) {
    if (match !== null) {
      throw invalidListOptions(
        'resourceVersionMatch',
        'resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided',
      );
    }
    return version === undefined || version === 0 ? 'send' : 'omit';
  }
  if (match !== 'NotOlderThan') {
    throw invalidListOptions(
      'resourceVersionMatch',
      'sendInitialEvents requires setting resourceVersionMatch to NotOlderThan',
    );
  }
  return isTrue(wanted) ? 'send' : 'omit';
}

/** As the real server: 30 to 60 minutes unless the client says. */
function timeoutMs(text: string | null): number {
  const seconds = Number(text ?? '0');
  return Number.isFinite(seconds) && seconds > 0
    ? Math.min(seconds * 1000, 2 ** 31 - 1)
    : randomInt(1_800_000, 3_600_000);
}
