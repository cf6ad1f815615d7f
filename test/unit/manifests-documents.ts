// The manifests as plain data. client-node's YAML parser is used, but not its types where all fields matter: they drop what they do not know.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import { dumpYaml, loadYaml } from '@kubernetes/client-node/dist/yaml.js';

export type Data = string | number | boolean | null | readonly Data[] | { readonly [key: string]: Data };
export type Fields = Readonly<Record<string, Data>>;

export const manifestPath = (name: string): string =>
  fileURLToPath(new URL(`../../manifests/${name}`, import.meta.url));

/** One document as it stands: wrapped into an object of a kind that client-node does not know and leaves alone. */
function parseDocument(text: string): Fields {
  const indented = text.replaceAll(/^(?=.)/gm, '  ');
  const wrapped: { document: Fields } = loadYaml(
    `apiVersion: example.org/v1\nkind: Wrapped\ndocument:\n${indented}`,
  );
  return wrapped.document;
}

const split = (text: string): readonly string[] =>
  text.split(/^---$/m).filter((document) => /^[^#\s]/m.test(document));

export const parseDocuments = (text: string): readonly Fields[] => split(text).map(parseDocument);

/** Each document beside what client-node's types keep of it: the same unless a field is unknown or of the wrong kind. */
export const parseTyped = (text: string): readonly { readonly plain: Fields; readonly typed: Fields }[] =>
  split(text).map((document) => ({
    plain: parseDocument(document),
    typed: parseDocument(dumpYaml(loadYaml(document))),
  }));

export const readManifest = (name: string): string => readFileSync(manifestPath(name), 'utf8');

/** kind/name, with the namespace where there is one. */
export function nameOf(document: Fields): string {
  const { name, namespace } = fields(document['metadata']);
  const place = namespace === undefined ? '' : `${word(namespace)}/`;
  return `${word(document['kind'])}/${place}${word(name)}`;
}

/** Throws when the value is no object: then the manifest is not what the test is about. */
export function fields(value: Data | undefined): Fields {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Fields; // as: told apart just now
  throw new TypeError(`not an object: ${JSON.stringify(value)}`);
}

export function list(value: Data | undefined): readonly Fields[] {
  if (Array.isArray(value)) return (value as readonly Data[]).map(fields); // as: isArray makes it any[]
  throw new TypeError(`not a list: ${JSON.stringify(value)}`);
}

/** Throws when the value is no string. */
export function word(value: Data | undefined): string {
  if (typeof value === 'string') return value;
  throw new TypeError(`not a string: ${JSON.stringify(value)}`);
}

/** The value at a path; list items by their `name`, or their number. */
export function at(document: Fields, path: string): Data | undefined {
  let value: Data | undefined = document;
  for (const part of path.split('.')) {
    if (value === undefined) return undefined;
    value = Array.isArray(value)
      ? /^\d+$/.test(part)
        ? list(value)[Number(part)]
        : list(value).find(({ name }) => name === part)
      : fields(value)[part];
  }
  return value;
}

/** Every leaf by its path, list items by their `name` where they have one. */
export function leaves(value: Data, path = ''): ReadonlyMap<string, Data> {
  if (typeof value !== 'object' || value === null) return new Map([[path, value]]);
  const entries: readonly (readonly [string, Data])[] = Array.isArray(value)
    ? (value as readonly Data[]).map((item, index) => [itemName(item) ?? String(index), item]) // as: isArray makes it any[]
    : Object.entries(value);
  return new Map(
    entries.flatMap(([key, item]) => Array.from(leaves(item, path === '' ? key : `${path}.${key}`))),
  );
}

function itemName(item: Data): string | undefined {
  const name = typeof item === 'object' && item !== null && 'name' in item ? item.name : undefined;
  return typeof name === 'string' ? name : undefined;
}

/** Why overlays cannot be built here, or false. Before kustomize 4 patches cannot stand in the kustomization itself. */
export function kustomizeMissing(): string | false {
  try {
    const told = JSON.parse(
      execFileSync('kubectl', ['version', '--client', '-o', 'json'], { encoding: 'utf8' }),
    ) as {
      kustomizeVersion?: string; // as: kubectl's own form
    };
    const major = Number(/^v(\d+)/.exec(told.kustomizeVersion ?? '')?.[1] ?? 0);
    return major >= 4 ? false : 'this kubectl has no kustomize 4 or later: install kubectl 1.21 or later';
  } catch {
    return 'there is no kubectl: install it';
  }
}

export const kustomize = (name: string): readonly Fields[] =>
  parseDocuments(execFileSync('kubectl', ['kustomize', manifestPath(name)], { encoding: 'utf8' }));
