// The kinds that the server knows, as one table: everything else asks here and names no kind itself.
import {
  ADDRESS_BLOCK,
  type CustomKind,
  PEER,
  type PrinterColumn,
  type Schema,
} from '../proto/api-schema.ts';
import { API_GROUP, API_VERSION } from '../proto/api-kinds.ts';

export type ApiVerb =
  | 'get'
  | 'list'
  | 'watch'
  | 'create'
  | 'update'
  | 'patch'
  | 'delete'
  | 'deletecollection';

export interface ResourceKind {
  /** '' for the core group. */
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  readonly plural: string;
  readonly singular: string;
  readonly shortNames: readonly string[];
  readonly namespaced: boolean;
  readonly verbs: readonly ApiVerb[];
  /** Custom kinds are validated and pruned with it; core kinds are kept as they come. */
  readonly schema: Schema | undefined;
  /** Custom kinds print these; core kinds have their own in table-columns.ts. */
  readonly columns: readonly PrinterColumn[] | undefined;
  /** Whether the kind has a /status subresource (and its main resource leaves `status` alone). */
  readonly statusSubresource: boolean;
  readonly category?: string;
}

const ALL_VERBS: readonly ApiVerb[] = [
  'create',
  'delete',
  'deletecollection',
  'get',
  'list',
  'patch',
  'update',
  'watch',
];

const custom = (kind: CustomKind): ResourceKind => ({
  group: API_GROUP,
  version: API_VERSION,
  kind: kind.kind,
  plural: kind.plural,
  singular: kind.singular,
  shortNames: kind.shortNames,
  namespaced: false,
  verbs: ALL_VERBS,
  schema: kind.schema,
  columns: kind.columns,
  statusSubresource: false,
});

const core = (
  options: Pick<ResourceKind, 'kind' | 'plural' | 'singular' | 'shortNames' | 'namespaced'> &
    Partial<ResourceKind>,
): ResourceKind => ({
  group: '',
  version: 'v1',
  verbs: ALL_VERBS,
  schema: undefined,
  columns: undefined,
  statusSubresource: false,
  ...options,
});

export const RESOURCE_KINDS: readonly ResourceKind[] = [
  core({ kind: 'Event', plural: 'events', singular: 'event', shortNames: ['ev'], namespaced: true }),
  core({
    kind: 'Namespace',
    plural: 'namespaces',
    singular: 'namespace',
    shortNames: ['ns'],
    namespaced: false,
    verbs: ['get', 'list', 'watch'],
  }),
  core({
    kind: 'Node',
    plural: 'nodes',
    singular: 'node',
    shortNames: ['no'],
    namespaced: false,
    statusSubresource: true,
  }),
  custom(ADDRESS_BLOCK),
  custom(PEER),
];

export const apiVersionOf = (kind: ResourceKind): string =>
  kind.group === '' ? kind.version : `${kind.group}/${kind.version}`;

/** `peers.weft.dev`, or `nodes` in the core group: the real server's name in messages, and the key in storage. */
export const resourceName = (kind: ResourceKind): string =>
  kind.group === '' ? kind.plural : `${kind.plural}.${kind.group}`;

export const findKind = (group: string, version: string, plural: string): ResourceKind | undefined =>
  RESOURCE_KINDS.find((kind) => kind.group === group && kind.version === version && kind.plural === plural);

export const findByGroupKind = (apiVersion: string, kindName: string): ResourceKind | undefined =>
  RESOURCE_KINDS.find((kind) => apiVersionOf(kind) === apiVersion && kind.kind === kindName);
