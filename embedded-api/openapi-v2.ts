// The OpenAPI v2 document of the custom kinds, as JSON and as protobuf (gnostic's openapi_v2.Document): kubectl before 1.27 reads
// the latter for `explain` and to validate before `apply`. Core kinds are left out: kubectl then skips its validation for them.
import type { Schema } from '../proto/api-schema.ts';
import { RESOURCE_KINDS, type ResourceKind } from './resource-kinds.ts';

const TITLE = 'Weft embedded API';
const VERSION = 'v1.33.0';

interface Definition {
  readonly name: string;
  readonly kind: ResourceKind;
  readonly schema: Schema;
}

const definitions = RESOURCE_KINDS.flatMap((kind): readonly Definition[] =>
  kind.schema === undefined
    ? []
    : [{ name: `dev.weft.${kind.version}.${kind.kind}`, kind, schema: kind.schema }],
);

const identities = ({ group, kind, version }: ResourceKind): readonly object[] => [{ group, kind, version }];
const GROUP_VERSION_KIND = 'x-kubernetes-group-version-kind';

const JSON_DOCUMENT: Buffer = Buffer.from(
  JSON.stringify({
    swagger: '2.0',
    info: { title: TITLE, version: VERSION },
    paths: {},
    definitions: Object.fromEntries(
      definitions.map(({ name, kind, schema }) => [
        name,
        { ...schema, [GROUP_VERSION_KIND]: identities(kind) },
      ]),
    ),
  }),
);

function varint(value: number): readonly number[] {
  return value < 128 ? [value] : [(value & 127) | 128, ...varint(value >>> 7)];
}

/** A length-delimited field. */
function field(number: number, value: string | readonly Buffer[]): Buffer {
  const bytes = typeof value === 'string' ? Buffer.from(value) : Buffer.concat(value);
  return Buffer.concat([Buffer.from([...varint((number << 3) | 2), ...varint(bytes.length)]), bytes]);
}

const named = (name: string, value: readonly Buffer[]): Buffer => field(1, [field(1, name), field(2, value)]);

/** Schema: format 2, description 4, required 19, type 22 {value 1}, items 23 {schema 1}, properties 25 {named schemas 1}. */
function schemaFields(schema: Schema): readonly Buffer[] {
  const { format, description, required = [], items, properties } = schema;
  return [
    ...(format === undefined ? [] : [field(2, format)]),
    ...(description === undefined ? [] : [field(4, description)]),
    ...required.map((name) => field(19, name)),
    field(22, [field(1, schema.type)]),
    ...(items === undefined ? [] : [field(23, [field(1, schemaFields(items))])]),
    ...(properties === undefined
      ? []
      : [
          field(
            25,
            Object.entries(properties).map(([name, child]) => named(name, schemaFields(child))),
          ),
        ]),
  ];
}

/** Vendor extension 31: {name 1, value 2 {yaml 2}}; JSON is YAML. */
const extension = (kind: ResourceKind): Buffer =>
  field(31, [field(1, GROUP_VERSION_KIND), field(2, [field(2, JSON.stringify(identities(kind)))])]);

/** Document: swagger 1, info 2 {title 1, version 2}, paths 8, definitions 9 {named schemas 1}. */
const PROTOBUF_DOCUMENT: Buffer = Buffer.concat([
  field(1, '2.0'),
  field(2, [field(1, TITLE), field(2, VERSION)]),
  field(8, ''),
  field(
    9,
    definitions.map(({ name, kind, schema }) => named(name, [...schemaFields(schema), extension(kind)])),
  ),
]);

const PROTOBUF = 'application/com.github.proto-openapi.spec.v2@v1.0+protobuf';
/** As the real server answers: "@" is not allowed in a media type, and Go refuses it. */
const PROTOBUF_ANSWER = 'application/com.github.proto-openapi.spec.v2.v1.0+protobuf';

export const openApiV2 = (accept: string | undefined): { readonly type: string; readonly bytes: Buffer } =>
  accept?.includes(PROTOBUF) === true
    ? { type: PROTOBUF_ANSWER, bytes: PROTOBUF_DOCUMENT }
    : { type: 'application/json', bytes: JSON_DOCUMENT };
