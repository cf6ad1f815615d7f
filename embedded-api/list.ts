// LIST: which state it shows (resourceVersion, resourceVersionMatch, continue) and which part of it (limit, selectors).
// https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions
import { badRequest, expired, invalidListOptions, tooLargeVersion } from './api-failure.ts';
import type { ApiObject } from './api-object.ts';
import type { ListMetadata } from './representation.ts';
import { type ResourceKind, resourceName } from './resource-kinds.ts';
import { type ObjectPredicate, parseFieldSelector, parseLabelSelector } from './selectors.ts';
import type { Storage, StoredObject } from './storage.ts';

export interface ListResult {
  readonly metadata: ListMetadata;
  /** JSON texts as stored. */
  readonly items: readonly string[];
}

interface ContinueToken {
  readonly at: number;
  readonly after: { readonly namespace: string; readonly name: string };
}

/** More than any list; what SQLite takes. */
const MAX_LIMIT = 1_000_000_000;

const EXPIRED_CONTINUE =
  'The provided continue parameter is too old to display a consistent list result. You can start a new list without the ' +
  'continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with ' +
  'the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the ' +
  'first chunk was returned and now may show up in the list.';

/** The same shape as the real server's token: version, resourceVersion (-1: whatever is now), last key. */
const formatContinue = (token: ContinueToken): string =>
  Buffer.from(
    JSON.stringify({
      v: 'meta.k8s.io/v1',
      rv: token.at,
      start: `${token.after.namespace}/${token.after.name}`,
    }),
  ).toString('base64url');

function parseContinue(text: string): ContinueToken {
  try {
    const token = JSON.parse(Buffer.from(text, 'base64url').toString()) as Record<string, unknown>; // as: each field is checked
    const { v, rv, start } = token;
    if (
      v === 'meta.k8s.io/v1' &&
      Number.isSafeInteger(rv) &&
      typeof start === 'string' &&
      start.includes('/')
    ) {
      const slash = start.indexOf('/');
      return { at: Number(rv), after: { namespace: start.slice(0, slash), name: start.slice(slash + 1) } };
    }
  } catch {
    // Answered below, with what is not valid base64 or JSON.
  }
  throw badRequest('continue key is not valid');
}

/** Undefined when it is not set. Throws 400 when it is no number. */
export function parseResourceVersion(text: string | null): number | undefined {
  if (text === null || text === '') return undefined;
  const value = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(value)) {
    throw badRequest(`Invalid value: "${text}": strconv.ParseUint: parsing "${text}": invalid syntax`);
  }
  return value;
}

/** The resourceVersion whose state the list shows. */
function snapshotVersion(query: URLSearchParams, storage: Storage): number {
  const version = parseResourceVersion(query.get('resourceVersion'));
  const match = query.get('resourceVersionMatch');
  if (match !== null && match !== 'Exact' && match !== 'NotOlderThan') {
    throw invalidListOptions('resourceVersionMatch', `"${match}" is not one of Exact, NotOlderThan`);
  }
  if (version === undefined) {
    if (match !== null) {
      throw invalidListOptions(
        'resourceVersionMatch',
        'resourceVersionMatch is forbidden unless resourceVersion is provided',
      );
    }
    return storage.current;
  }
  if (version === 0) {
    if (match === 'Exact') {
      throw invalidListOptions(
        'resourceVersionMatch',
        'resourceVersionMatch "Exact" is forbidden for resourceVersion "0"',
      );
    }
    return storage.current;
  }
  if (version > storage.current) throw tooLargeVersion(version, storage.current);
  const exact = match === 'Exact' || (match === null && query.has('limit'));
  if (!exact) return storage.current;
  if (version < storage.compacted) throw expired(`The resourceVersion for the provided list is too old.`);
  return version;
}

export interface ListScope {
  readonly kind: ResourceKind;
  readonly namespace: string | undefined;
}

/** Both selectors of a request as one predicate; undefined when there is none. */
export function parseSelectors(query: URLSearchParams, kind: ResourceKind): ObjectPredicate | undefined {
  const byLabel = parseLabelSelector(query.get('labelSelector') ?? '');
  const byField = parseFieldSelector(query.get('fieldSelector') ?? '', kind);
  if (byLabel === undefined) return byField;
  return byField === undefined ? byLabel : (object) => byLabel(object) && byField(object);
}

/** `staleAt`: an older state to show instead of the newest (a fault on request). */
export function listObjects(options: {
  storage: Storage;
  scope: ListScope;
  query: URLSearchParams;
  staleAt?: number | undefined;
}): ListResult {
  const { storage, query, scope } = options;
  const limit = parseLimit(query.get('limit'));
  const position = startOf(options);
  const matches = parseSelectors(query, scope.kind);
  const request = { resource: resourceName(scope.kind), namespace: scope.namespace, ...position };
  const unlimited = matches !== undefined || limit === 0;
  const rows = storage.list(unlimited ? request : { ...request, limit: limit + 1 });
  const selected = matches === undefined ? rows : rows.filter((row) => matches(parseStored(row)));
  const page = limit === 0 ? selected : selected.slice(0, limit);
  const items = page.map((row) => row.object);
  const last = page.at(-1);
  if (selected.length <= page.length || last === undefined) {
    return { metadata: { resourceVersion: String(position.at) }, items };
  }
  const after = { namespace: last.namespace, name: last.name };
  const metadata = {
    resourceVersion: String(position.at),
    continue: formatContinue({ at: position.at, after }),
    ...(matches === undefined ? { remainingItemCount: storage.countAfter({ ...request, after }) } : {}),
  };
  return { metadata, items };
}

const parseStored = (row: StoredObject): ApiObject => JSON.parse(row.object) as ApiObject; // as: we wrote it

function parseLimit(text: string | null): number {
  if (text === null || text === '') return 0;
  if (!/^\d+$/.test(text)) throw badRequest(`Invalid value: "${text}": limit must be a number`);
  return Math.min(Number(text), MAX_LIMIT);
}

/** Where the list starts: at a continue token's place and time, or at the beginning of the requested state. */
function startOf(options: { storage: Storage; query: URLSearchParams; staleAt?: number | undefined }): {
  readonly at: number;
  readonly after?: ContinueToken['after'];
} {
  const { storage, query, staleAt } = options;
  const text = query.get('continue');
  if (text === null || text === '') {
    const at = snapshotVersion(query, storage);
    return { at: staleAt === undefined ? at : Math.max(Math.min(staleAt, at), storage.compacted) };
  }
  const version = parseResourceVersion(query.get('resourceVersion'));
  if (version !== undefined && version !== 0) {
    throw badRequest('specifying resource version is not allowed when using continue');
  }
  const token = parseContinue(text);
  if (token.at === -1) return { at: storage.current, after: token.after };
  if (token.at < storage.compacted || token.at > storage.current) {
    throw expired(EXPIRED_CONTINUE, formatContinue({ at: -1, after: token.after }));
  }
  return token;
}
