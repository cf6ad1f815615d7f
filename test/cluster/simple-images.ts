// Images that are folders of this machine's programs (image-archive.ts): CoreDNS, a test pod of busybox, and pause.
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, realpathSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { ENCLOSURE, runCommand } from '../lab/command.ts';
import { type ImageArchive, writeImageArchive } from './image-archive.ts';
import { programsHash } from './programs.ts';

export type SimpleImage = 'coredns' | 'pause' | 'test-pod';

export interface SimpleImageOptions {
  /** Name with its tag. */
  readonly name: string;
  /** Folder of the compiled programs and busybox (build.ts). */
  readonly programs: string;
  /** An empty one to work in. */
  readonly folder: string;
  readonly target: string;
}

type Content = Pick<ImageArchive, 'config' | 'layers'>;
type Sources = Pick<SimpleImageOptions, 'folder' | 'programs'>;

const PAUSE_SOURCE = join(import.meta.dirname, 'pause.c');

/** Changes when one of them would come out otherwise. */
export function simpleImagesKey(): string {
  const hash = createHash('sha256').update(programsHash());
  for (const file of [PAUSE_SOURCE, import.meta.filename]) hash.update(readFileSync(file));
  return hash.digest('hex').slice(0, 16);
}

export async function makeSimpleImage(image: SimpleImage, options: SimpleImageOptions): Promise<void> {
  const { name, target } = options;
  await writeImageArchive({ ...(await CONTENTS[image](options)), name, target });
}

const CONTENTS: Readonly<Record<SimpleImage, (sources: Sources) => Promise<Content>>> = {
  pause: async ({ folder }) => {
    const layer = makeFolders(join(folder, 'pause'), ['.']);
    await runCommand(ENCLOSURE, [
      'musl-gcc',
      '-static',
      '-Os',
      '-s',
      '-o',
      join(layer, 'pause'),
      PAUSE_SOURCE,
    ]);
    return { layers: [layer], config: { Entrypoint: ['/pause'] } };
  },
  coredns: async ({ programs, folder }) => {
    const layer = makeFolders(join(folder, 'coredns'), ['etc', 'tmp']);
    await runCommand(ENCLOSURE, ['install', join(programs, 'coredns'), layer]);
    return { layers: [layer], config: { Entrypoint: ['/coredns'] } };
  },
  'test-pod': async ({ programs, folder }) => {
    const layer = makeFolders(join(folder, 'test-pod'), ['bin', 'etc', 'proc', 'sys', 'tmp', 'www/cgi-bin']);
    await placeProgram(layer, join(programs, 'busybox'), '/bin/busybox');
    for (const applet of APPLETS.split(' ')) symlinkSync('busybox', join(layer, 'bin', applet));
    writeFileSync(join(layer, 'www/cgi-bin/who'), WHO, { mode: 0o755 });
    return {
      layers: [layer],
      config: {
        Entrypoint: ['/bin/httpd', '-f', '-h', '/www', '-p'],
        Cmd: ['0.0.0.0:8080'],
        Env: ['PATH=/bin'],
        StopSignal: 'SIGKILL',
      },
    };
  },
};

const APPLETS =
  'sh awk cat echo env false grep head hostname httpd id ip kill ls nc netstat nslookup ping ps sed seq sleep tail telnet timeout top traceroute true vi wc wget';

/** Says who it is and who asks. */
const WHO = `#!/bin/sh
printf 'Content-Type: text/plain\\r\\n\\r\\n%s %s\\n' "$(hostname)" "$REMOTE_ADDR"
`;

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
