// The images that the cluster's pods run, made out of this checkout and this machine's programs, as archives for `ctr images import`:
// the agent (what the Dockerfile's final stage has: Node, nft, their libraries, /opt/weft), CoreDNS, a test pod of busybox, and pause.
import { mkdirSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import process from 'node:process';

import { ENCLOSURE, runCommand } from '../lab/command.ts';
import { type ImageArchive, writeImageArchive } from './image-archive.ts';

const CHECKOUT = join(import.meta.dirname, '../..');

export const WEFT_IMAGE = 'localhost/weft:0.1.0';
export const PAUSE_IMAGE = 'localhost/pause:1';
export const COREDNS_IMAGE = 'localhost/coredns:1';
export const TEST_POD_IMAGE = 'localhost/test-pod:1';

export interface ImageSources {
  /** Compiled programs and busybox (build.ts). */
  readonly programs: string;
  /** Where trees and archives are made. */
  readonly folder: string;
}

/** Resolves to the archives' paths. */
export async function makeImages({ programs, folder }: ImageSources): Promise<readonly string[]> {
  const images = await Promise.all([
    pauseImage(folder),
    corednsImage({ programs, folder }),
    testPodImage({ programs, folder }),
    weftImage(folder),
  ]);
  const archives: string[] = [];
  for (const image of images) {
    const target = join(folder, `${image.name.replace(/^.*\/|:.*$/g, '')}.tar`);
    await writeImageArchive({ ...image, target });
    for (const layer of image.layers) rmSync(layer, { recursive: true });
    archives.push(target);
  }
  return archives;
}

type Image = Omit<ImageArchive, 'target'>;

function makeFolders(root: string, names: readonly string[]): string {
  for (const name of names) mkdirSync(join(root, name), { recursive: true });
  return root;
}

/** Copies a program with its loader and libraries to where it looks for them. */
async function placeProgram(root: string, source: string, target: string): Promise<void> {
  await runCommand(ENCLOSURE, ['install', '-D', source, join(root, target)]);
  const listed = await runCommand(ENCLOSURE, ['ldd', source]);
  for (const [, , library = ''] of listed.matchAll(/(^|\s)(\/\S+) \(0x/g)) {
    await runCommand(ENCLOSURE, ['install', '-D', realpathSync(library), join(root, library)]);
  }
}

async function pauseImage(folder: string): Promise<Image> {
  const layer = makeFolders(join(folder, 'pause'), []);
  mkdirSync(layer, { recursive: true });
  const source = join(import.meta.dirname, 'pause.c');
  await runCommand(ENCLOSURE, ['musl-gcc', '-static', '-Os', '-s', '-o', join(layer, 'pause'), source]);
  return { name: PAUSE_IMAGE, layers: [layer], config: { Entrypoint: ['/pause'] } };
}

async function corednsImage({ programs, folder }: ImageSources): Promise<Image> {
  const layer = makeFolders(join(folder, 'coredns'), ['etc', 'tmp']);
  await runCommand(ENCLOSURE, ['install', join(programs, 'coredns'), layer]);
  return { name: COREDNS_IMAGE, layers: [layer], config: { Entrypoint: ['/coredns'] } };
}

const APPLETS =
  'sh awk cat echo env false grep head hostname httpd id ip kill ls nc netstat nslookup ping ps sed seq sleep tail telnet timeout top traceroute true vi wc wget';

/** Says who it is and who asks. */
const WHO = `#!/bin/sh
printf 'Content-Type: text/plain\\r\\n\\r\\n%s %s\\n' "$(hostname)" "$REMOTE_ADDR"
`;

async function testPodImage({ programs, folder }: ImageSources): Promise<Image> {
  const layer = makeFolders(join(folder, 'test-pod'), ['bin', 'etc', 'proc', 'sys', 'tmp', 'www/cgi-bin']);
  await placeProgram(layer, join(programs, 'busybox'), '/bin/busybox');
  for (const applet of APPLETS.split(' ')) symlinkSync('busybox', join(layer, 'bin', applet));
  writeFileSync(join(layer, 'www/cgi-bin/who'), WHO, { mode: 0o755 });
  return {
    name: TEST_POD_IMAGE,
    layers: [layer],
    config: {
      Entrypoint: ['/bin/httpd', '-f', '-h', '/www', '-p'],
      Cmd: ['0.0.0.0:8080'],
      Env: ['PATH=/bin'],
      StopSignal: 'SIGKILL',
    },
  };
}

async function weftImage(folder: string): Promise<Image> {
  const runtime = makeFolders(
    join(folder, 'weft-runtime'),
    'dev etc proc sys tmp run/weft var/lib/weft var/cache/weft'.split(' '),
  );
  await placeProgram(runtime, process.execPath, '/usr/local/bin/node');
  await runCommand(ENCLOSURE, ['strip', join(runtime, 'usr/local/bin/node')]);
  await placeProgram(runtime, '/usr/sbin/nft', '/usr/sbin/nft');
  const product = join(folder, 'weft-product');
  const tree = join(product, 'opt/weft');
  const builder = join(CHECKOUT, 'manifests/image/build-tree.ts');
  await runCommand(ENCLOSURE, [process.execPath, '--disable-warning=ExperimentalWarning', builder, tree]);
  const shim = join(CHECKOUT, 'cni-shim/build/weft');
  await runCommand(ENCLOSURE, ['install', '-D', shim, join(tree, 'shim', basename(shim))]);
  return {
    name: WEFT_IMAGE,
    layers: [runtime, product],
    config: {
      Entrypoint: ['/usr/local/bin/node', '/opt/weft/agent/keeper.js'],
      Env: [`PATH=${dirname('/usr/local/bin/node')}:/usr/sbin`],
    },
  };
}
