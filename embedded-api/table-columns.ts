// What a table of each kind shows: the CRDs' printer columns for custom kinds, kubectl's familiar ones for core kinds
// (k8s.io/kubernetes/pkg/printers/internalversion). A cell is a value of the column's type; null prints as <none>.
import type { PrinterColumn } from '../proto/api-schema.ts';
import { formatAge } from './age.ts';
import { type ApiObject, type Json, isJsonObject, ownField } from './api-object.ts';
import type { ResourceKind } from './resource-kinds.ts';

export interface TableColumn {
  readonly name: string;
  readonly type: string;
  readonly format: string;
  readonly description: string;
  readonly priority: number;
  cell(object: ApiObject, nowMs: number): Json;
}

const NAME: TableColumn = {
  name: 'Name',
  type: 'string',
  format: 'name',
  description: 'Name must be unique within a namespace.',
  priority: 0,
  cell: (object) => object.metadata.name,
};

const column = (
  name: string,
  cell: TableColumn['cell'],
  options: { type?: string; priority?: number; description?: string } = {},
): TableColumn => ({
  name,
  type: options.type ?? 'string',
  format: '',
  description: options.description ?? name,
  priority: options.priority ?? 0,
  cell,
});

const WIDE = { priority: 1 };

/** Follows the path that our columns use: names, and [n] on a list. */
function select(object: ApiObject, jsonPath: string): unknown {
  let value: unknown = object;
  for (const step of jsonPath.match(/[^.[\]]+/g) ?? []) {
    if (Array.isArray(value)) value = value[Number(step)];
    else value = isJsonObject(value) ? ownField(value, step) : undefined;
  }
  return value;
}

const at =
  (path: string): TableColumn['cell'] =>
  (object) => {
    const value = select(object, path);
    return value === undefined ? null : (value as Json); // as: stored objects are JSON
  };

const since =
  (...paths: readonly string[]): TableColumn['cell'] =>
  (object, nowMs) => {
    const text = paths.map((path) => select(object, path)).find((value) => typeof value === 'string');
    return text === undefined ? '<unknown>' : formatAge(nowMs - Date.parse(text));
  };

const AGE = column('Age', since('.metadata.creationTimestamp'));

const printed = (definition: PrinterColumn): TableColumn => ({
  name: definition.name,
  type: definition.type,
  format: '',
  description: definition.description,
  priority: definition.priority ?? 0,
  cell: (object, nowMs) => {
    if (definition.type === 'date') return since(definition.jsonPath)(object, nowMs);
    const value = at(definition.jsonPath)(object, nowMs);
    return typeof value === 'object' && value !== null ? JSON.stringify(value) : value;
  },
});

function entries(object: ApiObject, path: string): readonly Readonly<Record<string, unknown>>[] {
  const value = select(object, path);
  return Array.isArray(value) ? value.filter((item) => isJsonObject(item)) : [];
}

const nodeStatus: TableColumn['cell'] = (object) => {
  const ready = entries(object, '.status.conditions').find((condition) => condition['type'] === 'Ready');
  const words = ready === undefined ? 'Unknown' : ready['status'] === 'True' ? 'Ready' : 'NotReady';
  return select(object, '.spec.unschedulable') === true ? `${words},SchedulingDisabled` : words;
};

const nodeRoles: TableColumn['cell'] = (object) => {
  const prefix = 'node-role.kubernetes.io/';
  const roles = Object.keys(object.metadata.labels ?? {})
    .filter((key) => key.startsWith(prefix) && key.length > prefix.length)
    .map((key) => key.slice(prefix.length));
  return roles.length === 0 ? '<none>' : roles.sort().join(',');
};

const nodeAddress =
  (type: string): TableColumn['cell'] =>
  (object) => {
    const found = entries(object, '.status.addresses').find((address) => address['type'] === type)?.[
      'address'
    ];
    return typeof found === 'string' ? found : '<none>';
  };

const orUnknown =
  (path: string): TableColumn['cell'] =>
  (object, nowMs) =>
    at(path)(object, nowMs) ?? '<unknown>';

const CORE_COLUMNS: Readonly<Record<string, readonly TableColumn[]>> = {
  Node: [
    NAME,
    column('Status', nodeStatus),
    column('Roles', nodeRoles),
    AGE,
    column('Version', at('.status.nodeInfo.kubeletVersion')),
    column('Internal-IP', nodeAddress('InternalIP'), WIDE),
    column('External-IP', nodeAddress('ExternalIP'), WIDE),
    column('OS-Image', orUnknown('.status.nodeInfo.osImage'), WIDE),
    column('Kernel-Version', orUnknown('.status.nodeInfo.kernelVersion'), WIDE),
    column('Container-Runtime', orUnknown('.status.nodeInfo.containerRuntimeVersion'), WIDE),
  ],
  Namespace: [NAME, column('Status', at('.status.phase')), AGE],
  Event: [
    column('Last Seen', since('.lastTimestamp', '.eventTime', '.metadata.creationTimestamp')),
    column('Type', at('.type')),
    column('Reason', at('.reason')),
    column('Object', (object) => {
      const kind = select(object, '.involvedObject.kind');
      const name = select(object, '.involvedObject.name');
      return `${typeof kind === 'string' ? kind.toLowerCase() : ''}/${typeof name === 'string' ? name : ''}`;
    }),
    column('Subobject', at('.involvedObject.fieldPath'), WIDE),
    column('Source', at('.source.component'), WIDE),
    column('Message', at('.message')),
    column('First Seen', since('.firstTimestamp', '.eventTime', '.metadata.creationTimestamp'), WIDE),
    column('Count', at('.count'), { type: 'integer', priority: 1 }),
    { ...NAME, priority: 1 },
  ],
};

export const tableColumns = (kind: ResourceKind): readonly TableColumn[] =>
  kind.columns === undefined
    ? (CORE_COLUMNS[kind.kind] ?? [NAME, AGE])
    : [NAME, ...kind.columns.map((definition) => printed(definition))];
