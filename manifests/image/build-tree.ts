// Program of the image's build: makes the folder that the image has as /opt/weft out of a checkout whose packages are installed.
//   node manifests/image/build-tree.ts FOLDER [VERSION]
// The agent reports package.json's version, so that is where another VERSION goes.
// Types are stripped here, once: a process that loads .ts starts slower and keeps 30 MB for the stripper. Columns and lines stay as they
// are in the sources, so stack traces name them. Of the packages goes along what a program loads: no types, maps, sources, other libc.
import { chmodSync, cpSync, existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import { dirname, join, relative } from 'node:path';

const CHECKOUT = join(import.meta.dirname, '../..');
const SOURCES = ['agent', 'proto'];
/** Build steps of the checkout and their sources; in the image there is nothing to build with. */
const LEFT_OUT = /^agent\/dataplane\/(?:assemble\.ts$|assembly\/)/;
/** Goes along as it is; of scripts those of the live map, which browsers run. */
const DATA = /\.wasm$|^agent\/control\/map\/page\/[\w-]+\.(?:js|css|html)$/;
/** The runtime itself is placed elsewhere; the others serve the lab alone, or nothing that is executed here. */
const PACKAGES_LEFT_OUT = /^(?:node-linux-|dgram-as-promised$)/;
const LOADED = /\.(?:js|cjs|mjs|json|node|wasm)$|^(?:LICEN[CS]E|NOTICE)/i;

/** Executed by its name, /usr/local/bin/weft; the image has no env(1) to find Node with. */
const EXECUTABLES = new Set(['agent/cli/weft.ts']);
const SHEBANG = '#!/usr/local/bin/node';

/** A string that is nothing but the path of a source: an import, or a program that is started. */
const SOURCE_PATH = /(['"])([\w./-]+)\.ts\1/g;

const toJavaScript = (source: string): string =>
  stripTypeScriptTypes(source, { mode: 'strip' }).replaceAll(SOURCE_PATH, '$1$2.js$1');

function place(target: string, text: string): void {
  mkdirSync(dirname(target), { recursive: true });
  writeFileSync(target, text);
}

function copySources(folder: string, version: string | undefined): void {
  for (const source of SOURCES) {
    for (const name of readdirSync(join(CHECKOUT, source), { recursive: true, encoding: 'utf8' })) {
      const path = join(source, name);
      if (LEFT_OUT.test(path)) continue;
      if (DATA.test(path)) cpSync(join(CHECKOUT, path), join(folder, path));
      if (!path.endsWith('.ts')) continue;
      const script = toJavaScript(readFileSync(join(CHECKOUT, path), 'utf8'));
      const target = join(folder, path.replace(/\.ts$/, '.js'));
      place(target, EXECUTABLES.has(path) ? script.replace(/^#!.*$/m, SHEBANG) : script);
      if (EXECUTABLES.has(path)) chmodSync(target, 0o755);
    }
  }
  const installer = readFileSync(join(import.meta.dirname, 'install-shim.ts'), 'utf8');
  place(join(folder, 'install-shim.js'), toJavaScript(installer));
  const manifest = JSON.parse(readFileSync(join(CHECKOUT, 'package.json'), 'utf8')) as { version: string }; // as: npm's form
  place(
    join(folder, 'package.json'),
    `${JSON.stringify({ ...manifest, version: version || manifest.version }, undefined, 2)}\n`,
  );
}

interface Lockfile {
  readonly packages: Readonly<Record<string, { readonly dev?: boolean }>>;
}

function copyPackages(folder: string): void {
  const lockfile = JSON.parse(readFileSync(join(CHECKOUT, 'package-lock.json'), 'utf8')) as Lockfile; // as: npm's own form
  for (const [path, { dev = false }] of Object.entries(lockfile.packages)) {
    const name = path.replace(/^node_modules\//, '');
    if (path === '' || dev || PACKAGES_LEFT_OUT.test(name) || !existsSync(join(CHECKOUT, path))) continue;
    for (const entry of readdirSync(join(CHECKOUT, path), { recursive: true, withFileTypes: true })) {
      const file = relative(CHECKOUT, join(entry.parentPath, entry.name));
      if (!entry.isFile() || !LOADED.test(entry.name) || /\/musl_/.test(file)) continue;
      mkdirSync(dirname(join(folder, file)), { recursive: true });
      cpSync(join(CHECKOUT, file), join(folder, file));
    }
  }
}

if (import.meta.main) {
  const [folder, version] = process.argv.slice(2);
  if (folder === undefined) {
    console.error('Cannot build: say where to: node manifests/image/build-tree.ts FOLDER [VERSION]');
    process.exit(2);
  }
  copySources(folder, version);
  copyPackages(folder);
}
