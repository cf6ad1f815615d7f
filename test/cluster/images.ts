// The images that the cluster's pods run, as archives that every node imports. An archive is kept under a key that changes with what the
// image is made of, so nothing is built twice; one that was not used for hours is removed. They are made before the enclosure is
// entered, where there is a network, and known inside by an environment variable.
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';

import { VERSION } from '../../agent/version.ts';
import { programFolder } from './build.ts';
import { cacheFolder, say, seconds, whileLocked } from './building.ts';
import {
  HAPROXY_DOCKERFILE,
  buildImage,
  copySources,
  emptyContext,
  haproxyKey,
} from './dockerfile-images.ts';
import { type SimpleImage, makeSimpleImage, simpleImagesKey } from './simple-images.ts';

const nextVersion = (version: string): string =>
  version.replace(/\d+$/, (patch) => String(Number(patch) + 1));

export const WEFT_IMAGE: string = `localhost/weft:${VERSION}`;
/** The same sources with the next version baked in, to upgrade to: 0.1.1 after 0.1.0. */
export const NEXT_WEFT_IMAGE: string = `localhost/weft:${nextVersion(VERSION)}`;
/** Debian's HAProxy: `haproxy -W -db -f /etc/haproxy/haproxy.cfg` unless told otherwise, and a busybox shell. */
export const HAPROXY_IMAGE = 'localhost/haproxy:1';
export const PAUSE_IMAGE = 'localhost/pause:1';
export const COREDNS_IMAGE = 'localhost/coredns:1';
export const TEST_POD_IMAGE = 'localhost/test-pod:1';

/** What every cluster imports. */
const USUAL_IMAGES: readonly string[] = [PAUSE_IMAGE, COREDNS_IMAGE, TEST_POD_IMAGE, WEFT_IMAGE];
const ENTERED = 'WEFT_CLUSTER_IMAGES';
const KEPT_UNUSED_MS = 2 * 60 * 60 * 1000;

const folderOfImages = (): string => cacheFolder('images');

/** The archives that ensureImages gave to the program outside. */
export const enteredImages = (): readonly string[] =>
  (process.env[ENTERED] ?? '').split(':').filter((path) => path !== '');

/** Makes the archives of the usual images and of `more` as far as they are missing, for the program inside. */
export async function ensureImages(more: readonly string[]): Promise<void> {
  mkdirSync(folderOfImages(), { recursive: true });
  const work = join(folderOfImages(), `.work-${process.pid}`);
  mkdirSync(work);
  try {
    const sources = join(work, 'sources');
    const weftKey = copySources(sources);
    const archives: string[] = [];
    for (const name of new Set([...USUAL_IMAGES, ...more])) {
      const recipe = recipeOf(name, { work, sources, weftKey });
      const target = join(
        folderOfImages(),
        `${name.replace(/^.*\//, '').replace(':', '-')}-${recipe.key}.tar`,
      );
      await ensureArchive({ ...recipe, name, target });
      archives.push(target);
    }
    removeUnused();
    process.env[ENTERED] = archives.join(':');
  } finally {
    rmSync(work, { recursive: true });
  }
}

interface Recipe {
  readonly key: string;
  readonly make: (target: string) => Promise<void>;
}

interface RecipeSources {
  readonly work: string;
  readonly sources: string;
  readonly weftKey: string;
}

const SIMPLE: Readonly<Record<string, SimpleImage>> = {
  [PAUSE_IMAGE]: 'pause',
  [COREDNS_IMAGE]: 'coredns',
  [TEST_POD_IMAGE]: 'test-pod',
};

function recipeOf(name: string, { work, sources, weftKey }: RecipeSources): Recipe {
  const simple = SIMPLE[name];
  if (simple !== undefined) {
    return {
      key: simpleImagesKey(),
      make: (target) => makeSimpleImage(simple, { name, target, programs: programFolder(), folder: work }),
    };
  }
  if (name === HAPROXY_IMAGE) {
    const context = emptyContext(join(work, 'nothing'));
    return {
      key: haproxyKey(),
      make: (target) => buildImage({ name, target, dockerfile: HAPROXY_DOCKERFILE, context, arguments: {} }),
    };
  }
  if (name === WEFT_IMAGE || name === NEXT_WEFT_IMAGE) {
    const version = name.slice(name.indexOf(':') + 1);
    return {
      key: weftKey,
      make: (target) =>
        buildImage({
          name,
          target,
          dockerfile: join(sources, 'Dockerfile'),
          context: sources,
          arguments: { VERSION: version },
        }),
    };
  }
  throw new Error(`Cannot make the image "${name}": test/cluster/images.ts has no recipe for it`);
}

async function ensureArchive({
  name,
  target,
  make,
}: Recipe & { readonly name: string; readonly target: string }): Promise<void> {
  const isThere = (): boolean => existsSync(target);
  if (!isThere()) {
    await whileLocked(async () => {
      if (isThere()) return; // another process made it meanwhile
      const start = performance.now();
      say(`building the image ${name}`);
      const partial = `${target}.${process.pid}`;
      try {
        await make(partial);
        renameSync(partial, target);
      } finally {
        rmSync(partial, { force: true });
      }
      say(`${name} built in ${seconds(start)} s: ${(statSync(target).size / 1e6).toFixed(0)} MB unpacked`);
    });
  }
  const now = new Date();
  utimesSync(target, now, now);
}

/** Archives of other states of the sources, and what a killed process left. */
function removeUnused(): void {
  for (const name of readdirSync(folderOfImages())) {
    const path = join(folderOfImages(), name);
    const old = (): boolean => Date.now() - statSync(path).mtimeMs > KEPT_UNUSED_MS;
    const pid = /^\.work-(\d+)$/.exec(name)?.[1];
    if (pid === undefined ? name.includes('.tar') && old() : !existsSync(`/proc/${pid}`)) {
      rmSync(path, { recursive: true, force: true });
    }
  }
}
