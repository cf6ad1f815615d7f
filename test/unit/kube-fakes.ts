// Fakes of the reflector's ports: a clock that moves only when told, and a model API server with a history, pages, watches and faults.
import type { AddressBlock, Peer } from '../../proto/api-kinds.ts';
import { type Decoded, decoded, refused } from '../../proto/decoded.ts';
import type { Clock } from '../../agent/kube/clock.ts';
import { isRecord, statusError } from '../../agent/kube/api-status.ts';
import type {
  ListPage,
  ListQuery,
  ResourceSource,
  WatchQuery,
  WatchSink,
} from '../../agent/kube/resource-source.ts';
import { OperationError } from '../../agent/operation-error.ts';

/** Lets everything that is ready run: promises, then one turn of the event loop, a few times. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 6; turn++) await new Promise((resolve) => setImmediate(resolve));
}

export class FakeClock implements Clock {
  #now = 1_000_000;
  #timers = new Map<number, { at: number; fire: () => void }>();
  #ids = 0;

  now(): number {
    return this.#now;
  }

  setTimer(delayMs: number, fire: () => void): () => void {
    const id = ++this.#ids;
    this.#timers.set(id, { at: this.#now + delayMs, fire });
    return () => this.#timers.delete(id);
  }

  get pending(): number {
    return this.#timers.size;
  }

  /** Fires what falls due in order, letting everything settle after each. */
  async advance(ms: number): Promise<void> {
    const until = this.#now + ms;
    for (;;) {
      await settle();
      const next = [...this.#timers].toSorted(([, a], [, b]) => a.at - b.at)[0];
      if (next === undefined || next[1].at > until) break;
      this.#timers.delete(next[0]);
      this.#now = Math.max(this.#now, next[1].at);
      next[1].fire();
    }
    this.#now = until;
    await settle();
  }
}

/** By name, so that two collections compare. */
export const inOrder = <T>(objects: ReadonlyMap<string, T>): readonly (readonly [string, T])[] =>
  [...objects].toSorted(([a], [b]) => (a < b ? -1 : 1));

/** A small object of no kind in particular; `spec.value` "bad" is refused. */
export interface Thing {
  readonly metadata: { readonly name: string; readonly resourceVersion: string };
  readonly spec: { readonly value: string };
}

export function decodeThing(value: unknown): Decoded<Thing> {
  if (!isRecord(value) || !isRecord(value['spec'])) return refused('no spec');
  if (typeof value['spec']['value'] !== 'string') return refused('no value');
  return value['spec']['value'] === 'bad' ? refused('value is bad') : decoded(value as unknown as Thing); // as: checked above
}

interface Entry {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
  readonly version: number;
  readonly object: Thing;
}

interface OpenWatch {
  readonly sink: WatchSink;
  readonly signal: AbortSignal;
  from: number;
  stalled: boolean;
}

export type ListFault = 'gone' | 'throttled' | 'failed' | 'stale' | 'too-large';
export type WatchFault = 'gone' | 'throttled' | 'failed' | 'hang';

/** Keeps every version of a small collection, so that it can also answer from the past. */
export class ModelServer implements ResourceSource {
  readonly plural = 'things';
  readonly queries: ListQuery[] = [];
  readonly watchQueries: WatchQuery[] = [];
  /** Faults of the next calls, in order; undefined = none. */
  readonly listFaults: (ListFault | undefined)[] = [];
  readonly watchFaults: (WatchFault | undefined)[] = [];
  #version = 100;
  #oldest = 100;
  #history: Entry[] = [];
  #watches = new Set<OpenWatch>();

  get version(): number {
    return this.#version;
  }

  get openWatches(): number {
    return this.#live().length;
  }

  /** What is there at a version. */
  objects(at: number = this.#version): Map<string, Thing> {
    const objects = new Map<string, Thing>();
    for (const { type, version, object } of this.#history) {
      if (version > at) break;
      if (type === 'DELETED') objects.delete(object.metadata.name);
      else objects.set(object.metadata.name, object);
    }
    return objects;
  }

  put(name: string, value: string): void {
    this.#append(this.objects().has(name) ? 'MODIFIED' : 'ADDED', name, value);
    this.flush();
  }

  remove(name: string): void {
    if (this.objects().has(name)) this.#append('DELETED', name, 'gone');
    this.flush();
  }

  #append(type: Entry['type'], name: string, value: string): void {
    const version = ++this.#version;
    const object: Thing = { metadata: { name, resourceVersion: String(version) }, spec: { value } };
    this.#history.push({ type, version, object });
  }

  /** Watches from before this version get 410. */
  compact(): void {
    this.#oldest = this.#version;
  }

  #live(): OpenWatch[] {
    return [...this.#watches].filter(({ signal }) => !signal.aborted);
  }

  /** Sends what each open watch has not had. */
  flush(): void {
    for (const watch of this.#live()) {
      if (watch.stalled) continue;
      for (const { type, version, object } of this.#history) {
        if (version <= watch.from || watch.signal.aborted) continue;
        watch.from = version;
        watch.sink.event({ type, object });
      }
    }
  }

  bookmark(): void {
    this.send({ type: 'BOOKMARK', object: { metadata: { resourceVersion: String(this.#version) } } });
  }

  /** To every open watch that is not stalled, as it is. */
  send(event: unknown): void {
    for (const { sink, stalled } of this.#live()) if (!stalled) sink.event(event);
  }

  /** Open watches silently lose what happens until they are renewed. */
  stall(): void {
    for (const watch of this.#live()) watch.stalled = true;
  }

  /** Open watches never send what has happened since their last event. */
  dropPending(): void {
    for (const watch of this.#live()) watch.from = this.#version;
  }

  /** A write that no open watch hears of. */
  putUnseen(name: string, value: string): void {
    this.#append(this.objects().has(name) ? 'MODIFIED' : 'ADDED', name, value);
    this.dropPending();
  }

  endWatches(error?: OperationError): void {
    for (const watch of this.#live()) {
      this.#watches.delete(watch);
      watch.sink.ended(error);
    }
  }

  /** History goes back, as after a restore from a backup. */
  restore(version: number): void {
    this.#history = this.#history.filter((entry) => entry.version <= version);
    this.#version = version;
    this.#oldest = Math.min(this.#oldest, version);
    this.endWatches(reset());
  }

  async list(query: ListQuery): Promise<ListPage> {
    this.queries.push(query);
    await Promise.resolve();
    const fault = this.listFaults.shift();
    switch (fault) {
      case 'gone':
        throw answer(410);
      case 'throttled':
        throw answer(429, 7);
      case 'failed':
        throw answer(500);
      case 'too-large':
        throw new OperationError('Cannot list things: too large', { code: 'TOO_LARGE' });
      case 'stale':
      case undefined:
    }
    const [at = this.#version, from = 0] = (query.continueToken ?? '')
      .split('/')
      .filter((part) => part !== '')
      .map(Number);
    if (query.resourceVersion !== undefined && Number(query.resourceVersion) > this.#version) {
      throw answer(504);
    }
    const version = fault === 'stale' && query.continueToken === undefined ? Math.max(1, at - 5) : at;
    const all = [...this.objects(version).values()];
    const end = query.limit > 0 ? from + query.limit : all.length;
    return {
      items: all.slice(from, end),
      resourceVersion: String(version),
      ...(end < all.length ? { continueToken: `${version}/${end}` } : {}),
    };
  }

  watch(query: WatchQuery, sink: WatchSink, signal: AbortSignal): void {
    this.watchQueries.push(query);
    const from = Number(query.resourceVersion);
    const fault = this.watchFaults.shift();
    queueMicrotask(() => {
      if (signal.aborted || fault === 'hang') return;
      if (fault === 'failed') sink.ended(answer(500));
      else if (from > this.#version) sink.ended(answer(504));
      else if (fault === 'throttled') sink.ended(answer(429, 7));
      else if (fault === 'gone' || from < this.#oldest) {
        sink.event({
          type: 'ERROR',
          object: { code: 410, reason: 'Expired', message: 'too old resource version' },
        });
      } else {
        this.#watches.add({ sink, signal, from, stalled: false });
        sink.opened();
        this.flush();
      }
    });
  }
}

const answer = (status: number, retryAfterSeconds?: number): OperationError =>
  statusError({
    action: 'list things',
    status,
    body: { message: 'as asked' },
    retryAfter: retryAfterSeconds === undefined ? undefined : String(retryAfterSeconds),
  });

export const reset = (): OperationError =>
  new OperationError('Cannot watch things: read ECONNRESET (ECONNRESET)', { code: 'UNAVAILABLE' });

export function peer(
  name: string,
  overrides: Partial<Peer['spec']> & { created?: string; uid?: string } = {},
): Peer {
  const { created, uid, ...spec } = overrides;
  const number = Buffer.from(name).reduce((sum, byte) => (sum * 31 + byte) % 65_000, 7);
  return {
    apiVersion: 'weft.dev/v1alpha1',
    kind: 'Peer',
    metadata: {
      name,
      uid: uid ?? `uid-${name}`,
      resourceVersion: '1',
      creationTimestamp: created ?? '2026-01-01T00:00:00Z',
    },
    spec: {
      nodeUid: `node-${name}`,
      addresses: [`192.168.${number >> 8}.${number & 255}`],
      port: 6784,
      vtepMac: `0e:00:00:00:${(number >> 8).toString(16).padStart(2, '0')}:${(number & 255).toString(16).padStart(2, '0')}`,
      features: ['probe'],
      version: '0.1.0',
      ...spec,
    },
  };
}

export function block(cidr: string, node: string): AddressBlock {
  return {
    apiVersion: 'weft.dev/v1alpha1',
    kind: 'AddressBlock',
    metadata: { name: cidr.replace('/', '-'), uid: `uid-${cidr}`, resourceVersion: '1' },
    spec: { cidr, node, nodeUid: `node-${node}` },
  };
}
