// What stands between a request's body and storage: type, metadata that the server owns, names, unknown fields, schema, rules.
// Pure: the answer is the object to store, or an ApiFailure is thrown. resourceVersion is left to storage.
import { prune, unknownFields, validate, type Violation } from '../proto/api-validation.ts';
import { badRequest, invalid } from './api-failure.ts';
import {
  type ApiObject,
  type Json,
  type JsonObject,
  type Metadata,
  isJsonObject,
  ownField,
} from './api-object.ts';
import { type ResourceKind, apiVersionOf } from './resource-kinds.ts';
import { applyRules } from './transition-rules.ts';

/** What to do about fields that the schema does not know; they are dropped in any case. */
export type FieldValidation = 'Ignore' | 'Warn' | 'Strict';

export interface Admitted {
  readonly object: ApiObject;
  readonly warnings: readonly string[];
}

const SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const SUBDOMAIN_MESSAGE =
  "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an " +
  "alphanumeric character (e.g. 'example.com', regex used for validation is " +
  "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

/** The body as an object of this kind, or 400. Core kinds may leave apiVersion and kind out. */
export function readObject(kind: ResourceKind, body: Json | undefined): JsonObject {
  if (body === undefined) throw badRequest('unable to decode: the request has no body');
  if (!isJsonObject(body))
    throw badRequest(`the object provided is unrecognized (must be of type ${kind.kind})`);
  const apiVersion = ownField(body, 'apiVersion') ?? (kind.group === '' ? apiVersionOf(kind) : undefined);
  const kindName = ownField(body, 'kind') ?? (kind.group === '' ? kind.kind : undefined);
  if (kindName === undefined) throw badRequest(`Object 'Kind' is missing in '${JSON.stringify(body)}'`);
  if (apiVersion !== apiVersionOf(kind)) {
    throw badRequest(
      `the API version in the data (${JSON.stringify(apiVersion ?? '')}) does not match the expected API version (${apiVersionOf(kind)})`,
    );
  }
  if (kindName !== kind.kind) {
    throw badRequest(
      `${kind.kind} in version "${kind.version}" cannot be handled as ${JSON.stringify(kindName)}: kinds do not match`,
    );
  }
  return { ...body, apiVersion, kind: kindName };
}

/** The fields of metadata that the caller decides. Throws 400 when one has the wrong type. */
export function readMetadata(body: JsonObject): Omit<Metadata, 'uid' | 'creationTimestamp' | 'name'> & {
  readonly name?: string;
  readonly uid?: string;
} {
  const metadata = ownField(body, 'metadata') ?? {};
  if (!isJsonObject(metadata)) throw badRequest('metadata must be an object');
  const text = (name: string): Record<string, string> => {
    const value = ownField(metadata, name);
    if (value === undefined || value === null || value === '') return {};
    if (typeof value !== 'string') throw wrongType(name, 'string');
    return { [name]: value };
  };
  const texts = (name: string): Record<string, Readonly<Record<string, string>>> => {
    const value = ownField(metadata, name);
    if (value === undefined || value === null) return {};
    if (!isJsonObject(value) || !Object.values(value).every((item) => typeof item === 'string')) {
      throw wrongType(name, 'map[string]string');
    }
    return Object.keys(value).length === 0 ? {} : { [name]: value as Readonly<Record<string, string>> }; // as: checked above
  };
  const list = (name: string, valid: (item: Json) => boolean): Record<string, readonly Json[]> => {
    const value = ownField(metadata, name);
    if (value === undefined || value === null) return {};
    if (!Array.isArray(value) || !value.every((item: Json) => valid(item))) throw wrongType(name, 'list');
    return value.length === 0 ? {} : { [name]: value };
  };
  return {
    ...text('name'),
    ...text('namespace'),
    ...text('generateName'),
    ...text('uid'),
    ...text('resourceVersion'),
    ...texts('labels'),
    ...texts('annotations'),
    ...list('ownerReferences', isOwnerReference),
    ...list('finalizers', (item) => typeof item === 'string'),
  };
}

const wrongType = (name: string, expected: string): Error =>
  badRequest(`json: cannot unmarshal into Go struct field ObjectMeta.metadata.${name} of type ${expected}`);

const isOwnerReference = (item: Json): boolean =>
  isJsonObject(item) &&
  ['apiVersion', 'kind', 'name', 'uid'].every((name) => {
    const value = ownField(item, name);
    return typeof value === 'string' && value !== '';
  });

/** Prunes and validates an object whose metadata is already the server's. */
export function admit(options: {
  kind: ResourceKind;
  object: ApiObject;
  previous: ApiObject | undefined;
  fieldValidation: FieldValidation;
}): Admitted {
  const { kind, object, previous, fieldValidation } = options;
  const { name } = object.metadata;
  const violations: Violation[] = [];
  if (name.length > 253 || !SUBDOMAIN.test(name)) {
    const message = `Invalid value: ${JSON.stringify(name)}: ${SUBDOMAIN_MESSAGE}`;
    violations.push({ path: 'metadata.name', reason: 'FieldValueInvalid', message });
  }
  const { schema } = kind;
  if (schema === undefined) {
    if (violations.length > 0) throw invalid(kind, name, violations);
    return { object, warnings: [] };
  }
  const unknown = unknownFields(schema, object).map((path) => `unknown field ${JSON.stringify(path)}`);
  if (unknown.length > 0 && fieldValidation === 'Strict') {
    throw badRequest(
      `${kind.kind} in version "${kind.version}" cannot be handled as a ${kind.kind}: strict decoding error: ${unknown.join(', ')}`,
    );
  }
  const pruned = prune(schema, object) as ApiObject; // as: the root schema keeps apiVersion, kind and metadata
  violations.push(...validate(schema, pruned));
  if (violations.length === 0) violations.push(...applyRules(schema, pruned, { previous }));
  if (violations.length > 0) throw invalid(kind, name, violations);
  return { object: pruned, warnings: fieldValidation === 'Warn' ? unknown : [] };
}
