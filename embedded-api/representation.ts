// The forms in which an object leaves the server, chosen by Accept: itself, a row of a Table, or its metadata alone
// (meta.k8s.io/v1). Lists and watch events are built from the same pieces.
import { ApiFailure } from './api-failure.ts';
import type { ApiObject, Json } from './api-object.ts';
import { type ResourceKind, apiVersionOf } from './resource-kinds.ts';
import { tableColumns } from './table-columns.ts';

export type Representation =
  | { readonly form: 'object' }
  | { readonly form: 'metadata' }
  | { readonly form: 'table'; readonly include: 'None' | 'Metadata' | 'Object' };

export interface ListMetadata {
  readonly resourceVersion: string;
  readonly continue?: string;
  readonly remainingItemCount?: number;
}

/** Picks the first form in Accept that the server has. Throws 406 when there is none. */
export function negotiate(accept: string | undefined, includeObject: string | null): Representation {
  const wanted = (accept === undefined || accept === '' ? '*/*' : accept).split(',');
  for (const item of wanted) {
    const [type = '', ...parameters] = item.split(';').map((part) => part.trim());
    if (!['application/json', 'application/*', '*/*'].includes(type)) continue;
    const as = parameters.find((parameter) => parameter.startsWith('as='))?.slice(3);
    const known = parameters.includes('g=meta.k8s.io') && parameters.includes('v=v1');
    if (as === undefined) return { form: 'object' };
    if (as === 'Table' && known) {
      const include = includeObject === 'None' || includeObject === 'Object' ? includeObject : 'Metadata';
      return { form: 'table', include };
    }
    if (known && (as === 'PartialObjectMetadata' || as === 'PartialObjectMetadataList'))
      return { form: 'metadata' };
  }
  throw new ApiFailure({
    code: 406,
    reason: 'NotAcceptable',
    message: 'only the following media types are accepted: application/json, application/json;stream=watch',
  });
}

const metadataOnly = (object: ApiObject): object => ({
  kind: 'PartialObjectMetadata',
  apiVersion: 'meta.k8s.io/v1',
  metadata: object.metadata,
});

/** `withColumns` is false for the later events of a watch, as the real server does. */
function table(options: {
  kind: ResourceKind;
  include: 'None' | 'Metadata' | 'Object';
  objects: readonly ApiObject[];
  metadata: ListMetadata | { readonly resourceVersion?: string };
  nowMs: number;
  withColumns?: boolean;
}): object {
  const columns = tableColumns(options.kind);
  const embedded = (object: ApiObject): object | null => {
    if (options.include === 'None') return null;
    return options.include === 'Object' ? object : metadataOnly(object);
  };
  return {
    kind: 'Table',
    apiVersion: 'meta.k8s.io/v1',
    metadata: options.metadata,
    columnDefinitions:
      options.withColumns === false
        ? null
        : columns.map(({ name, type, format, description, priority }) => ({
            name,
            type,
            format,
            description,
            priority,
          })),
    rows: options.objects.map((object) => ({
      cells: columns.map((column): Json => column.cell(object, options.nowMs)),
      object: embedded(object),
    })),
  };
}

export function renderObject(options: {
  kind: ResourceKind;
  representation: Representation;
  object: ApiObject;
  nowMs: number;
  withColumns?: boolean;
}): object {
  const { representation, object } = options;
  switch (representation.form) {
    case 'object':
      return object;
    case 'metadata':
      return metadataOnly(object);
    case 'table': {
      const { resourceVersion } = object.metadata;
      return table({
        ...options,
        include: representation.include,
        objects: [object],
        metadata: resourceVersion === undefined ? {} : { resourceVersion },
      });
    }
    default:
      return representation satisfies never;
  }
}

/** The list as JSON text. `items` are the stored texts, which the plain form passes on unparsed. */
export function renderList(options: {
  kind: ResourceKind;
  representation: Representation;
  items: readonly string[];
  metadata: ListMetadata;
  nowMs: number;
}): string {
  const { kind, representation, items, metadata } = options;
  const parse = (text: string): ApiObject => JSON.parse(text) as ApiObject; // as: we wrote it
  switch (representation.form) {
    case 'object':
      return (
        `{"kind":"${kind.kind}List","apiVersion":"${apiVersionOf(kind)}","metadata":${JSON.stringify(metadata)},` +
        `"items":[${items.join(',')}]}`
      );
    case 'metadata':
      return JSON.stringify({
        kind: 'PartialObjectMetadataList',
        apiVersion: 'meta.k8s.io/v1',
        metadata,
        items: items.map((text) => metadataOnly(parse(text))),
      });
    case 'table':
      return JSON.stringify(
        table({
          ...options,
          include: representation.include,
          objects: items.map((text) => parse(text)),
          metadata,
        }),
      );
    default:
      return representation satisfies never;
  }
}
