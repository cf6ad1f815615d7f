// Label and field selectors: parsed once per request into predicates. Grammar: k8s.io/apimachinery/pkg/{labels,fields}.
import { type ApiObject, isJsonObject, ownField } from './api-object.ts';
import { badRequest } from './api-failure.ts';
import type { ResourceKind } from './resource-kinds.ts';

export type ObjectPredicate = (object: ApiObject) => boolean;
type LabelPredicate = (labels: Readonly<Record<string, string>>) => boolean;

const label = (labels: Readonly<Record<string, string>>, key: string): string | undefined =>
  Object.hasOwn(labels, key) ? labels[key] : undefined;

const KEY = '[A-Za-z0-9]([-A-Za-z0-9_./]*[A-Za-z0-9])?';
const SET_REQUIREMENT = new RegExp(`^(?<key>${KEY})\\s+(?<operator>in|notin)\\s*\\((?<values>[^()]*)\\)$`);
const EQUALITY = new RegExp(`^(?<key>${KEY})\\s*(?<operator>==|=|!=)\\s*(?<value>[-A-Za-z0-9_.]*)$`);
const EXISTENCE = new RegExp(`^(?<not>!?)\\s*(?<key>${KEY})$`);

/** Undefined for an empty selector: everything matches. Throws 400 on a malformed one. */
export function parseLabelSelector(text: string): ObjectPredicate | undefined {
  if (text.trim() === '') return undefined;
  const requirements = text.split(/,(?![^(]*\))/).map((part) => parseRequirement(part.trim(), text));
  return (object) => requirements.every((matches) => matches(object.metadata.labels ?? {}));
}

function parseRequirement(part: string, selector: string): LabelPredicate {
  const set = SET_REQUIREMENT.exec(part)?.groups;
  if (set !== undefined) {
    const { key = '', operator } = set;
    const values = new Set((set['values'] ?? '').split(',').map((value) => value.trim()));
    return (labels) => {
      const actual = label(labels, key);
      const included = actual !== undefined && values.has(actual);
      return operator === 'in' ? included : !included;
    };
  }
  const equality = EQUALITY.exec(part)?.groups;
  if (equality !== undefined) {
    const { key = '', operator, value = '' } = equality;
    return (labels) => (label(labels, key) === value) !== (operator === '!=');
  }
  const existence = EXISTENCE.exec(part)?.groups;
  if (existence !== undefined) {
    const { key = '' } = existence;
    return (labels) => Object.hasOwn(labels, key) === (existence['not'] === '');
  }
  throw badRequest(
    `unable to parse requirement: found '${part}' in "${selector}", expected a label selector`,
  );
}

const METADATA_FIELDS = new Set(['metadata.name', 'metadata.namespace']);
const EVENT_FIELDS = new Set([
  'involvedObject.kind',
  'involvedObject.namespace',
  'involvedObject.name',
  'involvedObject.uid',
  'involvedObject.apiVersion',
  'involvedObject.resourceVersion',
  'involvedObject.fieldPath',
  'reason',
  'reportingComponent',
  'source',
  'type',
]);

/** Undefined for an empty selector. Throws 400 for a field that the kind cannot be selected by. */
export function parseFieldSelector(text: string, kind: ResourceKind): ObjectPredicate | undefined {
  if (text.trim() === '') return undefined;
  const terms = text.split(',').map((part) => {
    const match = /^(?<field>[^=!]+)(?<operator>==|=|!=)(?<value>.*)$/.exec(part.trim())?.groups;
    if (match === undefined) throw badRequest(`invalid selector: '${text}'; can't understand '${part}'`);
    const { field = '', operator, value = '' } = match;
    const known = METADATA_FIELDS.has(field) || (kind.kind === 'Event' && EVENT_FIELDS.has(field));
    if (!known) throw badRequest(`field label not supported: ${field}`);
    return { field, value, equal: operator !== '!=' };
  });
  return (object) => terms.every(({ field, value, equal }) => (fieldText(object, field) === value) === equal);
}

function fieldText(object: ApiObject, path: string): string {
  let value: unknown = object;
  for (const name of path.split('.')) value = isJsonObject(value) ? ownField(value, name) : undefined;
  return typeof value === 'string' ? value : '';
}
