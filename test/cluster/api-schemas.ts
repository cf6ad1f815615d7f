// JSON schemas of a cluster's kinds, for kubeconform: made from what the API server tells of itself, so nothing is downloaded and they
// are of the very version that runs.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import type { Cluster } from './cluster.ts';

type Json = Readonly<Record<string, unknown>>;

const REFERENCE = '#/definitions/';
const KINDS = 'x-kubernetes-group-version-kind';

interface Kind {
  readonly group: string;
  readonly kind: string;
  readonly version: string;
}

/** What kubeconform is told: files are named by kind, first part of the group, and version. */
export const schemaLocation = (folder: string): string =>
  join(folder, '{{.ResourceKind}}{{.KindSuffix}}.json');

const fileOf = ({ group, kind, version }: Kind): string =>
  `${[kind, ...(group === '' ? [] : [group.split('.')[0]]), version].join('-').toLowerCase()}.json`;

/** Writes a schema for each kind. Fields that the API does not know are errors; kinds of custom resources are left out. */
export async function writeApiSchemas(cluster: Cluster, folder: string): Promise<number> {
  mkdirSync(folder, { recursive: true });
  const told = JSON.parse(await cluster.kubectl(['get', '--raw', '/openapi/v2'])) as {
    definitions: Record<string, Json>; // as: the API server's own form
  };
  const definitions = new Map(
    Object.entries(told.definitions).map(([name, definition]) => [name, strict(definition)]),
  );
  let written = 0;
  for (const [name, definition] of definitions) {
    // Others are of actions, such as DeleteOptions, which are of every group.
    const [kind, ...more] = (definition[KINDS] ?? []) as readonly Kind[]; // as: the API server's own form
    if (kind === undefined || more.length > 0) continue;
    const used = Object.fromEntries(
      [...reachable(definitions, name)].map((each) => [each, definitions.get(each)]),
    );
    writeFileSync(join(folder, fileOf(kind)), JSON.stringify({ $ref: REFERENCE + name, definitions: used }));
    written += 1;
  }
  return written;
}

function strict(definition: Json): Json {
  if (definition['format'] === 'int-or-string') return { oneOf: [{ type: 'string' }, { type: 'integer' }] };
  const closed = definition['properties'] !== undefined && definition['additionalProperties'] === undefined;
  return { ...definition, ...(closed ? { additionalProperties: false } : {}) };
}

/** The definitions that one leads to, itself included. */
function reachable(definitions: ReadonlyMap<string, Json>, name: string): ReadonlySet<string> {
  const found = new Set([name]);
  for (const each of found) {
    const text = JSON.stringify(definitions.get(each) ?? {});
    for (const [, next = ''] of text.matchAll(/"#\/definitions\/([^"]+)"/g)) found.add(next);
  }
  return found;
}
