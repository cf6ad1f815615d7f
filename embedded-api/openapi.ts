// OpenAPI v3 documents of the two group versions: enough for `kubectl explain` and for kubectl to learn that the server validates
// fields itself (the parameter fieldValidation of PATCH).
import { createHash } from 'node:crypto';

import type { JsonObject } from './api-object.ts';
import { RESOURCE_KINDS, type ResourceKind, apiVersionOf } from './resource-kinds.ts';

const META = 'io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta';
const TEXTS = { type: 'object', additionalProperties: { type: 'string' } };

const OBJECT_META: JsonObject = {
  type: 'object',
  description: "Standard object's metadata.",
  properties: {
    name: { type: 'string', description: 'Name must be unique within a namespace.' },
    namespace: {
      type: 'string',
      description: 'Namespace defines the space within which each name must be unique.',
    },
    generateName: { type: 'string', description: 'A prefix for a name that the server makes unique.' },
    uid: { type: 'string', description: 'UID is the unique in time and space value for this object.' },
    resourceVersion: {
      type: 'string',
      description: 'Opaque version of the object, for concurrency and watches.',
    },
    generation: { type: 'integer', format: 'int64', description: 'Counts the changes of the desired state.' },
    creationTimestamp: { type: 'string', format: 'date-time', description: 'When the object was created.' },
    deletionTimestamp: { type: 'string', format: 'date-time', description: 'When deletion was asked for.' },
    labels: { ...TEXTS, description: 'Keys and values to organize and select objects.' },
    annotations: { ...TEXTS, description: 'Arbitrary keys and values.' },
    finalizers: {
      type: 'array',
      items: { type: 'string' },
      description: 'What must happen before the object goes.',
    },
    ownerReferences: {
      type: 'array',
      description: 'Objects that this object depends on: when all are gone it is collected.',
      items: {
        type: 'object',
        required: ['apiVersion', 'kind', 'name', 'uid'],
        properties: {
          apiVersion: { type: 'string', description: 'API version of the owner.' },
          kind: { type: 'string', description: 'Kind of the owner.' },
          name: { type: 'string', description: 'Name of the owner.' },
          uid: { type: 'string', description: 'UID of the owner.' },
          controller: { type: 'boolean', description: 'Whether the owner manages the object.' },
          blockOwnerDeletion: { type: 'boolean', description: 'Whether the owner must wait for the object.' },
        },
      },
    },
  },
};

const schemaName = (kind: ResourceKind): string =>
  kind.group === ''
    ? `io.k8s.api.core.${kind.version}.${kind.kind}`
    : `dev.weft.${kind.version}.${kind.kind}`;

const identity = ({ group, version, kind }: ResourceKind): JsonObject => ({ group, kind, version });

function kindSchema(kind: ResourceKind): JsonObject {
  const described = kind.schema as unknown as JsonObject | undefined; // as: a schema is JSON
  const properties = described?.['properties'] as JsonObject | undefined; // as: of a root schema
  return {
    type: 'object',
    description: `${kind.kind} as the server keeps it.`,
    'x-kubernetes-preserve-unknown-fields': described === undefined,
    ...described,
    properties: {
      apiVersion: { type: 'string', description: 'APIVersion defines the versioned schema of this object.' },
      kind: { type: 'string', description: 'Kind is the REST resource that this object represents.' },
      ...properties,
      metadata: {
        description: "Standard object's metadata.",
        allOf: [{ $ref: `#/components/schemas/${META}` }],
        default: {},
      },
    },
    'x-kubernetes-group-version-kind': [identity(kind)],
  };
}

const queryParameter = (name: string): JsonObject => ({
  name,
  in: 'query',
  schema: { type: 'string', uniqueItems: true },
});

function operation(kind: ResourceKind, action: string): JsonObject {
  const content = { 'application/json': { schema: { $ref: `#/components/schemas/${schemaName(kind)}` } } };
  const writes = ['post', 'put', 'patch'].includes(action);
  return {
    operationId: `${action}${kind.kind}`,
    ...(writes
      ? {
          parameters: [
            'dryRun',
            'fieldManager',
            'fieldValidation',
            ...(action === 'patch' ? ['force'] : []),
          ].map(queryParameter),
        }
      : {}),
    responses: { '200': { description: 'OK', content } },
    'x-kubernetes-action': action,
    'x-kubernetes-group-version-kind': identity(kind),
  };
}

function kindPaths(kind: ResourceKind): Readonly<Record<string, JsonObject>> {
  const root = kind.group === '' ? `/api/${kind.version}` : `/apis/${apiVersionOf(kind)}`;
  const collection = kind.namespaced
    ? `${root}/namespaces/{namespace}/${kind.plural}`
    : `${root}/${kind.plural}`;
  return {
    [collection]: { get: operation(kind, 'list'), post: operation(kind, 'post') },
    [`${collection}/{name}`]: {
      get: operation(kind, 'get'),
      put: operation(kind, 'put'),
      patch: operation(kind, 'patch'),
      delete: operation(kind, 'delete'),
    },
  };
}

function groupVersionDocument(kinds: readonly ResourceKind[]): JsonObject {
  return {
    openapi: '3.0.0',
    info: { title: 'Weft embedded API', version: 'v1.33.0' },
    paths: Object.assign({}, ...kinds.map(kindPaths)) as JsonObject, // as: paths by kind
    components: {
      schemas: {
        [META]: OBJECT_META,
        ...Object.fromEntries(kinds.map((kind) => [schemaName(kind), kindSchema(kind)])),
      },
    },
  };
}

const documents = new Map<string, string>();
for (const apiVersion of new Set(RESOURCE_KINDS.map(apiVersionOf))) {
  const kinds = RESOURCE_KINDS.filter((kind) => apiVersionOf(kind) === apiVersion);
  const path = kinds[0]?.group === '' ? `/openapi/v3/api/${apiVersion}` : `/openapi/v3/apis/${apiVersion}`;
  documents.set(path, JSON.stringify(groupVersionDocument(kinds)));
}
const hash = (text: string): string =>
  createHash('sha256').update(text).digest('hex').slice(0, 32).toUpperCase();
const index = [...documents].map(([path, text]): [string, object] => [
  path.slice('/openapi/v3/'.length),
  { serverRelativeURL: `${path}?hash=${hash(text)}` },
]);
documents.set('/openapi/v3', JSON.stringify({ paths: Object.fromEntries(index) }));

/** The OpenAPI v3 document at a path, as JSON text. */
export const openApiV3 = (path: string): string | undefined => documents.get(path);
