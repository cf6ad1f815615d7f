// Holds every import in the sources to layering-table.ts.
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { describe, it } from 'node:test';

import { ANY_NODE, AREAS, type Area, DEPARTURES, type Departure, PACKAGES } from './layering-table.ts';

const REPOSITORY = join(import.meta.dirname, '../..');
const SOURCES = ['proto', 'agent', 'embedded-api', 'manifests', 'test', 'bench'];
interface Import {
  readonly file: string;
  readonly specifier: string;
}

/** The specifiers of a source: static imports, re-exports and dynamic imports. `…` where a dynamic one is computed. */
function importsOf(source: string): string[] {
  const found = [
    ...source.matchAll(/^(?:import|export)\b[^'"`;]*?\bfrom\s*['"]([^'"]+)['"]/gm),
    ...source.matchAll(/^import\s*['"]([^'"]+)['"]/gm),
    ...source.matchAll(/\bimport\(\s*['"]([^'"]+)['"]/g),
  ].map((match) => match[1]!); // !: each expression has one group
  return /\bimport\(\s*[^'"\s]/.test(source) ? [...found, '…'] : found;
}

function areaOf(file: string): Area | undefined {
  const matching = AREAS.filter(({ path }) => file === path || (path.endsWith('/') && file.startsWith(path)));
  return matching.reduce<Area | undefined>(
    (longest, area) => (longest === undefined || area.path.length > longest.path.length ? area : longest),
    undefined,
  );
}

const packageOf = (specifier: string): string =>
  specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');

/** What is wrong with an import, or undefined. */
function violation(imported: Import, departures: readonly Departure[] = DEPARTURES): string | undefined {
  const { file, specifier } = imported;
  const area = areaOf(file);
  if (area === undefined) return `${file} is in no area of the layering table`;
  const departure = departures.find(({ files }) => files.includes(file));
  const rule = brokenRule(imported, { area, departure });
  return rule === undefined ? undefined : `${file} imports "${specifier}": ${rule}`;
}

function brokenRule(
  { file, specifier }: Import,
  { area, departure }: { readonly area: Area; readonly departure: Departure | undefined },
): string | undefined {
  if (specifier === '…') return 'the specifier of a dynamic import must be a literal';
  if (specifier.startsWith('node:')) {
    const allowed = [area.node, departure?.node ?? []];
    const may = allowed.some((modules) => modules === ANY_NODE || modules.includes(specifier));
    return may ? undefined : `${file} may import of Node: ${list(allowed.flat())}`;
  }
  if (!specifier.startsWith('.')) {
    const name = packageOf(specifier);
    const home = PACKAGES[name];
    if (home === undefined) return `package "${name}" is not in the table of packages`;
    const isTest = area.path === 'test/' || area.path === 'bench/';
    return isTest || file === home ? undefined : `package "${name}" is imported in ${home} only`;
  }
  if (/\.json$|\.wasm$/.test(specifier)) return undefined;
  const target = areaOf(normalize(join(dirname(file), specifier)));
  if (target === undefined) return 'it leads to no area of the layering table';
  if (target === area || area.path === 'test/' || area.path === 'bench/') return targetIsTest(target, area);
  const allowed = [...area.mayImport, ...(departure?.mayImport ?? [])];
  return allowed.includes(target.path) ? undefined : `${area.path} may import ${list(allowed)}`;
}

/** Tests import anything but benchmarks. */
const targetIsTest = (target: Area, from: Area): string | undefined =>
  from.path === 'test/' && target.path === 'bench/' ? 'tests import no benchmark' : undefined;

const list = (names: readonly string[]): string => (names.length === 0 ? 'nothing' : names.join(', '));

const sourceFiles = (): string[] =>
  SOURCES.flatMap((folder) =>
    readdirSync(join(REPOSITORY, folder), { recursive: true, encoding: 'utf8' })
      .filter((name) => /\.(ts|mts|js|mjs)$/.test(name))
      .map((name) => join(folder, name)),
  );

describe('layering', () => {
  const imports: readonly Import[] = sourceFiles().flatMap((file) =>
    importsOf(readFileSync(join(REPOSITORY, file), 'utf8')).map((specifier) => ({ file, specifier })),
  );

  it('every import is allowed by the table', () => {
    assert.ok(imports.length > 100, `only ${imports.length} imports found`);
    const violations = imports.map((imported) => violation(imported)).filter((text) => text !== undefined);
    assert.deepEqual(violations, [], `\n${violations.join('\n')}\n`);
  });

  it('areas import only areas above them in the table, so there are no cycles between areas', () => {
    for (const [at, area] of AREAS.entries()) {
      const above = new Set(AREAS.slice(0, at).map(({ path }) => path));
      for (const path of area.mayImport) assert.ok(above.has(path), `${area.path} may import ${path}`);
    }
  });

  it('departures close no cycle: no area that they reach may import theirs', () => {
    for (const { files, mayImport = [] } of DEPARTURES) {
      for (const path of mayImport)
        for (const file of files)
          assert.ok(!reachable(path).has(areaOf(file)?.path ?? ''), `${path} leads back to ${file}`);
    }
  });

  it('every departure is needed', () => {
    for (const departing of DEPARTURES.flatMap(({ files }) => files)) {
      const needed = imports.some((each) => each.file === departing && violation(each, []) !== undefined);
      assert.ok(needed, `${departing} imports nothing that its area may not: take it out of the table`);
    }
  });

  it('packages are those of package.json', () => {
    const { dependencies } = JSON.parse(readFileSync(join(REPOSITORY, 'package.json'), 'utf8')) as {
      dependencies: Record<string, string>; // as: our own file
    };
    for (const name of Object.keys(dependencies))
      assert.ok(name in PACKAGES, `package "${name}" has no home`);
  });

  it('importsOf finds every form of import', () => {
    const source = [
      "import a from 'a';",
      "import type { B } from './b.ts';",
      "import {\n  type C,\n  c,\n} from './c.ts';",
      "import * as d from 'node:d';",
      "import './e.ts';",
      "export { f } from './f.ts';",
      "export * from './g.ts';",
      "const h = await import('./h.ts');",
      'const i = await import'.concat('(name);'), // in two parts, or it is found in this file
      "export const from = 'j';",
    ].join('\n');
    assert.deepEqual(importsOf(source).sort(), [
      './b.ts',
      './c.ts',
      './e.ts',
      './f.ts',
      './g.ts',
      './h.ts',
      'a',
      'node:d',
      '…',
    ]);
  });

  for (const [file, specifier, rule] of [
    ['proto/udp.ts', 'node:fs', 'may import of Node: nothing'],
    ['proto/udp.ts', '../agent/operation-error.ts', 'proto/ may import nothing'],
    ['proto/udp.ts', 'ipaddr.js', 'package "ipaddr.js" is imported in proto/address-text.ts only'],
    ['proto/udp.ts', 'lodash', 'package "lodash" is not in the table of packages'],
    ['agent/dataplane/egress.ts', '../linux/libc.ts', 'may import proto/, agent/operation-error.ts'],
    ['agent/dataplane/egress.ts', 'node:fs', 'may import of Node: nothing'],
    ['agent/ipam/address-pool.ts', './../linux/libc.ts', 'may import proto/, agent/operation-error.ts'],
    ['agent/ipam/address-log.ts', 'node:net', 'may import of Node: node:fs, node:fs/promises, node:path'],
    ['agent/linux/tun.ts', '../kube/clock.ts', 'may import proto/, agent/operation-error.ts'],
    ['agent/linux/tun.ts', 'koffi', 'imported in agent/linux/libc.ts only'],
    ['agent/control/main.ts', '../keeper.ts', 'agent/control/ may import'],
    ['agent/control/main.ts', '../../test/support/random.ts', 'agent/control/ may import'],
    ['agent/control/main.ts', '@kubernetes/client-node/dist/config.js', 'agent/kube/cluster-config.ts only'],
    ['agent/control/main.ts', '…', 'must be a literal'],
    ['embedded-api/watch.ts', '../agent/kube/clock.ts', 'embedded-api/ may import proto/'],
    ['agent/control/map/page/page.js', '../map-facts.ts', 'agent/control/map/page/ may import nothing'],
    ['agent/control/map/page/page.js', 'node:fs', 'may import of Node: nothing'],
    ['tools/x.ts', 'node:fs', 'is in no area'],
  ] as const) {
    it(`refuses ${file} importing "${specifier}"`, () => {
      const text = violation({ file, specifier });
      assert.ok(text?.includes(file) && text.includes(rule), text ?? 'it is allowed');
    });
  }
});

/** The areas that an area leads to, itself included. */
function reachable(path: string): Set<string> {
  const reached = new Set([path]);
  for (const each of reached) {
    for (const next of AREAS.find((area) => area.path === each)?.mayImport ?? []) reached.add(next);
  }
  return reached;
}
