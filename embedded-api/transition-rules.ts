// The CEL rules of our schemas, as code: the server has no CEL interpreter, so each rule's text has a function that means the same.
// Invariant: a rule that a schema carries and that is missing here ends the server at its start, so none is skipped silently.
import type { Schema } from '../proto/api-schema.ts';
import type { Violation } from '../proto/api-validation.ts';
import { invariant } from '../proto/invariant.ts';
import { type JsonObject, isJsonObject } from './api-object.ts';
import { RESOURCE_KINDS } from './resource-kinds.ts';

type Rule = (self: JsonObject, oldSelf: JsonObject) => boolean;

const field = (object: JsonObject, ...path: readonly string[]): unknown =>
  path.reduce<unknown>((value, name) => (isJsonObject(value) ? value[name] : undefined), object);

const RULES: Readonly<Record<string, Rule>> = {
  'self.node == oldSelf.node': (self, oldSelf) => self['node'] === oldSelf['node'],
  '!has(oldSelf.stateId) || (has(self.stateId) && self.stateId == oldSelf.stateId)': (self, oldSelf) =>
    oldSelf['stateId'] === undefined || self['stateId'] === oldSelf['stateId'],
  "self.metadata.name == self.spec.cidr.replace('/', '-')": (self) =>
    field(self, 'metadata', 'name') === String(field(self, 'spec', 'cidr')).replaceAll('/', '-'),
};

/** What the rules of a schema say about an object that is valid by its types. `previous` is undefined on create. */
export function applyRules(
  schema: Schema,
  value: unknown,
  options: { readonly previous: unknown; readonly path?: string },
): readonly Violation[] {
  if (!isJsonObject(value)) return [];
  const path = options.path ?? '';
  const previous = isJsonObject(options.previous) ? options.previous : undefined;
  const broken = (schema['x-kubernetes-validations'] ?? []).filter(({ rule }) => {
    if (rule.includes('oldSelf') && previous === undefined) return false;
    return RULES[rule]?.(value, previous ?? {}) === false;
  });
  const own = broken.map(({ message }): Violation => ({
    path: path === '' ? '<nil>' : path, // as the real server prints its root
    reason: 'FieldValueInvalid',
    message: `Invalid value: "object": ${message}`,
  }));
  const nested = Object.entries(schema.properties ?? {}).flatMap(([name, property]) =>
    applyRules(property, value[name], {
      previous: previous?.[name],
      path: path === '' ? name : `${path}.${name}`,
    }),
  );
  return [...own, ...nested];
}

const ruleTexts = (schema: Schema): readonly string[] => [
  ...(schema['x-kubernetes-validations'] ?? []).map(({ rule }) => rule),
  ...Object.values(schema.properties ?? {}).flatMap(ruleTexts),
  ...(schema.items === undefined ? [] : ruleTexts(schema.items)),
];

for (const { schema } of RESOURCE_KINDS) {
  for (const rule of schema === undefined ? [] : ruleTexts(schema)) {
    invariant(Object.hasOwn(RULES, rule), () => `CEL rule "${rule}" has no function in transition-rules.ts`);
  }
}
