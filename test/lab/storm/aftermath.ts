// What a node holds when a storm is over, so that it can be compared with what it held before: everything that a crash could leave behind.
import { readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';

import { runCommand } from '../command.ts';
import type { LabNode } from '../lab.ts';
import type { Observer } from './observer-client.ts';

export interface Holdings {
  readonly ports: readonly string[];
  readonly elements: readonly string[];
  /** In the log on disk. */
  readonly records: readonly string[];
  /** In control's memory, as it tells them. */
  readonly used: number;
  /** But those of whole blocks, which a node may claim during a storm. */
  readonly routes: readonly string[];
  /** Of the node's state and run directories. */
  readonly files: readonly string[];
  readonly controlDescriptors: readonly string[];
  readonly keeperDescriptors: readonly string[];
}

const DIRECTORIES = ['/var/lib/weft', '/run/weft'];
/** Written again each time under the same name, and renamed over what they replace; or what a killed plugin had begun, which goes after minutes. */
const TEMPORARY = /\.new$|^\.[\da-f]+-eth0\.\d+$/;
const KINDS: readonly (readonly [RegExp, string])[] = [
  [/^(socket|pipe|net):.*/, '$1'],
  [/ \(deleted\)$/, ''],
];

export async function readHoldings(node: LabNode, observer: Observer): Promise<Holdings> {
  const { place } = node.namespace;
  const view = await observer.view();
  const routes = await runCommand(place, ['ip', '-4', 'route', 'show', 'table', 'all']);
  const status = await node.agent.status('/status');
  return {
    ports: view.ports.map(({ name }) => name),
    elements: view.elements,
    records: view.records.map(({ containerId, address }) => `${address} ${containerId}`),
    used: Number(/Addresses: +(\d+) used/.exec(status)?.[1]),
    routes: routes
      .split('\n')
      .map((line) => line.trim())
      .filter((line) => line !== '' && !/^10\.32\.\d+\.\d+\/27 dev weave/.test(line))
      .sort(),
    files: DIRECTORIES.flatMap((directory) => filesIn(node.namespace.path(directory), directory)).sort(),
    controlDescriptors: descriptorsOf(node.agent.pidOf('control')),
    keeperDescriptors: descriptorsOf(node.agent.pidOf('keeper')),
  };
}

function filesIn(directory: string, shown: string): readonly string[] {
  return readdirSync(directory, { withFileTypes: true }).flatMap((entry): readonly string[] => {
    if (TEMPORARY.test(entry.name)) return [];
    const name = `${shown}/${entry.name}`;
    return entry.isDirectory() ? filesIn(join(directory, entry.name), name) : [name];
  });
}

/** By kind, sorted. */
function descriptorsOf(pid: number): readonly string[] {
  return readdirSync(`/proc/${pid}/fd`)
    .flatMap((fd) => {
      try {
        return [readlinkSync(`/proc/${pid}/fd/${fd}`)];
      } catch {
        return []; // closed just now
      }
    })
    .map((target) => KINDS.reduce((text, [pattern, kind]) => text.replace(pattern, kind), target))
    .sort();
}

/** In words; what is less than before, descriptors of connections that ended, is none. */
export function differences(before: Holdings, after: Holdings): readonly string[] {
  const words: string[] = [];
  for (const name of [
    'ports',
    'elements',
    'records',
    'files',
    'controlDescriptors',
    'keeperDescriptors',
    'routes',
  ] as const) {
    words.push(...surplus(after[name], before[name]).map((item) => `more ${name}: ${item}`));
  }
  words.push(...surplus(before.routes, after.routes).map((item) => `no route any more: ${item}`));
  if (after.used !== before.used) words.push(`${after.used} addresses used, ${before.used} before`);
  return words;
}

/** Of `items` those that `others` has not, or has less often. */
function surplus(items: readonly string[], others: readonly string[]): readonly string[] {
  const left = [...others];
  return items.filter((item) => {
    const at = left.indexOf(item);
    if (at >= 0) left.splice(at, 1);
    return at < 0;
  });
}
