// Keeps a Replica of one kind in step with the API server: list, watch, and again, for as long as it takes. It never gives up.
//
//   list ──accepted──▶ watch ──ended in order──▶ watch        (audit due ▶ list)
//    ▲ │                 ├──silence, reset, 5xx─▶ wait ▶ watch
//    │ └─failed, stale─▶ wait                                  wait = jittered backoff, or Retry-After
//    └───────────────────┴──410, suspicious event─▶ wait ▶ list
//
// Invariant: nothing is reported gone because the server is silent, fails, or answers from an older state.
import { OperationError } from '../operation-error.ts';
import { statusError } from './api-status.ts';
import type { Clock } from './clock.ts';
import { type Decoder, type Refusal, Replica } from './replica.ts';
import { PagedList, type WholeList } from './paged-list.ts';
import type { ResourceSource } from './resource-source.ts';
import {
  HEALTHY_MS,
  REWIND_AFTER_LISTS,
  REWIND_AFTER_MS,
  auditMs,
  awaitsBookmarks,
  backoffMs,
  silenceBoundMs,
  watchSeconds,
} from './reflector-timing.ts';

export interface ReflectorEvents<T> {
  /** Everything there is, after a list. */
  synced(objects: ReadonlyMap<string, T>, resourceVersion: string): void;
  /** After one watch event; undefined = deleted, or refused from now on. */
  changed(name: string, object: T | undefined, resourceVersion: string): void;
  /** A list was older than what is known; it was ignored. */
  stale(reason: string): void;
  /** Once per name and reason. */
  refused?(refusal: Refusal): void;
  /** A list or watch failed; it is tried again. */
  failed?(error: OperationError): void;
  /** The server accepted a watch: what it says from now on is heard. */
  watching?(): void;
}

export interface ReflectorState {
  readonly phase: 'listing' | 'watching' | 'waiting' | 'stopped';
  /** Whether a list was accepted since the start. */
  readonly synced: boolean;
  /** The copy follows the server: also while a watch that ended in order or kept silent is renewed, not after a failure or a stale list. */
  readonly isFollowing: boolean;
  readonly objects: number;
  readonly resourceVersion: string | undefined;
  /** Since the server last said something that proves the copy current; undefined before the first list. */
  readonly lastSyncAgeMs: number | undefined;
  /** Since the watch under way was opened; undefined while none is. */
  readonly watchAgeMs: number | undefined;
  /** Lists accepted after the first. */
  readonly relists: number;
  /** Watches started after the first. */
  readonly reconnects: number;
  readonly stalls: number;
  readonly staleLists: number;
  /** Events that only a list could explain. */
  readonly suspicions: number;
  readonly rewinds: number;
  /** Names that are refused now, with the reason. */
  readonly refused: ReadonlyMap<string, string>;
  /** Undefined while all is well. */
  readonly lastError: OperationError | undefined;
}

export interface Reflector {
  state(): ReflectorState;
  /** Ends it; no event is reported afterwards. */
  stop(): void;
}

export interface ReflectorOptions<T> {
  readonly source: ResourceSource;
  readonly decode: Decoder<T>;
  readonly events: ReflectorEvents<T>;
  readonly clock: Clock;
  /** 0 ≤ x < 1. */
  readonly random: () => number;
  /** Resource version of a snapshot of this same cluster. */
  readonly floor?: string;
}

/** Starts at once. */
export function startReflector<T>(options: ReflectorOptions<T>): Reflector {
  const running = new Running(options);
  void running.run(); // Own bugs in a callback end the process, as unhandled rejections do.
  return { state: () => running.state(), stop: () => running.stop() };
}

type WatchEnd =
  | { readonly kind: 'in order' }
  | { readonly kind: 'stalled' }
  | { readonly kind: 'stopped' }
  | { readonly kind: 'failed'; readonly error: OperationError }
  /** The watch cannot be resumed from its version. */
  | { readonly kind: 'list'; readonly error: OperationError };

class Running<T> {
  readonly #options: ReflectorOptions<T>;
  readonly #stopping = new AbortController();
  readonly #replica: Replica<T>;
  readonly #lists: PagedList;
  #phase: ReflectorState['phase'] = 'listing';
  #listDue = true;
  #auditAt = 0;
  #failures = 0;
  #retryAfterMs = 0;
  #isFollowing = false;
  #lastSyncAt: number | undefined;
  #lastError: OperationError | undefined;
  #watchOpenedAt: number | undefined;
  #staleSince: number | undefined;
  #staleInRow = 0;
  readonly #count = { lists: 0, watches: 0, stalls: 0, staleLists: 0, suspicions: 0, rewinds: 0 };

  constructor(options: ReflectorOptions<T>) {
    this.#options = options;
    this.#lists = new PagedList(options.source);
    this.#replica = new Replica({
      decode: options.decode,
      report: (refusal) => options.events.refused?.(refusal),
      ...(options.floor === undefined ? {} : { floor: options.floor }),
    });
  }

  state(): ReflectorState {
    const { lists, watches, ...counts } = this.#count;
    return {
      ...counts,
      phase: this.#stopped ? 'stopped' : this.#phase,
      synced: lists > 0,
      isFollowing: this.#isFollowing,
      objects: this.#replica.size,
      resourceVersion: this.#replica.resourceVersion,
      lastSyncAgeMs: this.#ageOf(this.#lastSyncAt),
      watchAgeMs: this.#ageOf(this.#watchOpenedAt),
      relists: Math.max(0, lists - 1),
      reconnects: Math.max(0, watches - 1),
      refused: new Map(this.#replica.refused),
      lastError: this.#lastError,
    };
  }

  stop(): void {
    this.#stopping.abort();
  }

  async run(): Promise<void> {
    while (!this.#stopped) {
      const wait = this.#listDue ? await this.#listOnce() : await this.#watchOnce();
      if (wait && !this.#stopped) await this.#wait();
    }
  }

  get #stopped(): boolean {
    return this.#stopping.signal.aborted;
  }

  #now(): number {
    return this.#options.clock.now();
  }

  #ageOf(at: number | undefined): number | undefined {
    return at === undefined ? undefined : this.#now() - at;
  }

  /** Whether to wait before the next step. */
  async #listOnce(): Promise<boolean> {
    this.#phase = 'listing';
    let list: WholeList;
    try {
      list = await this.#lists.fetch(this.#replica.resourceVersion, this.#stopping.signal);
    } catch (error) {
      if (!(error instanceof OperationError)) throw error;
      if (!this.#stopped) this.#failed(error);
      return true;
    }
    if (this.#stopped) return true;
    this.#isFollowing = this.#accept(list);
    if (!this.#isFollowing) return true;
    this.#count.lists++;
    this.#listDue = false;
    this.#staleSince = undefined;
    this.#staleInRow = 0;
    this.#lastError = undefined;
    this.#auditAt = this.#now() + auditMs(this.#replica.size, this.#options.random);
    this.#lastSyncAt = this.#now();
    this.#options.events.synced(this.#replica.objects(), list.resourceVersion);
    return false;
  }

  #accept({ items, resourceVersion, consistent }: WholeList): boolean {
    if (this.#replica.acceptList(items, resourceVersion)) return true;
    const { events, source } = this.#options;
    const known = this.#replica.resourceVersion;
    this.#count.staleLists++;
    this.#failures++;
    this.#lists.insistOnNewest();
    if (consistent) {
      this.#staleInRow++;
      this.#staleSince ??= this.#now();
    }
    if (!this.#historyWentBack()) {
      events.stale(`list of ${source.plural} at ${resourceVersion} is older than ${known}: ignored`);
      return false;
    }
    this.#count.rewinds++;
    this.#replica.rewind();
    events.stale(`history of ${source.plural} went back from ${known} to ${resourceVersion}: believed now`);
    return this.#replica.acceptList(items, resourceVersion);
  }

  /** The newest state has been older than what is known, time and again: etcd was restored from a backup. */
  #historyWentBack(): boolean {
    if (this.#staleSince === undefined || this.#staleInRow < REWIND_AFTER_LISTS) return false;
    return this.#now() - this.#staleSince >= REWIND_AFTER_MS;
  }

  async #watchOnce(): Promise<boolean> {
    this.#phase = 'watching';
    this.#count.watches++;
    const startedAt = this.#now();
    const end = await this.#watch();
    if (end.kind === 'stopped') return false;
    const healthy = this.#now() - startedAt >= HEALTHY_MS;
    if (healthy) this.#failures = 0;
    if (this.#now() >= this.#auditAt) this.#listDue = true;
    switch (end.kind) {
      case 'in order':
        if (healthy) return false;
        this.#failures++; // Closed at once: never in a tight loop.
        return true;
      case 'stalled':
        this.#count.stalls++;
        this.#failures++;
        return true;
      case 'list':
        this.#listDue = true;
        this.#failed(end.error);
        return true;
      case 'failed':
        this.#failed(end.error);
        return true;
      default:
        return end satisfies never;
    }
  }

  #watch(): Promise<WatchEnd> {
    const { clock, random, source, events } = this.#options;
    const given = new AbortController();
    const signal = AbortSignal.any([this.#stopping.signal, given.signal]);
    return new Promise((resolve) => {
      let lastHeardAt = this.#now();
      let cancelTimer = (): void => {};
      const finish = (end: WatchEnd): void => {
        this.#stopping.signal.removeEventListener('abort', stopped);
        cancelTimer();
        this.#watchOpenedAt = undefined;
        given.abort();
        resolve(end);
      };
      const stopped = (): void => finish({ kind: 'stopped' });
      const listen = (): void => {
        const silence = this.#now() - lastHeardAt;
        const bound = silenceBoundMs(this.#replica.size);
        const untilAuditMs = this.#auditAt - this.#now();
        if (silence >= bound) {
          if (this.#watchOpenedAt === undefined) this.#isFollowing = false; // it never answered
          finish({ kind: 'stalled' });
        } else if (untilAuditMs <= 0) finish({ kind: 'in order' });
        else cancelTimer = clock.setTimer(Math.min(bound - silence, untilAuditMs), listen);
      };
      this.#stopping.signal.addEventListener('abort', stopped);
      listen();
      source.watch(
        { resourceVersion: this.#replica.resourceVersion ?? '0', timeoutSeconds: watchSeconds(random) },
        {
          opened: () => {
            lastHeardAt = this.#now();
            this.#watchOpenedAt = lastHeardAt;
            if (!awaitsBookmarks(this.#replica.size)) this.#lastSyncAt = lastHeardAt;
            this.#isFollowing = true;
            this.#lastError = undefined;
            events.watching?.();
          },
          event: (value) => {
            if (signal.aborted) return;
            lastHeardAt = this.#now();
            const outcome = this.#replica.applyEvent(value);
            switch (outcome.kind) {
              case 'error':
                finish(this.#serverEnded(outcome));
                return;
              case 'suspicious':
                finish(this.#suspicious(outcome.reason));
                return;
              case 'changed':
                events.changed(outcome.name, outcome.object, outcome.resourceVersion);
                break;
              case 'nothing':
            }
            this.#lastSyncAt = lastHeardAt;
          },
          ended: (error) => {
            if (signal.aborted) return;
            if (error === undefined) finish({ kind: 'in order' });
            else finish(failedWatch(error));
          },
        },
        signal,
      );
    });
  }

  #serverEnded(outcome: { status: number; body: unknown }): WatchEnd {
    return failedWatch(statusError({ action: `watch ${this.#options.source.plural}`, ...outcome }));
  }

  #suspicious(reason: string): WatchEnd {
    const { plural } = this.#options.source;
    this.#count.suspicions++;
    this.#lists.insistOnNewest();
    const error = new OperationError(`Cannot follow the watch of ${plural}: ${reason}`, {
      code: 'MALFORMED',
    });
    return { kind: 'list', error };
  }

  #failed(error: OperationError): void {
    this.#failures++;
    this.#isFollowing = false;
    this.#lastError = error;
    const retryAfterMs = error.context['retryAfterMs'];
    this.#retryAfterMs = typeof retryAfterMs === 'number' ? retryAfterMs : 0;
    this.#options.events.failed?.(error);
  }

  #wait(): Promise<void> {
    this.#phase = 'waiting';
    const { clock, random } = this.#options;
    const backoff = backoffMs({ failures: Math.max(1, this.#failures), objects: this.#replica.size, random });
    // Retry-After is a lower bound, spread upwards so that those who were turned away together do not return together.
    const delayMs = Math.max(backoff, this.#retryAfterMs * (1 + random() / 4));
    this.#retryAfterMs = 0;
    return new Promise((resolve) => {
      const done = (): void => {
        cancel();
        this.#stopping.signal.removeEventListener('abort', done);
        resolve();
      };
      const cancel = clock.setTimer(delayMs, done);
      this.#stopping.signal.addEventListener('abort', done);
    });
  }
}

/** 410: the version is too old; 504: the server has not come to it (its history may have gone back); otherwise a line was lost. */
function failedWatch(error: OperationError): WatchEnd {
  const list = LIST_CODES.has(error.code) || error.context['status'] === 504;
  return { kind: list ? 'list' : 'failed', error };
}

const LIST_CODES = new Set(['GONE', 'INVALID', 'MALFORMED']);
