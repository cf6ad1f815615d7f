// The patch formats: JSON merge patch (RFC 7386), JSON patch (RFC 6902), and of the strategic merge patch what kubectl sends for
// core kinds (lists with a merge key, $patch and $setElementOrder directives). Pure: the document is never changed in place.
import { type Json, type JsonObject, isJsonObject, ownField, sameJson, textOf } from './api-object.ts';
import { ApiFailure, badRequest } from './api-failure.ts';

export function mergePatch(target: Json | undefined, patch: Json): Json {
  if (!isJsonObject(patch)) return patch;
  const base = isJsonObject(target) ? target : {};
  const merged = new Map(Object.entries(base));
  for (const [name, value] of Object.entries(patch)) {
    if (value === null || value === undefined) merged.delete(name);
    else merged.set(name, mergePatch(ownField(base, name), value));
  }
  return Object.fromEntries(merged);
}

/** Lists that merge by a key, by the name of their field; others are replaced (k8s.io/api struct tags). */
const MERGE_KEYS: Readonly<Record<string, string>> = {
  ownerReferences: 'uid',
  addresses: 'type',
  conditions: 'type',
  taints: 'key',
};

export function strategicMergePatch(target: Json | undefined, patch: Json, listName?: string): Json {
  if (Array.isArray(patch)) {
    return mergeList(Array.isArray(target) ? target : [], patch, listName);
  }
  if (!isJsonObject(patch)) return patch;
  const replace = patch['$patch'] === 'replace';
  const base = isJsonObject(target) && !replace ? target : {};
  const merged = new Map(Object.entries(base));
  for (const [name, value] of Object.entries(patch)) {
    if (name.startsWith('$')) continue; // directives; the order of elements is not kept
    if (value === null || value === undefined) merged.delete(name);
    else merged.set(name, strategicMergePatch(ownField(base, name), value, name));
  }
  return Object.fromEntries(merged);
}

function mergeList(
  target: readonly Json[],
  patch: readonly Json[],
  listName: string | undefined,
): readonly Json[] {
  const key = listName === undefined ? undefined : MERGE_KEYS[listName];
  const replace = patch.some((item) => isJsonObject(item) && item['$patch'] === 'replace');
  if (key === undefined || replace) {
    return patch.filter((item) => !(isJsonObject(item) && item['$patch'] === 'replace'));
  }
  let merged = [...target];
  for (const item of patch) {
    if (!isJsonObject(item)) return patch;
    const index = merged.findIndex((old) => isJsonObject(old) && sameJson(old[key], item[key]));
    if (item['$patch'] === 'delete') merged = merged.filter((_, position) => position !== index);
    else if (index === -1) merged.push(item);
    else merged[index] = strategicMergePatch(merged[index], item);
  }
  return merged;
}

/** Applies the operations in turn. Throws 400 when the patch is no JSON patch, 422 when an operation fails. */
export function jsonPatch(document: Json, patch: Json): Json {
  if (!Array.isArray(patch)) throw badRequest('error decoding patch: a JSON patch is a list of operations');
  return patch.reduce<Json>((result, operation: Json) => applyOperation(result, operation), document);
}

function applyOperation(document: Json, operation: Json): Json {
  if (!isJsonObject(operation)) throw badRequest('error decoding patch: an operation is an object');
  const path = pointer(operation['path']);
  const value = operation['value'];
  const op = textOf(operation['op']);
  switch (op) {
    case 'test':
      if (sameJson(lookUp(document, path), value)) return document;
      throw failed(`testing value /${path.join('/')} failed: test failed`);
    case 'add':
      return edit({ document, path, change: { kind: 'add', value: required(value) } });
    case 'replace':
      return edit({ document, path, change: { kind: 'replace', value: required(value) } });
    case 'remove':
      return edit({ document, path, change: { kind: 'remove' } });
    case 'copy':
      return edit({
        document,
        path,
        change: { kind: 'add', value: lookUp(document, pointer(operation['from'])) },
      });
    case 'move': {
      const from = pointer(operation['from']);
      const moved = lookUp(document, from);
      const without = edit({ document, path: from, change: { kind: 'remove' } });
      return edit({ document: without, path, change: { kind: 'add', value: moved } });
    }
    default:
      throw badRequest(`error decoding patch: unexpected kind: "${op}"`);
  }
}

const failed = (message: string): ApiFailure =>
  new ApiFailure({
    code: 422,
    reason: 'Invalid',
    message: 'the server rejected our request due to an error in our request',
    details: { causes: [{ reason: 'UnexpectedServerResponse', message }] },
  });

function required(value: Json | undefined): Json {
  if (value === undefined) throw badRequest('error decoding patch: the operation has no value');
  return value;
}

/** RFC 6901. */
function pointer(text: Json | undefined): readonly string[] {
  if (typeof text !== 'string' || (text !== '' && !text.startsWith('/'))) {
    throw badRequest('error decoding patch: the operation has no path that starts with "/"');
  }
  return text
    .split('/')
    .slice(1)
    .map((step) => step.replaceAll('~1', '/').replaceAll('~0', '~'));
}

function lookUp(document: Json, path: readonly string[]): Json {
  let value: Json | undefined = document;
  for (const step of path) {
    if (Array.isArray(value)) value = value[listIndex(step, value.length - 1)] as Json; // as: the index is inside
    else value = isJsonObject(value) ? ownField(value, step) : undefined;
    if (value === undefined) throw failed(`nonexistent path: missing path "/${path.join('/')}"`);
  }
  return value;
}

function listIndex(step: string, last: number): number {
  const index = Number(step);
  if (!/^(0|[1-9]\d*)$/.test(step) || index > last) throw failed(`invalid index referenced: "${step}"`);
  return index;
}

type Edit = { readonly kind: 'add' | 'replace'; readonly value: Json } | { readonly kind: 'remove' };

function edit(options: { document: Json; path: readonly string[]; change: Edit }): Json {
  const { document, path, change } = options;
  const [step, ...rest] = path;
  if (step === undefined) return change.kind === 'remove' ? null : change.value;
  if (Array.isArray(document)) return editList({ list: document, step, rest, change });
  if (!isJsonObject(document)) throw failed(`missing path "${path.join('/')}"`);
  const present = ownField(document, step);
  if (rest.length > 0) {
    if (present === undefined) throw failed(`nonexistent path: missing path "${step}"`);
    return withField(document, step, edit({ document: present, path: rest, change }));
  }
  if (present === undefined && change.kind !== 'add') throw failed(`nonexistent path: missing key "${step}"`);
  return withField(document, step, change.kind === 'remove' ? undefined : change.value);
}

const withField = (object: JsonObject, name: string, value: Json | undefined): JsonObject => {
  const fields = new Map(Object.entries(object));
  if (value === undefined) fields.delete(name);
  else fields.set(name, value);
  return Object.fromEntries(fields);
};

function editList(options: {
  list: readonly Json[];
  step: string;
  rest: readonly string[];
  change: Edit;
}): Json {
  const { list, step, rest, change } = options;
  if (rest.length === 0 && change.kind === 'add') {
    const index = step === '-' ? list.length : listIndex(step, list.length);
    return list.toSpliced(index, 0, change.value);
  }
  const index = listIndex(step, list.length - 1);
  if (rest.length > 0) return list.with(index, edit({ document: list[index] as Json, path: rest, change })); // as: the index is inside
  return change.kind === 'remove' ? list.toSpliced(index, 1) : list.with(index, change.value);
}
