// One kind of resource as a list in pages and a stream of watch events: the port that the reflector drives, and its adapter on HTTP.
import { OperationError } from '../operation-error.ts';
import { isRecord } from './api-status.ts';
import type { HttpClient } from './http.ts';
import { createLineSplitter } from './line-splitter.ts';

export interface ListQuery {
  /** Objects in a page; 0 = all at once. */
  readonly limit: number;
  readonly continueToken?: string;
  /** `0`: whatever the server has at hand. A version: not older than that. Absent: the newest. */
  readonly resourceVersion?: string;
}

export interface ListPage {
  readonly items: readonly unknown[];
  readonly resourceVersion: string;
  readonly continueToken?: string;
}

export interface WatchQuery {
  readonly resourceVersion: string;
  readonly timeoutSeconds: number;
}

export interface WatchSink {
  /** The server has accepted the watch. */
  opened(): void;
  /** One event as it came, parsed but not checked. */
  event(value: unknown): void;
  /** Once, unless the caller gave up; undefined when the server ended it in order. */
  ended(error: OperationError | undefined): void;
}

export interface ResourceSource {
  /** Completes "Cannot list …". */
  readonly plural: string;
  /** Throws OperationError with a code of ApiErrorCode; TOO_LARGE asks for a smaller limit. */
  list(query: ListQuery, signal: AbortSignal): Promise<ListPage>;
  watch(query: WatchQuery, sink: WatchSink, signal: AbortSignal): void;
}

/** Above anything that etcd stores (1.5 MiB), written as JSON. */
const LINE_BYTES = 8 << 20;
const LIST_DEADLINE_MS = 30_000;

export function createResourceSource(options: {
  http: HttpClient;
  path: string;
  plural: string;
}): ResourceSource {
  const { http, path, plural } = options;
  return {
    plural,
    async list(query, signal) {
      const action = `list ${plural}`;
      const parameters = new URLSearchParams();
      if (query.limit > 0) parameters.set('limit', String(query.limit));
      if (query.continueToken !== undefined) parameters.set('continue', query.continueToken);
      else if (query.resourceVersion !== undefined) {
        parameters.set('resourceVersion', query.resourceVersion);
        if (query.resourceVersion !== '0') parameters.set('resourceVersionMatch', 'NotOlderThan');
      }
      const text = parameters.toString();
      return pageOf(
        await http.json({
          action,
          method: 'GET',
          path: text === '' ? path : `${path}?${text}`,
          deadlineMs: LIST_DEADLINE_MS,
          signal,
        }),
        action,
      );
    },

    watch(query, sink, signal) {
      const parameters = new URLSearchParams({
        watch: 'true',
        allowWatchBookmarks: 'true',
        resourceVersion: query.resourceVersion,
        timeoutSeconds: String(query.timeoutSeconds),
      });
      const action = `watch ${plural}`;
      const given = new AbortController();
      const abort = AbortSignal.any([signal, given.signal]);
      const fail = (reason: string): void => {
        if (abort.aborted) return;
        given.abort();
        sink.ended(new OperationError(`Cannot ${action}: ${reason}`, { code: 'MALFORMED' }));
      };
      const lines = createLineSplitter({
        maxBytes: LINE_BYTES,
        line(text) {
          if (abort.aborted) return;
          const event = parsed(text);
          if (event === undefined) fail('a line of the answer is not a JSON object');
          else sink.event(event);
        },
      });
      http
        .stream(
          { action, path: `${path}?${parameters.toString()}`, signal: abort },
          {
            chunk(bytes) {
              if (!lines.push(bytes)) fail(`a line of the answer is longer than ${LINE_BYTES} bytes`);
            },
            end(error) {
              if (error === undefined && lines.pendingBytes > 0) fail('its answer ends within a line');
              else sink.ended(error);
            },
          },
        )
        .then(
          () => {
            if (!abort.aborted) sink.opened();
          },
          (error: OperationError) => {
            if (!abort.aborted) sink.ended(error);
          },
        );
    },
  };
}

function pageOf(body: unknown, action: string): ListPage {
  const metadata = isRecord(body) ? body['metadata'] : undefined;
  const items = isRecord(body) ? (body['items'] ?? []) : undefined;
  const resourceVersion = isRecord(metadata) ? metadata['resourceVersion'] : undefined;
  const continueToken = isRecord(metadata) ? metadata['continue'] : undefined;
  if (!Array.isArray(items) || typeof resourceVersion !== 'string' || resourceVersion === '') {
    throw new OperationError(`Cannot ${action}: the answer is not a list`, { code: 'MALFORMED' });
  }
  return {
    items,
    resourceVersion,
    ...(typeof continueToken === 'string' && continueToken !== '' ? { continueToken } : {}),
  };
}

function parsed(text: string): unknown {
  try {
    const value: unknown = JSON.parse(text);
    return isRecord(value) ? value : undefined;
  } catch {
    return undefined;
  }
}
