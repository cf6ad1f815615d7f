// Checks an object against a structural schema and words what is wrong as the Kubernetes API server does
// (k8s.io/kube-openapi/pkg/validation, k8s.io/apimachinery/pkg/util/validation/field). Pure. CEL rules are not evaluated here.
import type { Schema } from './api-schema.ts';

/** `path: message` is the sentence that kubectl prints; `reason` is the cause's reason in the Status. */
export interface Violation {
  readonly path: string;
  readonly reason: 'FieldValueInvalid' | 'FieldValueRequired' | 'FieldValueTooLong' | 'FieldValueTooMany';
  readonly message: string;
}

const FORMATS: Readonly<Record<string, RegExp>> = {
  ipv4: /^(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(\.(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)){3}$/,
};

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const jsonType = (value: unknown): string => {
  if (value === null || value === undefined) return 'null';
  if (Array.isArray(value)) return 'array';
  if (typeof value === 'number') return Number.isInteger(value) ? 'integer' : 'number';
  return typeof value;
};

const childPath = (path: string, name: string): string => (path === '' ? name : `${path}.${name}`);

/** Every violation, in the order of the schema; empty when the value is valid. Unknown fields are no violation: see unknownFields. */
export function validate(schema: Schema, value: unknown, path = ''): readonly Violation[] {
  const actual = jsonType(value);
  if (actual !== schema.type) {
    return [invalid({ path, shown: actual, rest: `must be of type ${schema.type}: "${actual}"` })];
  }
  switch (schema.type) {
    case 'object':
      return isObject(value) ? validateObject({ schema, value, path }) : [];
    case 'array':
      return Array.isArray(value) ? validateArray({ schema, value, path }) : [];
    case 'string':
      return typeof value === 'string' ? validateString({ schema, value, path }) : [];
    case 'integer':
      return typeof value === 'number' ? validateInteger({ schema, value, path }) : [];
    case 'boolean':
      return [];
    default:
      return schema.type satisfies never;
  }
}

function invalid(options: { path: string; shown: unknown; rest: string }): Violation {
  const message = `Invalid value: ${JSON.stringify(options.shown)}: ${options.path} in body ${options.rest}`;
  return { path: options.path, reason: 'FieldValueInvalid', message };
}

function validateObject(options: {
  schema: Schema;
  value: Readonly<Record<string, unknown>>;
  path: string;
}): readonly Violation[] {
  const { schema, value, path } = options;
  const missing = (schema.required ?? [])
    .filter((name) => !Object.hasOwn(value, name))
    .map((name): Violation => ({
      path: childPath(path, name),
      reason: 'FieldValueRequired',
      message: 'Required value',
    }));
  const found = Object.entries(schema.properties ?? {}).flatMap(([name, property]) =>
    Object.hasOwn(value, name) ? validate(property, value[name], childPath(path, name)) : [],
  );
  return [...missing, ...found];
}

function validateArray(options: {
  schema: Schema;
  value: readonly unknown[];
  path: string;
}): readonly Violation[] {
  const { schema, value, path } = options;
  const found: Violation[] = [];
  const { items, minItems, maxItems } = schema;
  if (maxItems !== undefined && value.length > maxItems) {
    const message = `Too many: ${value.length}: must have at most ${maxItems} items`;
    return [{ path, reason: 'FieldValueTooMany', message }];
  }
  if (minItems !== undefined && value.length < minItems) {
    found.push(invalid({ path, shown: value.length, rest: `should have at least ${minItems} items` }));
  }
  if (items === undefined) return found;
  const seen = new Set<unknown>();
  for (const [index, item] of value.entries()) {
    found.push(...validate(items, item, `${path}[${index}]`));
    if (schema['x-kubernetes-list-type'] === 'set' && seen.has(item)) {
      const message = `Duplicate value: ${JSON.stringify(item)}`;
      found.push({ path: `${path}[${index}]`, reason: 'FieldValueInvalid', message });
    }
    seen.add(item);
  }
  return found;
}

const COMPILED = new Map<string, RegExp>();

/** Of a schema's pattern: there are few, and thousands of objects. */
function compiled(pattern: string): RegExp {
  const known = COMPILED.get(pattern) ?? new RegExp(pattern, 'u');
  COMPILED.set(pattern, known);
  return known;
}

function validateString(options: { schema: Schema; value: string; path: string }): readonly Violation[] {
  const { schema, value, path } = options;
  const { minLength, maxLength, pattern, format } = schema;
  const characters = Array.from(value).length; // the real server counts code points
  const found: Violation[] = [];
  if (maxLength !== undefined && characters > maxLength) {
    const message = `Too long: may not be more than ${maxLength} bytes`;
    found.push({ path, reason: 'FieldValueTooLong', message });
  }
  if (minLength !== undefined && characters < minLength) {
    found.push(invalid({ path, shown: value, rest: `should be at least ${minLength} chars long` }));
  }
  if (pattern !== undefined && !compiled(pattern).test(value)) {
    found.push(invalid({ path, shown: value, rest: `should match '${pattern}'` }));
  }
  const formatPattern = format === undefined ? undefined : FORMATS[format];
  if (formatPattern !== undefined && !formatPattern.test(value)) {
    found.push(invalid({ path, shown: value, rest: `must be of type ${format}: ${JSON.stringify(value)}` }));
  }
  return found;
}

function validateInteger(options: { schema: Schema; value: number; path: string }): readonly Violation[] {
  const { schema, value, path } = options;
  const { minimum, maximum } = schema;
  if (minimum !== undefined && value < minimum) {
    return [invalid({ path, shown: value, rest: `should be greater than or equal to ${minimum}` })];
  }
  if (maximum !== undefined && value > maximum) {
    return [invalid({ path, shown: value, rest: `should be less than or equal to ${maximum}` })];
  }
  return [];
}

/** Paths of the fields that the schema does not know. An object without `properties` (metadata) is left to others. */
export function unknownFields(schema: Schema, value: unknown, path = ''): readonly string[] {
  if (Array.isArray(value)) {
    const { items } = schema;
    if (items === undefined) return [];
    return value.flatMap((item, index) => unknownFields(items, item, `${path}[${index}]`));
  }
  const { properties } = schema;
  if (!isObject(value) || properties === undefined) return [];
  return Object.entries(value).flatMap(([name, child]) => {
    const property = Object.hasOwn(properties, name) ? properties[name] : undefined;
    return property === undefined
      ? [childPath(path, name)]
      : unknownFields(property, child, childPath(path, name));
  });
}

/** The value without the fields that the schema does not know; nothing is changed in place. */
export function prune(schema: Schema, value: unknown): unknown {
  if (Array.isArray(value)) {
    const { items } = schema;
    return items === undefined ? value : value.map((item) => prune(items, item));
  }
  const { properties } = schema;
  if (!isObject(value) || properties === undefined) return value;
  return Object.fromEntries(
    Object.entries(value).flatMap(([name, child]) => {
      const property = Object.hasOwn(properties, name) ? properties[name] : undefined;
      return property === undefined ? [] : [[name, prune(property, child)]];
    }),
  );
}
